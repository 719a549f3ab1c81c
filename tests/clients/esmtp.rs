//! esmtp, the front of libesmtp, which waits for ever after TLS 1.3 session tickets.

use std::os::unix::fs::PermissionsExt;

use crate::Scene;
use crate::common::{COLLEAGUE, USER};
use crate::program::{bare, find, private_file, run};
use postbridge::smtp::server::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn esmtp_sends_by_starttls() {
    let Some(program) = find("esmtp") else { return };
    let scene = Scene::set().await;
    // Where libesmtp looks for authorities; it wants the directory to be private.
    let directory = scene.file(".authenticate");
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700)).unwrap();
    private_file(&directory.join("ca.pem"), &std::fs::read_to_string(scene.ca()).unwrap());
    let settings = format!(
        "hostname = localhost:{}\nusername = \"{USER}\"\npassword = \"{}\"\nstarttls = required\n",
        scene.port(Kind::Starttls),
        scene.password(),
    );
    private_file(&scene.file(".esmtprc"), &settings);
    let mut command = bare(&program, scene.home.path());
    command.args(["-f", USER, COLLEAGUE]);
    let mail = format!("From: {USER}\nTo: {COLLEAGUE}\nSubject: libesmtp\n\nHello\n");
    run(&mut command, mail.as_bytes()).await.succeeded();
    scene.arrives(&[&format!("{COLLEAGUE}: libesmtp")]).await;
}
