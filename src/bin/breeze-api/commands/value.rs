//! A secret value that is handed to a command: by a file or standard input, and never as
//! an argument, which others on the machine see.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use anyhow::{Context, ensure};
use secrecy::SecretString;
use zeroize::Zeroizing;

/// More than any key or credential.
const LIMIT: u64 = 1 << 20;

/// The text of `path`, or of standard input for `-`, without its trailing newline.
pub(super) fn read(path: &Path) -> anyhow::Result<SecretString> {
    let name = if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(path).with_context(|| format!("cannot read {name}"))?)
    };
    let mut bytes = Zeroizing::new(Vec::new());
    source
        .take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {name}"))?;
    ensure!(bytes.len() as u64 <= LIMIT, "{name} holds more than a secret does");
    let text = str::from_utf8(&bytes).ok().with_context(|| format!("{name} is not text"))?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    ensure!(!text.is_empty(), "{name} is empty");
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_value_is_what_a_file_holds_without_one_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("value");
        for (content, value) in [("a b", "a b"), (" a \n", " a "), ("a\r\n", "a"), ("a\n\n", "a\n")]
        {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&path).unwrap().expose_secret(), value);
        }
        for (content, fault) in [(&b"\n"[..], "is empty"), (&[0xff], "is not text")] {
            std::fs::write(&path, content).unwrap();
            let told = read(&path).unwrap_err().to_string();
            assert!(told.contains(fault), "{told}");
        }
        assert!(read(&folder.path().join("absent")).is_err());
    }
}
