//! Python's caldav library, which many scripts and home automation use.

use crate::common::{COLLEAGUE, USER, skip};
use crate::program::{bare, find, run};
use crate::{Scene, python};

#[tokio::test(flavor = "multi_thread")]
async fn the_caldav_library_finds_its_calendar_and_a_meeting_of_its_own_is_invited_moved_and_cancelled_once()
 {
    let Some(program) = python().or_else(|| find("python3")) else { return };
    let scene = Scene::set().await;
    let mut command = bare(&program, scene.home.path());
    if run(command.args(["-c", "import caldav"]), b"").await.status != Some(0) {
        return skip("Python has no caldav");
    }
    let mut command = bare(&program, scene.home.path());
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/caldav_client.py"));
    command.args([&scene.bridge.calendar_url(), USER, COLLEAGUE]);
    command.env("CALDAV_PASSWORD", scene.password());
    let ran = run(&mut command, b"").await.succeeded();
    assert!(ran.output.contains("all is well"), "{}", ran.output);
    let told = ["request", "update", "cancel"];
    let hours = ["09", "12", "12"];
    let told: Vec<String> = (told.iter().zip(hours))
        .map(|(kind, hour)| format!("{kind} {COLLEAGUE}: 2027-01-11T{hour}:00"))
        .collect();
    assert_eq!(scene.told().await, told);
    assert!(scene.objects().await.is_empty());
}
