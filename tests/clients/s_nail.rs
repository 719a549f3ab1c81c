//! s-nail, Debian's `mail`: matches certificates by DNS name only.

use crate::Scene;
use crate::common::{COLLEAGUE, USER};
use crate::program::{bare, find, private_file, run};
use postbridge::smtp::server::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn s_nail_sends_by_both_ports() {
    let Some(program) = find("s-nail") else { return };
    let scene = Scene::set().await;
    let mut expected = Vec::new();
    for (kind, mechanism) in [(Kind::Starttls, "plain"), (Kind::ImplicitTls, "login")] {
        let (scheme, starttls) = match kind {
            Kind::Starttls => ("smtp", "set smtp-use-starttls\n"),
            Kind::ImplicitTls => ("smtps", ""),
        };
        let settings = format!(
            "set v15-compat mta={scheme}://{}:{}@localhost:{}\n{starttls}\
             set smtp-auth={mechanism} from={USER} tls-verify=strict tls-ca-file={} sendwait\n",
            USER.replace('@', "%40"),
            scene.password(),
            scene.port(kind),
            scene.ca().display(),
        );
        let file = scene.file(scheme);
        private_file(&file, &settings);
        let mut command = bare(&program, scene.home.path());
        command.env("MAILRC", &file).arg("-n").args(["-s", mechanism, COLLEAGUE]);
        run(&mut command, b"Hello, J\xc3\xbcrgen\n").await.succeeded();
        expected.push(format!("{COLLEAGUE}: {mechanism}"));
    }
    scene.arrives(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
}
