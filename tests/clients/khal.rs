//! khal, on a folder that vdirsyncer keeps in step.

use postbridge::store::spool::State;

use crate::program::{Ran, bare, private_file, run};
use crate::vdirsyncer::Folder;
use crate::{Scene, event, of_pypi};

#[tokio::test(flavor = "multi_thread")]
async fn what_khal_makes_is_in_the_calendar_and_what_was_put_is_in_khals_list() {
    let Some(program) = of_pypi("khal") else { return };
    let scene = Scene::set().await;
    let url = format!("{}/dav/", scene.bridge.calendar_url());
    let Some(folder) = Folder::set(&scene, &url).await else { return };
    let configuration = format!(
        "[calendars]\n[[bridge]]\npath = {}\n\n\
         [locale]\nlocal_timezone = Europe/Berlin\ndefault_timezone = Europe/Berlin\n\
         timeformat = %H:%M\ndateformat = %Y-%m-%d\nlongdateformat = %Y-%m-%d\n\
         datetimeformat = %Y-%m-%d %H:%M\nlongdatetimeformat = %Y-%m-%d %H:%M\n\n\
         [default]\ndefault_calendar = bridge\n\n[sqlite]\npath = {}\n",
        folder.path.display(),
        scene.file("khal.db").display(),
    );
    private_file(&scene.file("khal.conf"), &configuration);
    let khal = async |arguments: &[&str]| -> Ran {
        let mut command = bare(&program, scene.home.path());
        command.arg("--config").arg(scene.file("khal.conf")).args(arguments);
        run(&mut command, b"").await.succeeded()
    };
    scene.put("ours.ics", &event("ours", 10, "RRULE:FREQ=DAILY;COUNT=2\n")).await;
    let made = ["new", "2027-01-12", "15:00", "16:30", "Dentist", "::", "Bring the card."];
    khal(&made).await;
    folder.sync().await;
    folder.agrees(&scene.objects().await, 2);
    let objects = scene.objects().await;
    let dentist = objects.values().find(|text| text.contains("SUMMARY:Dentist")).unwrap();
    assert!(dentist.contains("DTSTART;TZID=Europe/Berlin:20270112T150000"), "{dentist}");

    // The mailbox has it too.
    let store = &scene.bridge.running.control.store;
    let entries = store.entries(None, 10).await.unwrap();
    assert!(entries.iter().all(|entry| entry.state == State::Sent), "{entries:?}");

    let list = khal(&["list", "--format", "{start-time} {title}", "2027-01-11", "2d"]).await;
    let lines: Vec<&str> = list.output.lines().filter(|line| line.contains(':')).collect();
    assert_eq!(lines, ["10:00 Event ours", "10:00 Event ours", "15:00 Dentist"]);
}
