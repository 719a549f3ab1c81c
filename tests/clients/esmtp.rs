//! esmtp, the front of libesmtp, which waits for ever after TLS 1.3 session tickets.

use crate::Scene;
use crate::common::{COLLEAGUE, USER};
use crate::program::{bare, find, private_file, run};
use postbridge::smtp::server::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn esmtp_sends_by_starttls() {
    let Some(program) = find("esmtp") else { return };
    let scene = Scene::set().await;
    // Where libesmtp looks for authorities. It ignores a file that others can read, and then says that
    // STARTTLS is not supported.
    let directory = scene.file(".config/libesmtp");
    std::fs::create_dir_all(&directory).unwrap();
    let ca = std::fs::read_to_string(scene.ca()).unwrap();
    private_file(&directory.join("ca.pem"), &ca);
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
