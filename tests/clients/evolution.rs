//! Evolution, without its window: evolution-data-server, which speaks CalDAV for it.

use crate::common::{COLLEAGUE, USER, skip};
use crate::program::{bare, find, run};
use crate::{Scene, event};

#[tokio::test(flavor = "multi_thread")]
async fn evolution_finds_its_calendar_and_a_meeting_of_its_own_is_invited_moved_and_cancelled_once()
{
    let (Some(session), Some(python)) = (find("dbus-run-session"), find("python3")) else { return };
    let scene = Scene::set().await;
    let mut command = bare(&python, scene.home.path());
    let asked = "import gi; gi.require_version('ECal', '2.0')";
    if run(command.args(["-c", asked]), b"").await.status != Some(0) {
        return skip("evolution-data-server is not installed");
    }
    let url = scene.bridge.calendar_url();
    let (host, port) = url.strip_prefix("http://").unwrap().rsplit_once(':').unwrap();
    let other = scene.file("other-is-there");
    let mut command = bare(&session, scene.home.path());
    command.arg("--").arg(&python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/evolution_client.py"));
    command.args([host, port, USER, COLLEAGUE]).arg(&other);
    command.env("CALDAV_PASSWORD", scene.password()).env("GSETTINGS_BACKEND", "memory");
    command.env("XDG_RUNTIME_DIR", scene.home.path()).env("NO_PROXY", "*");
    let ran = tokio::join!(
        run(&mut command, b""),
        scene.another_puts("other.ics", event("other", 10, ""), "T110000Z", &other)
    );
    let ran = ran.0.succeeded();
    assert!(ran.output.contains("all is well"), "{}", ran.output);
    let told = [("request", "09"), ("update", "11"), ("cancel", "11")];
    let told = told.map(|(kind, hour)| format!("{kind} {COLLEAGUE}: 2027-01-11T{hour}:00"));
    assert_eq!(scene.told().await, told);
    let left: Vec<String> = scene.objects().await.into_keys().collect();
    assert_eq!(left, ["other.ics"]);
}
