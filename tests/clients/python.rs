//! Python's smtplib, with mails of `email.message`.

use std::path::PathBuf;

use crate::Scene;
use crate::common::{COLLEAGUE, USER};
use crate::program::{bare, find, run};
use postbridge::smtp::server::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn smtplib_sends_what_email_message_makes_and_twenty_mails_on_one_connection() {
    let given = std::env::var_os("POSTBRIDGE_TEST_PYTHON").map(PathBuf::from);
    let Some(program) = given.or_else(|| find("python3")) else { return };
    let scene = Scene::set().await;
    let mut command = bare(&program, scene.home.path());
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/email_message_client.py"));
    command.args([Kind::Starttls, Kind::ImplicitTls].map(|kind| scene.port(kind).to_string()));
    command.arg(USER).arg(scene.ca()).env("SMTP_PASSWORD", scene.password());
    run(&mut command, b"").await.succeeded();
    let mut expected: Vec<String> =
        [COLLEAGUE, "megan.bowen@fabrikam.example", "nobody.sees@fabrikam.example"]
            .iter()
            .map(|to| format!("{to}: attachments"))
            .collect();
    expected.push("jürgen@fabrikam.example: internationalized".to_owned());
    expected.push(format!("{COLLEAGUE}: größer"));
    expected.extend((0..20).map(|number| format!("{COLLEAGUE}: kept alive {number}")));
    scene.arrives(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert!(!scene.mail("attachments").await.contains("nobody.sees"));
    assert!(scene.mail("größer").await.contains("\r\n\r\nGrüße\r\n.\r\nLine\r\n"));
}
