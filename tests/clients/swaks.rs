//! swaks, which says SMTP line by line and can be told what to say.

use tokio::process::Command;

use crate::Scene;
use crate::common::{COLLEAGUE, USER};
use crate::program::{Ran, bare, find, run};
use postbridge::smtp::server::Kind;

/// A mail to the colleague over STARTTLS, but for what `arguments` say otherwise.
fn swaks(program: &std::path::Path, scene: &Scene, kind: Kind) -> Command {
    let mut command = bare(program, scene.home.path());
    let tls = match kind {
        Kind::Starttls => "--tls",
        Kind::ImplicitTls => "--tls-on-connect",
    };
    command.args(["--server", "localhost", "--port", &scene.port(kind).to_string(), tls]);
    command.args(["--tls-verify", "--tls-ca-path"]).arg(scene.ca());
    command.args(["--from", USER, "--auth-user", USER, "--helo", "client.contoso.example"]);
    // Not in the arguments, where every process could read it.
    command.env("SWAKS_OPT_auth_password", scene.password());
    command
}

fn subject(text: &str) -> String {
    format!("Subject: {text}")
}

#[tokio::test(flavor = "multi_thread")]
async fn swaks_sends_by_every_port_and_mechanism() {
    let Some(program) = find("swaks") else { return };
    let scene = Scene::set().await;
    let mut expected = Vec::new();
    for kind in [Kind::Starttls, Kind::ImplicitTls] {
        for mechanism in ["PLAIN", "LOGIN"] {
            for pipeline in [false, true] {
                let name = format!("{} {mechanism} {pipeline}", kind.name());
                let mut command = swaks(&program, &scene, kind);
                command.args(["--auth", mechanism, "--to", COLLEAGUE]);
                command.args(["--header", &subject(&name)]);
                if pipeline {
                    command.arg("--pipeline");
                }
                let ran = run(&mut command, b"").await.succeeded();
                assert!(ran.output.contains("250 2.0.0 queued as "), "{}", ran.output);
                expected.push(format!("{COLLEAGUE}: {name}"));
            }
        }
    }
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    scene.arrives(&expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn swaks_mails_recipients_that_no_header_names_and_no_header_shows_them() {
    let Some(program) = find("swaks") else { return };
    let scene = Scene::set().await;
    let secret = "megan.bowen@fabrikam.example";
    let mut command = swaks(&program, &scene, Kind::Starttls);
    command.args(["--to", &format!("{COLLEAGUE},{secret}")]);
    command.args(["--header", "To: undisclosed-recipients:;", "--header", &subject("to nobody")]);
    run(&mut command, b"").await.succeeded();
    let mut command = swaks(&program, &scene, Kind::Starttls);
    command.args(["--to", &format!("{COLLEAGUE},{secret}")]);
    command.args(["--header", &format!("To: {COLLEAGUE}"), "--header", &subject("to one")]);
    command.args(["--add-header", &format!("Bcc: {secret}, nobody@fabrikam.example")]);
    run(&mut command, b"").await.succeeded();
    let rows: Vec<String> = ["to nobody", "to one"]
        .iter()
        .flat_map(|name| [COLLEAGUE, secret].map(|to| format!("{to}: {name}")))
        .collect();
    scene.arrives(&rows.iter().map(String::as_str).collect::<Vec<_>>()).await;
    for name in ["to nobody", "to one"] {
        let mail = scene.mail(name).await;
        assert!(!mail.contains("megan.bowen") && !mail.contains("Bcc"), "{mail}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn swaks_pipelines_three_hundred_recipients() {
    let Some(program) = find("swaks") else { return };
    let scene = Scene::set().await;
    let recipients: Vec<String> = (0..300).map(|n| format!("reader{n}@fabrikam.example")).collect();
    let mut command = swaks(&program, &scene, Kind::ImplicitTls);
    command.args(["--pipeline", "--to", &recipients.join(",")]);
    command.args(["--header", &format!("To: {COLLEAGUE}"), "--header", &subject("newsletter")]);
    run(&mut command, b"").await.succeeded();
    let rows: Vec<String> = recipients.iter().map(|to| format!("{to}: newsletter")).collect();
    scene.arrives(&rows.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

/// The exit status of swaks when AUTH was refused.
const AUTH_REFUSED: i32 = 28;

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_a_535_and_nothing_goes() {
    let Some(program) = find("swaks") else { return };
    let scene = Scene::set().await;
    for mechanism in ["PLAIN", "LOGIN"] {
        let mut command = swaks(&program, &scene, Kind::Starttls);
        command.args(["--auth", mechanism, "--to", COLLEAGUE]);
        command.env("SWAKS_OPT_auth_password", "wrong");
        let Ran { status, output } = run(&mut command, b"").await;
        assert_eq!(status, Some(AUTH_REFUSED), "{output}");
        assert!(output.contains("535 5.7.8 "), "{output}");
    }
    scene.arrives(&[]).await;
}

/// The exit status of swaks when MAIL, RCPT and DATA were refused.
const REFUSED: [i32; 3] = [23, 24, 26];

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_or_author_that_the_account_is_not_is_a_550_and_nothing_goes() {
    let Some(program) = find("swaks") else { return };
    let scene = Scene::set().await;
    let from_a_stranger = ["--from", "eve@contoso.example"];
    let by_a_stranger = ["--header", "From: eve@contoso.example"];
    for arguments in [from_a_stranger, by_a_stranger] {
        let mut command = swaks(&program, &scene, Kind::ImplicitTls);
        command.args(["--to", COLLEAGUE]).args(arguments);
        let Ran { status, output } = run(&mut command, b"").await;
        assert!(REFUSED.contains(&status.unwrap()), "{status:?} {output}");
        assert!(output.contains("550 5.7.1 "), "{output}");
    }
    scene.arrives(&[]).await;
}
