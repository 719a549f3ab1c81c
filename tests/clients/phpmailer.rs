//! PHPMailer, by which most of the web's forms send their mail.

use std::path::Path;

use crate::Scene;
use crate::common::{self, COLLEAGUE, USER};
use crate::program::{bare, find, run};
use postbridge::smtp::server::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn phpmailer_sends_as_the_readme_says() {
    let Some(program) = find("php") else { return };
    if !Path::new("/usr/share/php/libphp-phpmailer/autoload.php").exists() {
        return common::skip("libphp-phpmailer is not installed");
    }
    let scene = Scene::set().await;
    let mut command = bare(&program, scene.home.path());
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/phpmailer_client.php"));
    command.args([Kind::ImplicitTls, Kind::Starttls].map(|kind| scene.port(kind).to_string()));
    command.arg(USER).arg(scene.ca()).env("POSTBRIDGE_PASSWORD", scene.password());
    run(&mut command, b"").await.succeeded();
    let other = "megan.bowen@fabrikam.example";
    let expected = [COLLEAGUE, other]
        .map(|to| [format!("{to}: über PHPMailer"), format!("{to}: newsletter")])
        .concat();
    scene.arrives(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert!(!scene.mail("über PHPMailer").await.contains("megan"));
}
