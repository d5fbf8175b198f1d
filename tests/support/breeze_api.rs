//! The compiled `breeze-api`, as a process with an environment of its own.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

/// Longer than any command of a test takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A run that is being prepared.
#[derive(Debug)]
pub struct Run {
    command: Command,
    folder: TempDir,
    stdin: Stdio,
}

/// Prepares `breeze-api ARGUMENTS`, with an empty environment, in an empty folder.
pub fn breeze_api<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Run {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_breeze-api"));
    command.args(arguments).env_clear().current_dir(folder.path());
    Run { command, folder, stdin: Stdio::null() }
}

impl Run {
    /// Sets one variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets variables.
    #[must_use]
    pub fn envs<'a>(self, variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        variables.into_iter().fold(self, |run, (name, value)| run.env(name, value))
    }

    /// Runs it in another folder than its own.
    #[must_use]
    pub fn in_folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Has it read this from standard input.
    #[must_use]
    pub fn stdin(mut self, text: &str) -> Self {
        let path = self.folder.path().join("stdin");
        fs::write(&path, text).unwrap();
        self.stdin = File::open(path).unwrap().into();
        self
    }

    /// Starts it, its output going to files.
    pub fn start(mut self) -> Process {
        let file = |name| File::create(self.folder.path().join(name)).unwrap();
        self.command.stdin(self.stdin).stdout(file("stdout")).stderr(file("stderr"));
        let child = self.command.kill_on_drop(true).spawn().unwrap();
        Process { child, folder: self.folder }
    }

    /// Runs it to its end.
    pub async fn finish(self) -> Finished {
        self.start().finish().await
    }
}

/// A run that has begun; killed with this value.
#[derive(Debug)]
pub struct Process {
    child: Child,
    folder: TempDir,
}

impl Process {
    /// Waits until it accepts connections on `port`.
    pub async fn listens_on(&mut self, port: u16) {
        if let Some(ended) = self.ends_or_listens_on(port).await {
            panic!("it ended before it listened: {ended:?}");
        }
    }

    /// Waits until it accepts connections on `port`, or ends before.
    pub async fn ends_or_listens_on(&mut self, port: u16) -> Option<Finished> {
        let listens = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return Some(self.output(status));
                }
                sleep(Duration::from_millis(20)).await;
            }
            None
        };
        timeout(PATIENCE, listens).await.expect("it never listened")
    }

    /// What it has written to standard output so far.
    pub fn stdout(&self) -> String {
        self.written("stdout")
    }

    /// What it has written to standard error so far.
    pub fn stderr(&self) -> String {
        self.written("stderr")
    }

    /// The folder that it runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits for its end.
    pub async fn finish(mut self) -> Finished {
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it never ended");
        self.output(status.unwrap())
    }

    /// Sends it a signal, by its name without `SIG`.
    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("nobody waited for it yet");
        // The shell's own `kill`: a small system has no program of that name.
        let kill = format!("kill -{name} {pid}");
        assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
    }

    /// Asks it to end, as an orchestrator does, and waits for that.
    pub async fn terminate(self) -> Finished {
        self.signal("TERM").await;
        self.finish().await
    }

    /// Kills it, wherever it is.
    pub async fn kill(mut self) -> Finished {
        self.child.start_kill().unwrap();
        self.finish().await
    }

    fn output(&self, status: ExitStatus) -> Finished {
        Finished { code: status.code(), stdout: self.stdout(), stderr: self.stderr() }
    }

    fn written(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.folder().join(name)).unwrap()).into_owned()
    }
}

/// A run that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its exit code; nothing if a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// The one JSON object that `--json` writes to standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
