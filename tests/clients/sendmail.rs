//! Programs that hand their mail to sendmail(8), which is the bridge's own here.

use std::path::PathBuf;

use crate::Scene;
use crate::common::{self, COLLEAGUE, USER};
use crate::program::{bare, find, private_file, run};
use postbridge::smtp::server::Kind;

/// The program by its old name, with settings for it.
fn sendmail(scene: &Scene) -> PathBuf {
    let link = scene.file("sendmail");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_postbridge"), &link).unwrap();
    std::fs::create_dir_all(scene.file(".config/postbridge")).unwrap();
    private_file(
        &scene.file(".config/postbridge/sendmail.toml"),
        &format!(
            "server = \"localhost:{}\"\nuser = \"{USER}\"\npassword = \"{}\"\nca = \"{}\"\n",
            scene.port(Kind::ImplicitTls),
            scene.password(),
            scene.ca().display(),
        ),
    );
    link
}

#[tokio::test(flavor = "multi_thread")]
async fn s_nail_sends_by_sendmail() {
    let Some(program) = find("s-nail") else { return };
    let scene = Scene::set().await;
    let sendmail = sendmail(&scene);
    let settings = format!("set v15-compat mta={} sendwait\n", sendmail.display());
    private_file(&scene.file("rc"), &settings);
    let mut command = bare(&program, scene.home.path());
    // Of root it takes the home directory that the system knows.
    command
        .env("XDG_CONFIG_HOME", scene.file(".config"))
        .env("XDG_STATE_HOME", scene.file("state"));
    command.env("MAILRC", scene.file("rc")).arg("-n").args(["-s", "s-nail", "-b", USER, COLLEAGUE]);
    run(&mut command, b"Hello, J\xc3\xbcrgen\n").await.succeeded();
    scene.arrives(&[&format!("{COLLEAGUE}: s-nail"), &format!("{USER}: s-nail")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neomutt_sends_by_sendmail() {
    let Some(program) = find("neomutt") else { return };
    let scene = Scene::set().await;
    let settings = format!(
        "set from={USER} use_envelope_from=yes sendmail=\"{} -oem -oi\" record=\"\"\n",
        sendmail(&scene).display()
    );
    private_file(&scene.file("muttrc"), &settings);
    let mut command = bare(&program, scene.home.path());
    command
        .arg("-n")
        .arg("-F")
        .arg(scene.file("muttrc"))
        .args(["-s", "mutt", "-b", USER, "--", COLLEAGUE]);
    run(&mut command, b"Hello\n.\nend\n").await.succeeded();
    scene.arrives(&[&format!("{COLLEAGUE}: mutt"), &format!("{USER}: mutt")]).await;
    let mail = scene.mail("mutt").await;
    assert!(mail.contains("\r\n.\r\nend\r\n"), "{mail}");
    assert!(!mail.contains("Bcc"), "{mail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn git_sends_by_sendmail() {
    let Some(program) = find("git") else { return };
    if !std::path::Path::new("/usr/lib/git-core/git-send-email").exists() {
        return common::skip("git-email is not installed");
    }
    let scene = Scene::set().await;
    private_file(
        &scene.file("config"),
        &format!(
            "[user]\nname = Adele Vance\nemail = {USER}\n[sendemail]\nsmtpServer = {}\n\
             from = {USER}\nconfirm = never\nsuppressCc = all\n",
            sendmail(&scene).display()
        ),
    );
    let patch = format!(
        "From: Adele Vance <{USER}>\nSubject: [PATCH] Fix it\n\nBecause.\n---\n.\n-- \n2.39\n"
    );
    std::fs::write(scene.file("one.patch"), patch).unwrap();
    let mut command = bare(&program, scene.home.path());
    command.env("GIT_CONFIG_GLOBAL", scene.file("config")).env("GIT_CONFIG_NOSYSTEM", "1");
    command.args(["send-email", "--to", COLLEAGUE, "--bcc", USER, "one.patch"]);
    run(&mut command, b"").await.succeeded();
    let subject = "[PATCH] Fix it";
    scene.arrives(&[&format!("{COLLEAGUE}: {subject}"), &format!("{USER}: {subject}")]).await;
    assert!(scene.mail(subject).await.contains("\r\n.\r\n-- \r\n2.39"));
}

#[tokio::test(flavor = "multi_thread")]
async fn php_sends_by_its_mail_function() {
    let Some(program) = find("php") else { return };
    let scene = Scene::set().await;
    let script = format!(
        "<?php exit(mail('{COLLEAGUE}', 'php', \"Hello\\r\\n.\\nend\\n\", ['Cc' => '{USER}']) ? 0 : 1);"
    );
    std::fs::write(scene.file("mail.php"), script).unwrap();
    let mut command = bare(&program, scene.home.path());
    command.arg("-d").arg(format!("sendmail_path={} -t -i", sendmail(&scene).display()));
    command.arg(scene.file("mail.php"));
    run(&mut command, b"").await.succeeded();
    scene.arrives(&[&format!("{COLLEAGUE}: php"), &format!("{USER}: php")]).await;
}
