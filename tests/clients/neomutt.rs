//! neomutt, which takes no other LOGIN challenges than `Username:` and `Password:`.

use crate::Scene;
use crate::common::{COLLEAGUE, USER};
use crate::program::{bare, find, private_file, run};
use postbridge::smtp::server::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn neomutt_sends_with_plain_and_login_by_both_ports() {
    let Some(program) = find("neomutt") else { return };
    let scene = Scene::set().await;
    let mut expected = Vec::new();
    for kind in [Kind::Starttls, Kind::ImplicitTls] {
        let scheme = if kind == Kind::Starttls { "smtp" } else { "smtps" };
        for mechanism in ["plain", "login"] {
            let name = format!("{scheme}-{mechanism}");
            let settings = format!(
                "set smtp_url=\"{scheme}://{}@localhost:{}/\" smtp_pass=\"{}\"\n\
                 set smtp_authenticators=\"{mechanism}\" ssl_starttls=yes ssl_force_tls=yes\n\
                 set ssl_ca_certificates_file=\"{}\" certificate_file=\"{}\"\n\
                 set from=\"{USER}\" use_from=yes realname=\"Adele Vance\" copy=no\n",
                USER.replace('@', "%40"),
                scene.port(kind),
                scene.password(),
                scene.ca().display(),
                scene.file("certificates").display(),
            );
            let file = scene.file(&name);
            private_file(&file, &settings);
            let mut command = bare(&program, scene.home.path());
            command.arg("-n").arg("-F").arg(&file).args(["-s", &name, "--", COLLEAGUE]);
            run(&mut command, b"Hello\n").await.succeeded();
            expected.push(format!("{COLLEAGUE}: {name}"));
        }
    }
    scene.arrives(&expected.iter().map(String::as_str).collect::<Vec<_>>()).await;
}
