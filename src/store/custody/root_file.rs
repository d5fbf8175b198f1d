//! The root key of a development machine: a file that only its owner reads.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

use zeroize::Zeroizing;

use super::error::RootKeyError;
use crate::{keyring::sources::Fault, material::Material};

/// More than any root key.
const LIMIT: u64 = 4096;

pub(super) fn load_or_create(path: &Path) -> Result<Material, RootKeyError> {
    match load(path) {
        Err(RootKeyError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            create(path)?;
            load(path)
        }
        loaded => loaded,
    }
}

pub(super) fn load(path: &Path) -> Result<Material, RootKeyError> {
    let file = File::open(path)?;
    refuse_open_mode(&file)?;
    let mut text = Zeroizing::new(String::new());
    file.take(LIMIT).read_to_string(&mut text)?;
    let text = text.trim_end_matches(['\n', '\r']);
    let empty = || RootKeyError::File(Fault::EmptyFile { name: "the root key".to_owned() });
    Material::new(text).map_err(|_| empty())
}

/// Makes the file whole under another name, and gives it its own only if no other
/// process was first: nobody ever sees half a key, and nobody replaces one.
fn create(path: &Path) -> Result<(), RootKeyError> {
    let key = Material::generate()?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", uuid::Uuid::new_v4().simple()));
    let draft = Path::new(&draft);
    let made = write(draft, &key).and_then(|()| match fs::hard_link(draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = fs::remove_file(draft);
    made?;
    removed?;
    sync_directory(path)?;
    Ok(())
}

fn write(path: &Path, key: &Material) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(key.expose_source().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}

/// The name is durable before anything is sealed under the key.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(unix)]
fn refuse_open_mode(file: &File) -> Result<(), RootKeyError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(RootKeyError::TooOpen { mode }) }
}

#[cfg(not(unix))]
fn refuse_open_mode(_: &File) -> Result<(), RootKeyError> {
    Ok(())
}
