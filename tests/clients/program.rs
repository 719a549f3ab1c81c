//! Running a program of the system in a bare environment: no settings of whoever runs the tests, no
//! proxy, and an end in any case.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::common;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How a run ended: the exit status, and all that the program said.
#[derive(Debug)]
pub struct Ran {
    pub status: Option<i32>,
    pub output: String,
}

impl Ran {
    #[track_caller]
    pub fn succeeded(self) -> Ran {
        assert_eq!(self.status, Some(0), "{}", self.output);
        self
    }
}

/// Where a program is; if it is missing the test is skipped, loudly.
pub fn find(name: &str) -> Option<PathBuf> {
    let found = std::env::split_paths(PATH).map(|place| place.join(name)).find(|p| p.is_file());
    if found.is_none() {
        common::skip(&format!("{name} is not installed"));
    }
    found
}

/// A command that knows nothing but its home.
pub fn bare(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("HOME", home).env("LC_ALL", "C.UTF-8");
    command.current_dir(home).kill_on_drop(true);
    command
}

/// Runs it to its end with this on its standard input.
pub async fn run(command: &mut Command, input: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let write = async move {
        // Who does not want its input may close it.
        let _ = stdin.write_all(input).await;
    };
    let ended = async { tokio::join!(write, child.wait_with_output()).1 };
    let output = tokio::time::timeout(common::PATIENCE, ended).await.expect("it ends").unwrap();
    let text = [output.stdout, output.stderr].concat();
    Ran { status: output.status.code(), output: String::from_utf8_lossy(&text).into_owned() }
}

/// A file for its owner alone: most programs refuse a password in any other.
pub fn private_file(path: &Path, text: &str) {
    use std::io::Write;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}
