//! msmtp, the sendmail of cron jobs and of mutt.

use crate::Scene;
use crate::common::{COLLEAGUE, USER};
use crate::program::{bare, find, private_file, run};
use postbridge::smtp::server::Kind;

/// One account of msmtp for each port and mechanism; nothing is added to a mail or taken out.
fn settings(scene: &Scene) -> String {
    let mut text = format!(
        "defaults\nhost localhost\ntls on\ntls_trust_file {}\nfrom {USER}\nuser {USER}\n\
         password {}\nset_from_header off\nset_date_header off\nset_msgid_header off\nremove_bcc_headers off\n",
        scene.ca().display(),
        scene.password(),
    );
    for (name, kind, mechanism, starttls) in ACCOUNTS {
        let port = scene.port(kind);
        text +=
            &format!("account {name}\nport {port}\nauth {mechanism}\ntls_starttls {starttls}\n");
    }
    text
}

const ACCOUNTS: [(&str, Kind, &str, &str); 4] = [
    ("starttls-plain", Kind::Starttls, "plain", "on"),
    ("starttls-login", Kind::Starttls, "login", "on"),
    ("tls-plain", Kind::ImplicitTls, "plain", "off"),
    ("tls-login", Kind::ImplicitTls, "login", "off"),
];

#[tokio::test(flavor = "multi_thread")]
async fn msmtp_sends_a_piped_mail_with_hardly_a_header_and_it_is_completed() {
    let Some(program) = find("msmtp") else { return };
    let scene = Scene::set().await;
    private_file(&scene.file(".msmtprc"), &settings(&scene));
    let secret = "megan.bowen@fabrikam.example";
    let mut expected = Vec::new();
    for (name, ..) in ACCOUNTS {
        let mut command = bare(&program, scene.home.path());
        command.args(["--account", name, "--read-recipients"]);
        let mail =
            format!("To: {COLLEAGUE}\nBcc: {secret}\nSubject: {name}\n\nDisk full\n.\nend\n");
        run(&mut command, mail.as_bytes()).await.succeeded();
        expected.extend([COLLEAGUE, secret].map(|to| format!("{to}: {name}")));
    }
    scene.arrives(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mail = scene.mail("tls-login").await;
    for field in ["Date: ", "Message-ID: <", "From: adele.vance@"] {
        assert!(mail.lines().any(|line| line.starts_with(field)), "{field} in {mail}");
    }
    assert!(mail.ends_with("\r\n\r\nDisk full\r\n.\r\nend\r\n"), "{mail}");
    assert!(!mail.contains("Bcc") && !mail.contains(secret), "{mail}");
}
