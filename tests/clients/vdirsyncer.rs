//! vdirsyncer: a folder of files and the collection, each told what happened in the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::common::{COLLEAGUE, USER};
use crate::program::{bare, private_file, run};
use crate::{Scene, event, invited, of_pypi};

/// A folder that is kept in step with the collection.
pub struct Folder<'a> {
    program: PathBuf,
    scene: &'a Scene,
    pub path: PathBuf,
}

impl<'a> Folder<'a> {
    /// Set up as docs/calendar.md says, with the collections that this URL leads to. Skips loudly without vdirsyncer.
    pub async fn set(scene: &'a Scene, url: &str) -> Option<Folder<'a>> {
        let program = of_pypi("vdirsyncer")?;
        let (path, password) = (scene.file("calendars/calendar"), scene.file("password"));
        std::fs::create_dir_all(&path).unwrap();
        private_file(&password, scene.password());
        let configuration = format!(
            "[general]\nstatus_path = \"{status}\"\n\n\
             [pair both]\na = \"folder\"\nb = \"bridge\"\ncollections = [\"from b\"]\n\n\
             [storage folder]\ntype = \"filesystem\"\npath = \"{folders}\"\nfileext = \".ics\"\n\n\
             [storage bridge]\ntype = \"caldav\"\nurl = \"{url}\"\nusername = \"{USER}\"\n\
             password.fetch = [\"command\", \"cat\", \"{password}\"]\n\
             item_types = [\"VEVENT\"]\n{verify}",
            status = scene.file("status").display(),
            folders = scene.file("calendars").display(),
            password = password.display(),
            verify = match url.starts_with("https:") {
                true => format!("verify = \"{}\"\n", scene.ca().display()),
                false => String::new(),
            },
        );
        private_file(&scene.file("vdirsyncer.conf"), &configuration);
        let folder = Folder { program, scene, path };
        folder.run("discover").await;
        Some(folder)
    }

    async fn run(&self, what: &str) {
        let mut command = bare(&self.program, self.scene.home.path());
        command.arg("--config").arg(self.scene.file("vdirsyncer.conf")).arg(what);
        let ran = run(&mut command, b"").await.succeeded();
        // It goes on, with exit status 0, after some that are its own warnings.
        assert!(!ran.output.contains("error"), "{}", ran.output);
    }

    pub async fn sync(&self) {
        self.run("sync").await;
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The files' octets, by name.
    pub fn files(&self) -> BTreeMap<String, String> {
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let files = std::fs::read_dir(&self.path).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|end| end == "ics"));
        files.map(|path| (name(&path), std::fs::read_to_string(&path).unwrap())).collect()
    }

    /// The folder and the collection hold the same events. Names may differ, and line ends.
    #[track_caller]
    pub fn agrees(&self, objects: &BTreeMap<String, String>, expected: usize) {
        let sorted = |all: &BTreeMap<String, String>| {
            let mut all: Vec<String> =
                all.values().map(|text| text.replace("\r\n", "\n").trim_end().to_owned()).collect();
            all.sort();
            all
        };
        let files = sorted(&self.files());
        assert_eq!(files, sorted(objects));
        assert_eq!(files.len(), expected, "{files:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn vdirsyncer_keeps_a_folder_and_the_calendar_in_step_both_ways() {
    let scene = Scene::set().await;
    let url = scene.tls_url();
    let Some(folder) = Folder::set(&scene, &url).await else { return };
    // One on each side.
    scene.put("ours.ics", &event("ours", 10, "")).await;
    std::fs::write(folder.file("theirs.ics"), event("theirs", 12, &invited())).unwrap();
    folder.sync().await;
    folder.agrees(&scene.objects().await, 2);
    assert_eq!(scene.told().await, [format!("request {COLLEAGUE}: 2027-01-11T11:00")]);
    // Nothing happened since.
    folder.sync().await;
    folder.agrees(&scene.objects().await, 2);

    // Each is changed on the side that it did not come from.
    let name = |uid: &str| {
        let files = folder.files();
        let uid = format!("UID:{uid}\r\n").replace("\r\n", "\n");
        let mut named = files.iter().filter(|(_, text)| text.replace("\r\n", "\n").contains(&uid));
        named.next().unwrap().0.clone()
    };
    std::fs::write(folder.file(&name("ours")), event("ours", 14, &invited())).unwrap();
    let objects = scene.objects().await;
    let theirs = objects.iter().find(|(_, text)| text.contains("UID:theirs")).unwrap().0;
    scene.put(theirs, &event("theirs", 16, &invited())).await;
    folder.sync().await;
    folder.agrees(&scene.objects().await, 2);
    let all: String = folder.files().into_values().collect();
    assert!(all.contains("20270111T140000") && all.contains("20270111T160000"), "{all}");

    // Each is deleted on the side that changed it.
    std::fs::remove_file(folder.file(&name("ours"))).unwrap();
    scene.delete(theirs).await;
    // An empty side is taken for an accident, and not carried over.
    std::fs::write(folder.file("rest.ics"), event("rest", 18, "")).unwrap();
    folder.sync().await;
    folder.agrees(&scene.objects().await, 1);

    let mut told = scene.told().await;
    told.sort();
    let mut expected = [
        ("request", "11"),
        ("update", "15"),
        ("cancel", "15"),
        ("request", "13"),
        ("cancel", "13"),
    ]
    .map(|(kind, hour)| format!("{kind} {COLLEAGUE}: 2027-01-11T{hour}:00"));
    expected.sort();
    assert_eq!(told, expected);
}
