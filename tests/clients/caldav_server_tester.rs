//! caldav-server-tester, by the author of Python's caldav library: what it finds is compared with what it
//! found before, in `tests/data/caldav/server_tester.txt`. Why not all of it is "full" is told in
//! `deviations.md` beside it.

use std::path::Path;

use crate::common::{USER, skip};
use crate::program::{bare, find, run};
use crate::{Scene, python};

#[tokio::test(flavor = "multi_thread")]
async fn caldav_server_tester_finds_what_it_found_before() {
    let Some(program) = python().or_else(|| find("python3")) else { return };
    let scene = Scene::set().await;
    let mut command = bare(&program, scene.home.path());
    if run(command.args(["-c", "import caldav_server_tester"]), b"").await.status != Some(0) {
        return skip("Python has no caldav-server-tester");
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut command = bare(&program, scene.home.path());
    command.arg(directory.join("clients/caldav_server_tester_client.py"));
    command.args(["--caldav-url", &scene.bridge.calendar_url(), "--caldav-username", USER]);
    command.args(["--caldav-password", scene.password(), "--caldav-calendar", "Calendar"]);
    let ran = run(&mut command, b"").await.succeeded();
    let found: Vec<&str> =
        ran.output.lines().filter_map(|line| line.strip_prefix("found ")).collect();
    let kept = std::fs::read_to_string(directory.join("data/caldav/server_tester.txt")).unwrap();
    let kept: Vec<&str> = kept.lines().collect();
    let only = |these: &[&str], those: &[&str]| -> Vec<String> {
        these.iter().filter(|one| !those.contains(one)).map(|&one| one.to_owned()).collect()
    };
    let (new, gone) = (only(&found, &kept), only(&kept, &found));
    assert_eq!((new, gone), (Vec::new(), Vec::new()), "new, and gone\n{}", ran.output);
    // What it put there it has deleted.
    assert!(scene.objects().await.is_empty(), "{:?}", scene.objects().await);
}
