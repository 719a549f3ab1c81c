//! `postbridge account …` as a person runs it, beside a daemon and without one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread::JoinHandle;

use postbridge::sandbox::Sandbox;
use serde_json::Value;

const ADELE: &str = "adele.vance@contoso.example";
const ALEX: &str = "alex.wilber@contoso.example";

/// A sandbox, a configuration that points to it, and no state yet.
struct Bench {
    /// Stops with the test.
    _sandbox: Sandbox,
    browser: reqwest::Client,
    directory: tempfile::TempDir,
}

impl Bench {
    async fn start() -> Bench {
        let sandbox = common::sandbox().await;
        let directory = tempfile::tempdir().unwrap();
        let url = sandbox.url();
        let configuration = format!(
            "[entra]\nclient_id = \"5d3c1f9e-0b7a-4a58-9c3e-2f6f0a1b7c11\"\n\
             login_url = \"{url}\"\ngraph_url = \"{url}\"\n\
             [smtp]\nstarttls = [\"127.0.0.1:0\"]\nimplicit_tls = []\n\
             [caldav]\nlisten = []\ntls = []\n[page]\nlisten = []\n"
        );
        std::fs::write(directory.path().join("postbridge.toml"), configuration).unwrap();
        let browser = reqwest::Client::builder().no_proxy();
        let browser = browser.redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Bench { _sandbox: sandbox, browser, directory }
    }

    fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbridge"));
        command
            .arg("--config")
            .arg(self.directory.path().join("postbridge.toml"))
            .arg("--state")
            .arg(self.state())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs to the end; what it wrote to standard output.
    fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let output = self.command(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        if output.status.success() { Ok(text) } else { Err(errors) }
    }

    /// Runs a command that signs in, as the browser does, and ends it.
    async fn sign_in(&self, arguments: &[&str], answer: Answer) -> String {
        let mut command = self.command(arguments);
        let mut child = Running(command.stdin(Stdio::piped()).spawn().unwrap());
        let mut stderr = BufReader::new(child.0.stderr.take().unwrap());
        let url = wait_for(&mut stderr, |line| line.starts_with("http").then(|| line.to_owned()));
        let location = self.browser.get(url).send().await.unwrap();
        let location = location.headers()["location"].to_str().unwrap().to_owned();
        match answer {
            Answer::Pasted => {
                let mut stdin = child.0.stdin.take().unwrap();
                writeln!(stdin, "{location}").unwrap();
            }
            Answer::Redirected => {
                let icon = reqwest::Url::parse(&location).unwrap().join("/favicon.ico").unwrap();
                assert_eq!(self.browser.get(icon).send().await.unwrap().status(), 404);
                let page = self.browser.get(location).send().await.unwrap().text().await.unwrap();
                assert!(page.contains("is ready"), "{page}");
            }
        }
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        assert!(child.0.wait().unwrap().success(), "{rest}");
        let mut text = String::new();
        child.0.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }

    fn standing_of(&self, address: &str) -> Value {
        let list: Value =
            serde_json::from_str(&self.run(&["account", "list", "--json"]).unwrap()).unwrap();
        let of = |account: &&Value| account["address"] == address;
        list.as_array().unwrap().iter().find(of).unwrap()["standing"]["state"].clone()
    }

    /// A daemon on the same state, and all that it logs.
    fn serve(&self) -> (Running, JoinHandle<Vec<u8>>) {
        let mut command = self.command(&["serve"]);
        command.env("RUST_LOG", "trace");
        let mut child = Running(command.stdout(Stdio::null()).spawn().unwrap());
        let mut stderr = BufReader::new(child.0.stderr.take().unwrap());
        wait_for(&mut stderr, |line| line.contains("listening").then_some(()));
        let log = std::thread::spawn(move || {
            let mut log = Vec::new();
            // It ends with the process.
            let _ = stderr.read_to_end(&mut log);
            log
        });
        (child, log)
    }
}

enum Answer {
    Pasted,
    Redirected,
}

/// A process that does not outlive its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_for<T>(stderr: &mut BufReader<ChildStderr>, find: impl Fn(&str) -> Option<T>) -> T {
    let mut seen = String::new();
    for line in stderr.lines() {
        let line = line.unwrap();
        if let Some(found) = find(&line) {
            return found;
        }
        seen.push_str(&line);
        seen.push('\n');
    }
    panic!("it ended with: {seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_added_and_signed_in_without_a_daemon() {
    let bench = Bench::start().await;
    let added = bench.sign_in(&["account", "add", ADELE, "--no-browser"], Answer::Redirected).await;
    let lines: Vec<&str> = added.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[1].len()), (2, ADELE, 30), "{added}");
    assert_eq!(bench.standing_of(ADELE), "ready");
    let new = bench.run(&["account", "password", ADELE]).unwrap();
    assert_ne!(new.lines().nth(1), Some(lines[1]));
    bench.run(&["account", "remove", ADELE]).unwrap();
    let error = bench.run(&["account", "remove", ADELE]).unwrap_err();
    assert!(error.contains("no account"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_commands_reach_a_daemon_that_runs() {
    let bench = Bench::start().await;
    let (daemon, log) = bench.serve();
    let added = bench.run(&["account", "add", ALEX, "--no-signin"]).unwrap();
    assert_eq!(bench.standing_of(ALEX), "new");
    bench.sign_in(&["account", "signin", ALEX, "--no-browser"], Answer::Pasted).await;
    assert_eq!(bench.standing_of(ALEX), "ready");
    drop(daemon);
    let log = String::from_utf8_lossy(&log.join().unwrap()).into_owned();
    assert!(log.contains("signed in"), "nothing was logged");
    assert!(!log.contains(added.lines().nth(1).unwrap()), "the password is in the log");
    // Whatever else is secret is a field of one of these.
    for field in ["code=", "state=", "access_token", "refresh_token=", "Bearer ey", "nonce="] {
        assert!(!log.contains(field), "{field} is in the log");
    }
    // It was killed and its socket left behind: the state speaks for itself.
    assert!(bench.state().join("control.sock").exists());
    assert_eq!(bench.standing_of(ALEX), "ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_of_somebody_else_fails_in_words() {
    let bench = Bench::start().await;
    bench.run(&["account", "add", "nobody@contoso.example", "--no-signin"]).unwrap();
    let error = bench.run(&["account", "signin", "stranger@contoso.example"]).unwrap_err();
    assert!(error.contains("There is no account stranger@contoso.example"), "{error}");
    let mut command =
        bench.command(&["account", "signin", "nobody@contoso.example", "--no-browser"]);
    let mut child = Running(command.stdin(Stdio::piped()).spawn().unwrap());
    let mut stderr = BufReader::new(child.0.stderr.take().unwrap());
    let url = wait_for(&mut stderr, |line| line.starts_with("http").then(|| line.to_owned()));
    let url = url.replace("nobody%40", "adele.vance%40");
    let location = bench.browser.get(url).send().await.unwrap();
    let location = location.headers()["location"].to_str().unwrap().to_owned();
    let page = bench.browser.get(location).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("does not have the address"), "{page}");
    assert!(!child.0.wait().unwrap().success());
}
