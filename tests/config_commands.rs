//! `postbridge config …`, the completions and the manual pages, as a person runs them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use postbridge::config::Config;

/// A home of its own, and nothing of the surroundings.
struct Home(tempfile::TempDir);

impl Home {
    fn new(configuration: Option<&str>) -> Home {
        let home = Home(common::private_directory());
        if let Some(text) = configuration {
            std::fs::create_dir(home.0.path().join("postbridge")).unwrap();
            std::fs::write(home.file(), text).unwrap();
        }
        home
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("postbridge/postbridge.toml")
    }

    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbridge"));
        command.env_clear().env("HOME", self.0.path()).env("XDG_CONFIG_HOME", self.0.path());
        command.env("STATE_DIRECTORY", self.0.path().join("state"));
        let Output { status, stdout, stderr } =
            command.args(arguments).stdin(Stdio::null()).output().unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }
}

const APP: &str = "[entra]\nclient_id = \"11111111-2222-3333-4444-555555555555\"\n";

#[test]
fn a_good_configuration_is_named_and_nothing_is_made() {
    let home = Home::new(Some(APP));
    let (status, out, err) = home.run(&["config", "check"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert_eq!(out, format!("{} is good.\n", home.file().display()));
    assert!(!home.0.path().join("state").exists());
}

#[test]
fn without_a_file_it_says_where_it_looked_and_what_is_missing() {
    let home = Home::new(None);
    let (status, _, err) = home.run(&["config", "check"]);
    assert_eq!(status, 78, "{err}");
    assert!(err.contains(&home.file().display().to_string()), "{err}");
    assert!(err.contains("/etc/postbridge") && err.contains("client_id"), "{err}");
}

#[test]
fn an_error_in_the_text_is_shown_with_its_place() {
    let home = Home::new(Some("[smtp]\nstartls = []\n"));
    let (status, _, err) = home.run(&["config", "check"]);
    assert_eq!(status, 78);
    assert!(err.contains("startls") && err.contains("2:1"), "{err}");
}

/// What the text cannot tell, all of it at once.
#[test]
fn what_the_machine_cannot_give_is_told_with_its_remedy() {
    let home = Home::new(None);
    let directory = home.0.path();
    let pair = |name: &str| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) =
            (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (certificate, key)
    };
    let ((certificate, key), (_, other_key)) = (pair("one"), pair("other"));
    let program = directory.join("program");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    let state = directory.join("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::create_dir(directory.join("postbridge")).unwrap();
    let configuration = |key: &Path, second: &str| {
        let text = format!(
            "{APP}[smtp]\nstarttls = [\"127.0.0.1:2587\"]\nimplicit_tls = [\"{second}\"]\n\
             certificate = \"{}\"\nkey = \"{}\"\n[report]\ncommand = [\"{}\"]\n",
            certificate.display(),
            key.display(),
            program.display()
        );
        std::fs::write(home.file(), text).unwrap();
    };
    configuration(&other_key, "0.0.0.0:2587");
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (status, _, err) = home.run(&["config", "check"]);
    assert_eq!(status, 78, "{err}");
    for words in [
        "0.0.0.0:2587 in smtp.implicit_tls is taken by 127.0.0.1:2587 in smtp.starttls",
        "smtp.certificate and smtp.key cannot be used",
        "report.command",
        "chmod 700",
    ] {
        assert!(err.contains(words), "{words:?} is not in {err}");
    }
    configuration(&key, "127.0.0.1:2588");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
    let (status, _, err) = home.run(&["config", "check"]);
    assert_eq!((status, err.as_str()), (0, ""));
}

#[test]
fn what_is_shown_is_what_is_used_with_the_comments_of_the_example() {
    let own = format!(
        "{APP}tenant = \"contoso.example\"\n[smtp]\nclear = [\"127.0.0.1:1025\"]\nwait = \"5s\"\n\
         [smtp.limits]\nrecipients = 10\n[account.\"adele.vance@contoso.example\"]\n\
         send_as = [\"jobs@contoso.example\"]\nmails_per_minute = 20\n\
         [account.\"alex.wilber@contoso.example\"]\ntime_zone = \"Europe/Berlin\"\n"
    );
    let home = Home::new(Some(&own));
    let (status, out, err) = home.run(&["--state", "/srv/postbridge", "config", "show"]);
    assert_eq!(status, 0, "{err}");
    let mut used = Config::parse(Path::new("own"), &own).unwrap();
    used.state_dir = Some("/srv/postbridge".into());
    assert_eq!(Config::parse(Path::new("shown"), &out).unwrap(), used);
    assert!(out.contains("# Recipients of one mail; Exchange Online takes 500."), "{out}");
    let (_, defaults, _) = home.run(&["config", "show", "--defaults"]);
    assert_eq!(defaults, include_str!("../config/postbridge.toml"));
}

#[test]
fn the_reference_is_as_new_as_the_annotated_file() {
    let (_, out, _) = Home::new(None).run(&["config", "reference"]);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let kept = std::fs::read_to_string(path).unwrap();
    assert!(
        kept == out,
        "docs/configuration.md is stale; run: cargo run -- config reference > docs/configuration.md"
    );
}

#[test]
fn every_command_has_a_manual_page_and_the_configuration_one() {
    let home = Home::new(None);
    let directory = home.0.path().join("man");
    let (status, _, err) = home.run(&["man", directory.to_str().unwrap()]);
    assert_eq!(status, 0, "{err}");
    let page = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    for name in ["postbridge.1", "postbridge-account-add.1", "postbridge-queue-resolve.1"] {
        assert!(page(name).starts_with(".ie"), "{name}");
    }
    // Each visible command of the help has one.
    let (_, help, _) = home.run(&["--help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() >= 8, "{commands:?}");
    for command in commands {
        page(&format!("postbridge-{command}.1"));
    }
    let of_the_file = page("postbridge.toml.5");
    for words in ["[smtp.limits]", "message_octets_max", "Exchange Online takes 500"] {
        assert!(of_the_file.contains(words), "{words}");
    }
    assert!(!page("postbridge.1").contains("completions"));
}

#[test]
fn each_shell_gets_completions() {
    let home = Home::new(None);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (status, out, err) = home.run(&["completions", shell]);
        assert_eq!(status, 0, "{err}");
        assert!(out.contains("signin") && out.contains("no-browser"), "{shell}");
    }
    assert_eq!(home.run(&["completions", "teletype"]).0, 2);
}
