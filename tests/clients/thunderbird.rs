//! Thunderbird, without its window.

use crate::common::{COLLEAGUE, USER};
use crate::program::{bare, find, run};
use crate::{Scene, event};

#[tokio::test(flavor = "multi_thread")]
async fn thunderbird_finds_its_calendar_and_a_meeting_of_its_own_is_invited_moved_and_cancelled_once()
 {
    let (Some(program), Some(python)) = (find("thunderbird"), find("python3")) else { return };
    let scene = Scene::set().await;
    let other = scene.file("other-is-there");
    let mut command = bare(&python, scene.home.path());
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/thunderbird_client.py"));
    command.arg(program).args([&scene.bridge.calendar_url(), USER, COLLEAGUE]).arg(&other);
    command.env("CALDAV_PASSWORD", scene.password());
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
