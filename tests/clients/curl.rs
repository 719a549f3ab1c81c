//! curl: `smtps://`, and `smtp://` with STARTTLS.

use crate::Scene;
use crate::common::{COLLEAGUE, USER};
use crate::program::{bare, find, private_file, run};
use postbridge::smtp::server::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn curl_sends_to_several_recipients_by_both_ports() {
    let Some(program) = find("curl") else { return };
    let scene = Scene::set().await;
    // The user's name holds an @, so it stands in a file and not in the URL; the password too.
    let secret = scene.file("curlrc");
    private_file(&secret, &format!("user = \"{USER}:{}\"\n", scene.password()));
    let other = "megan.bowen@fabrikam.example";
    let mut expected = Vec::new();
    for kind in [Kind::Starttls, Kind::ImplicitTls] {
        let scheme = if kind == Kind::Starttls { "smtp" } else { "smtps" };
        let mut command = bare(&program, scene.home.path());
        let url = format!("{scheme}://localhost:{}/client.contoso.example", scene.port(kind));
        command.args(["--silent", "--show-error", "--ssl-reqd", "--noproxy", "*", "--url", &url]);
        command.arg("--cacert").arg(scene.ca()).arg("--config").arg(&secret);
        command.args(["--mail-from", USER, "--mail-rcpt", COLLEAGUE, "--mail-rcpt", other]);
        command.args(["--upload-file", "-"]);
        let mail = format!(
            "From: Adele Vance <{USER}>\r\nTo: Alex <{COLLEAGUE}>\r\nSubject: by {scheme}\r\n\r\n\
             .a line with a dot\r\n.\r\nand an end without CRLF"
        );
        run(&mut command, mail.as_bytes()).await.succeeded();
        expected.extend([COLLEAGUE, other].map(|to| format!("{to}: by {scheme}")));
    }
    scene.arrives(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mail = scene.mail("by smtps").await;
    let body = "\r\n\r\n.a line with a dot\r\n.\r\nand an end without CRLF\r\n";
    assert!(mail.ends_with(body), "{mail}");
}
