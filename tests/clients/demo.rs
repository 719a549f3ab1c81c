//! `postbridge demo`: a newcomer types it, and then the lines that it prints.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;

use crate::common::{COLLEAGUE, PATIENCE, private_directory};
use crate::program::{bare, find, run};

/// Starts the demo; the process, and what it prints up to the last line.
async fn demo(home: &Path) -> (Child, String) {
    let mut command = bare(Path::new(env!("CARGO_BIN_EXE_postbridge")), home);
    // Its state is temporary, so it lies in a directory that goes away even if the demo is killed.
    command
        .arg("demo")
        .env("TMPDIR", home)
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let printed = async {
        let mut text = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            text += &format!("{line}\n");
            if line.starts_with("Ctrl-C") {
                return text;
            }
        }
        panic!("it ended: {text}")
    };
    let text = tokio::time::timeout(PATIENCE, printed).await.expect("the demo is up");
    (child, text)
}

/// The paragraph that holds `word`.
fn paragraph<'a>(text: &'a str, word: &str) -> &'a str {
    text.split("\n\n").find(|paragraph| paragraph.contains(word)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_that_the_demo_prints_work_as_they_are_in_any_shell() {
    let (Some(shell), Some(_), Some(_)) = (find("sh"), find("curl"), find("swaks")) else { return };
    let home = private_directory();
    let (mut child, text) = demo(home.path()).await;
    for word in ["curl ", "swaks "] {
        let mut command = bare(&shell, home.path());
        command.args(["-c", paragraph(&text, word)]);
        run(&mut command, b"").await.succeeded();
    }
    let url =
        text.lines().find_map(|line| line.trim().strip_prefix("What arrives")).unwrap().trim();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let arrived = async {
        loop {
            let answer = client.get(format!("{url}_sandbox/ledger")).send().await.unwrap();
            let ledger: serde_json::Value = answer.json().await.unwrap();
            let rows = ledger["mails"].as_array().unwrap().clone();
            if rows.len() >= 3 {
                return rows;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    let rows = tokio::time::timeout(PATIENCE, arrived).await.expect("three mails arrive");
    assert_eq!(rows.len(), 3);
    assert!(rows.iter().all(|row| row["recipient"] == COLLEAGUE), "{rows:?}");
    assert_eq!(rows[1]["subject"], "from curl");

    // SIGTERM ends it as Ctrl-C does: nothing of its temporary state stays behind.
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it ends").unwrap();
    assert!(status.success(), "{status}");
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}
