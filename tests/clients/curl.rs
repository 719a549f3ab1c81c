//! curl: `smtps://`, and `smtp://` with STARTTLS.

use std::path::Path;

use tokio::process::Command;

use crate::Scene;
use crate::common::{COLLEAGUE, USER};
use crate::program::{bare, find, private_file, run};
use postbridge::smtp::server::Kind;

const OTHER: &str = "megan.bowen@fabrikam.example";

/// Sends from the user to two recipients; the mail is still to be named.
fn curl(program: &Path, scene: &Scene, kind: Kind, mechanism: &str) -> Command {
    // The user's name holds an @, so it stands in a file and not in the URL; the password too.
    let secret = scene.file("curlrc");
    if !secret.exists() {
        private_file(&secret, &format!("user = \"{USER}:{}\"\n", scene.password()));
    }
    let mut command = bare(program, scene.home.path());
    let scheme = if kind == Kind::Starttls { "smtp" } else { "smtps" };
    let url = format!("{scheme}://localhost:{}/client.contoso.example", scene.port(kind));
    command.args(["--silent", "--show-error", "--verbose", "--ssl-reqd", "--noproxy", "*"]);
    command.args(["--login-options", &format!("AUTH={mechanism}"), "--url", &url]);
    command.arg("--cacert").arg(scene.ca()).arg("--config").arg(secret);
    // RFC 4954 §5: AUTH= in MAIL.
    command.args([
        "--mail-auth",
        USER,
        "--mail-from",
        USER,
        "--mail-rcpt",
        COLLEAGUE,
        "--mail-rcpt",
        OTHER,
    ]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_sends_to_several_recipients_by_every_port_and_mechanism() {
    let Some(program) = find("curl") else { return };
    let scene = Scene::set().await;
    let mut expected = Vec::new();
    for kind in [Kind::Starttls, Kind::ImplicitTls] {
        for mechanism in ["PLAIN", "LOGIN"] {
            let name = format!("{} {mechanism}", kind.name());
            let mail = format!(
                "From: Adele Vance <{USER}>\r\nTo: Alex <{COLLEAGUE}>\r\nSubject: {name}\r\n\r\n\
                 .a line with a dot\r\n.\r\nand an end without CRLF"
            );
            let mut command = curl(&program, &scene, kind, mechanism);
            run(command.args(["--upload-file", "-"]), mail.as_bytes()).await.succeeded();
            expected.extend([COLLEAGUE, OTHER].map(|to| format!("{to}: {name}")));
        }
    }
    scene.arrives(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mail = scene.mail("TLS LOGIN").await;
    let body = "\r\n\r\n.a line with a dot\r\n.\r\nand an end without CRLF\r\n";
    assert!(mail.ends_with(body), "{mail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_as_large_as_graph_takes_at_once_goes_and_one_larger_than_any_is_a_552() {
    let Some(program) = find("curl") else { return };
    let scene = Scene::set().await;
    let mail = |name: &str, lines: usize| {
        let line = format!("{}\r\n", "x".repeat(98));
        format!("From: {USER}\r\nTo: {COLLEAGUE}, {OTHER}\r\nSubject: {name}\r\n\r\n")
            + &line.repeat(lines)
    };
    let large = scene.file("large.eml");
    std::fs::write(&large, mail("large", 20_000)).unwrap();
    let mut command = curl(&program, &scene, Kind::Starttls, "PLAIN");
    run(command.arg("--upload-file").arg(&large), b"").await.succeeded();
    // curl says SIZE= for a file, and cannot know it for a pipe: refused at MAIL, and after DATA.
    let too_large = scene.file("too-large.eml");
    std::fs::write(&too_large, mail("too large", 370_000)).unwrap();
    let mut command = curl(&program, &scene, Kind::Starttls, "PLAIN");
    let by_size = run(command.arg("--upload-file").arg(&too_large), b"").await;
    let mut command = curl(&program, &scene, Kind::ImplicitTls, "PLAIN");
    let piped = mail("too large", 370_000);
    let by_end = run(command.args(["--upload-file", "-"]), piped.as_bytes()).await;
    for refused in [by_size, by_end] {
        assert_ne!(refused.status, Some(0));
        assert!(refused.output.contains("< 552 5.3.4 "), "{}", refused.output);
    }
    scene
        .arrives(&[COLLEAGUE, OTHER].map(|to| format!("{to}: large")).each_ref().map(|s| &**s))
        .await;
}
