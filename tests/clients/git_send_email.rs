//! git send-email, which is Perl's Net::SMTP: a series of mails on one connection.

use crate::Scene;
use crate::common::{self, COLLEAGUE, USER};
use crate::program::{bare, find, private_file, run};
use postbridge::smtp::server::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn git_sends_a_series_of_patches_by_both_ports() {
    let Some(program) = find("git") else { return };
    if !std::path::Path::new("/usr/lib/git-core/git-send-email").exists() {
        return common::skip("git-email is not installed");
    }
    let scene = Scene::set().await;
    let list = "patches@fabrikam.example";
    let mut expected = Vec::new();
    for (kind, encryption) in [(Kind::Starttls, "tls"), (Kind::ImplicitTls, "ssl")] {
        private_file(
            &scene.file(&format!("{encryption}.config")),
            &format!(
                "[user]\nname = Adele Vance\nemail = {USER}\n[sendemail]\nsmtpServer = localhost\nsmtpServerPort = {}\nsmtpEncryption = {encryption}\n\
                 smtpSSLCertPath = {}\nsmtpUser = {USER}\nsmtpPass = {}\nfrom = {USER}\n\
                 confirm = never\nsuppressCc = all\n",
                scene.port(kind),
                scene.ca().display(),
                scene.password(),
            ),
        );
        let mut command = bare(&program, scene.home.path());
        command.env("GIT_CONFIG_GLOBAL", scene.file(&format!("{encryption}.config")));
        command.env("GIT_CONFIG_NOSYSTEM", "1");
        command.args(["send-email", "--to", COLLEAGUE, "--cc", list]);
        for number in 1..=5 {
            let subject = format!("[PATCH {encryption} {number}/5] Fix it");
            let name = format!("{encryption}-{number}.patch");
            let patch = format!(
                "From: Adele Vance <{USER}>\nSubject: {subject}\n\nBecause.\n---\n.\n-- \n2.39\n"
            );
            std::fs::write(scene.file(&name), patch).unwrap();
            command.arg(name);
            expected.extend([COLLEAGUE, list].map(|to| format!("{to}: {subject}")));
        }
        run(&mut command, b"").await.succeeded();
    }
    scene.arrives(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
}
