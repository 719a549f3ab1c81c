//! The functional suite of Python's caldav library, which its author runs against every server that he
//! has: what it finds is compared with what it found before.
//!
//! What it does not pass stands in `tests/data/caldav/deviations.md`, each with its reason. What the server
//! can do, it is told from `server_tester.txt`. Its source is looked for where CI unpacks it, beside the
//! Python that has the library.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::common::{USER, skip};
use crate::program::{bare, private_file, run};
use crate::{Scene, python};

/// Where the suite's two files with a server are.
fn suite() -> Option<(PathBuf, PathBuf)> {
    let python = python()?;
    let source = python.parent()?.parent()?.join("src/caldav-3.6.0");
    source.join("tests/test_caldav.py").is_file().then_some((python, source))
}

/// What the library is told of us: each feature that the tester has found an answer for.
fn features(kept: &str) -> serde_json::Value {
    let words = ["full", "unsupported", "ungraceful", "unknown"];
    let known = kept.lines().filter_map(|line| line.split_once(": "));
    let known = known.filter(|(_, support)| words.contains(support));
    let mut features: serde_json::Map<_, _> =
        known.map(|(name, support)| (name.to_owned(), json!({ "support": support }))).collect();
    // It is one calendar, which is emptied before each test and after it.
    features.insert("test-calendar".to_owned(), json!({ "cleanup-regime": "wipe-calendar" }));
    features.into()
}

/// The rows of the table that follows this heading, as test and what came of it.
fn kept(deviations: &str) -> BTreeMap<String, String> {
    let (_, section) = deviations.split_once("functional suite\n").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = |row: &str| {
        let mut cells = row.split('|').map(|cell| cell.trim().to_owned());
        (cells.next().unwrap(), cells.next().unwrap())
    };
    let rows = rows.map(cells);
    rows.flat_map(|(tests, came)| {
        let names: Vec<String> =
            tests.split(',').map(|name| name.trim().trim_matches('`').to_owned()).collect();
        names.into_iter().map(move |name| (name, came.clone()))
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_functional_suite_of_the_caldav_library_finds_what_it_found_before() {
    let Some((python, source)) = suite() else {
        return skip("the functional suite of Python's caldav is not there");
    };
    let scene = Scene::set().await;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/caldav");
    let found_before = std::fs::read_to_string(data.join("server_tester.txt")).unwrap();
    let server = json!({
        "type": "external", "enabled": true, "url": scene.bridge.calendar_url(),
        "username": USER, "password": scene.password(), "features": features(&found_before),
    });
    std::fs::create_dir_all(scene.file(".config/caldav")).unwrap();
    let configuration = json!({ "test-servers": { "bridge": server } }).to_string();
    private_file(&scene.file(".config/caldav/test_servers.json"), &configuration);

    let mut command = bare(&python, scene.home.path());
    command.args(["-m", "pytest", "-v", "-rs", "--tb=short", "-p", "no:cacheprovider"]);
    // The tester is asked by itself.
    command.args(["-k", "Bridge and not testCheckCompatibility"]);
    // Its own settings make an error of each warning, of whichever library.
    private_file(&scene.file("pytest.ini"), "[pytest]\n");
    command.arg("-c").arg(scene.file("pytest.ini")).arg("--rootdir").arg(&source);
    command.arg(source.join("tests/test_caldav.py"));
    command.env("TMPDIR", scene.home.path()).env("PYTHONDONTWRITEBYTECODE", "1");
    command.env("PYTHON_CALDAV_TEST_EMBEDDED", "0").env("PYTHON_CALDAV_TEST_DOCKER", "0");
    let output = run(&mut command, b"").await.output;
    // tests/test_caldav.py::TestForServerbridge::testPropfind PASSED [ 17%]
    let mut passed = 0;
    let mut others = BTreeMap::new();
    for line in output.lines() {
        let Some((_, said)) = line.split_once("bridge::") else { continue };
        let mut words = said.split(' ');
        let (Some(test), Some(came)) = (words.next(), words.next()) else { continue };
        match came {
            "PASSED" => passed += 1,
            "SKIPPED" | "FAILED" | "ERROR" => {
                others.insert(test.to_owned(), came.to_lowercase());
            }
            _ => {}
        }
    }
    let deviations = std::fs::read_to_string(data.join("deviations.md")).unwrap();
    assert_eq!(others, kept(&deviations), "{output}");
    assert!(passed > 30, "{passed}\n{output}");
}
