//! `postbridge backup`, `export` and `import`: what is remembered goes from one state directory to another,
//! and no mail is sent from both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::daemon::{Client, Daemon, Mail, Site, listing};
use common::{COLLEAGUE, USER};
use postbridge::store::spool::State;
use serde_json::Value;
use sqlx::{Connection, SqliteConnection};

/// More than a row of the spool holds.
const LARGE: usize = 200_000;
const UID: &str = "interview-1@contoso.example";

struct Ran {
    status: i32,
    out: String,
    err: String,
}

fn run(site: &Site, arguments: &[&str]) -> Ran {
    let output = site.command(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    Ran {
        status: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

#[track_caller]
fn succeeds(site: &Site, arguments: &[&str]) -> Ran {
    let ran = run(site, arguments);
    assert_eq!(ran.status, 0, "{arguments:?}: {}", ran.err);
    ran
}

/// A path in the site's directory.
fn file(site: &Site, name: &str) -> String {
    site.directory.path().join(name).display().to_string()
}

/// A mail as a row and one as a file, which wait for their account's user.
fn two_that_wait(site: &Site) -> Daemon {
    site.sign_out();
    let daemon = site.serve();
    let mut client = Client::connect(daemon.address, &site.password).unwrap();
    client.submit(&Mail::new("small", &[COLLEAGUE], &[], 10)).unwrap();
    client.submit(&Mail::new("large", &[COLLEAGUE], &[], LARGE)).unwrap();
    daemon
}

fn stop(daemon: &mut Daemon) {
    daemon.terminate();
    assert!(daemon.ended().success(), "{}", daemon.log());
}

/// From now on the site's commands and daemons work on that state directory.
fn move_to(site: &mut Site, state: &Path) -> PathBuf {
    let old = site.state();
    let text =
        site.configuration().replace(&old.display().to_string(), &state.display().to_string());
    site.write_configuration(&text);
    old
}

fn queue(site: &Site, state: &str) -> Vec<Value> {
    let list = succeeds(site, &["--state", state, "queue", "list", "--json"]).out;
    let list: Value = serde_json::from_str(&list).unwrap();
    list["entries"].as_array().unwrap().clone()
}

fn copies(site: &Site) -> (usize, usize) {
    let copies = |subject| site.copies(subject).values().sum();
    (copies("small"), copies("large"))
}

#[test]
fn a_backup_while_the_bridge_runs_is_whole_and_sends_nothing_a_second_time() {
    let site = Site::new();
    let mut daemon = two_that_wait(&site);
    let backup = file(&site, "backup");
    let ran = succeeds(&site, &["backup", &backup]);
    assert!(ran.out.contains("1 accounts, 2 mails"), "{}", ran.out);
    assert!(ran.err.contains("goes on with 2 mails"), "{}", ran.err);
    for (path, mode, _) in listing(Path::new(&backup)) {
        assert_eq!(mode & 0o077, 0, "{path:?} is open to others");
    }
    // The bridge goes on.
    stop(&mut daemon);
    site.sign_in();
    let mut daemon = site.serve();
    site.finish(&mut daemon);
    assert_eq!(copies(&site), (1, 1));

    let restored = file(&site, "restored");
    succeeds(&site, &["--state", &restored, "import", &backup]);
    let entries = queue(&site, &restored);
    assert_eq!(entries.len(), 2);
    assert!(entries.iter().all(|entry| entry["state"] == "held"), "{entries:?}");
    let note = entries[0]["note"].as_str().unwrap();
    assert!(note.contains("look in Sent Items"), "{note}");
    let sizes = ["spool", "."].map(|below| Path::new(&restored).join(below).exists());
    assert_eq!(sizes, [true, true]);
    assert_eq!(std::fs::read_dir(Path::new(&restored).join("spool")).unwrap().count(), 1);
    assert_eq!(copies(&site), (1, 1));
    let again = run(&site, &["backup", &backup]);
    assert_eq!(again.status, 1, "an older backup was overwritten");
}

#[test]
fn an_export_of_a_bridge_that_was_stopped_goes_on_elsewhere_with_its_sign_in() {
    let mut site = Site::new();
    let mut daemon = two_that_wait(&site);
    stop(&mut daemon);
    site.sign_in();
    let (archive, passphrase) = (file(&site, "all.tar"), file(&site, "passphrase"));
    std::fs::write(&passphrase, "correct horse battery\n").unwrap();
    let export = ["export", &archive, "--with-signins", "--passphrase-file", &passphrase];
    let ran = succeeds(&site, &export);
    assert!(ran.err.contains("sent twice") && ran.err.contains("--without-queue"), "{}", ran.err);
    assert_eq!(run(&site, &export).status, 1, "an older export was overwritten");

    let elsewhere = site.directory.path().join("elsewhere");
    let state = elsewhere.display().to_string();
    std::fs::write(&passphrase, "wrong horse battery\n").unwrap();
    let import = ["--state", &state, "import", &archive, "--passphrase-file", &passphrase];
    let ran = run(&site, &import);
    assert_eq!(ran.status, 1, "{}", ran.err);
    assert!(ran.err.contains("does not open"), "{}", ran.err);
    assert!(!elsewhere.join("postbridge.db").exists());
    let ran = run(&site, &["--state", &state, "import", &archive]);
    assert!(ran.status == 1 && ran.err.contains("--passphrase-file"), "{}", ran.err);

    std::fs::write(&passphrase, "correct horse battery\n").unwrap();
    succeeds(&site, &import);
    site.sandbox.world().journal.clear();
    // Nothing of the first bridge is needed any more.
    std::fs::remove_dir_all(move_to(&mut site, &elsewhere)).unwrap();
    let daemon = site.serve();
    let done = || copies(&site) == (1, 1);
    let deadline = std::time::Instant::now() + common::PATIENCE;
    while !done() {
        assert!(std::time::Instant::now() < deadline, "{:?}: {}", copies(&site), daemon.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let asked = format!("{:?}", site.sandbox.world().journal.entries());
    assert!(!asked.contains("authorize"), "somebody had to sign in");
}

#[test]
fn an_export_without_sign_ins_holds_none_and_its_account_says_so() {
    let site = Site::new();
    let sealed = sealed_token(&site.state());
    let archive = file(&site, "all.tar");
    succeeds(&site, &["export", &archive]);
    let octets = std::fs::read(&archive).unwrap();
    assert!(octets.len() > 10_000);
    let holds = |octets: &[u8], what: &[u8]| octets.windows(what.len()).any(|it| it == what);
    // Its beginning: the rest of a long one is on pages of its own.
    let begin = &sealed[..40];
    let database = std::fs::read(site.state().join("postbridge.db")).unwrap();
    assert!(holds(&database, begin) && !holds(&octets, begin), "the sealed token is in it");
    assert!(holds(&octets, USER.as_bytes()));

    let state = file(&site, "elsewhere");
    let ran = succeeds(&site, &["--state", &state, "import", &archive]);
    assert!(ran.err.contains("account signin"), "{}", ran.err);
    let list = succeeds(&site, &["--state", &state, "account", "list"]).out;
    assert!(list.contains("needs sign-in: It was brought here"), "{list}");
}

/// As it lies on the disk.
fn sealed_token(state: &Path) -> Vec<u8> {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let url = format!("sqlite://{}", state.join("postbridge.db").display());
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        let sealed = sqlx::query_scalar("SELECT sealed FROM refresh_token");
        let sealed = sealed.fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        sealed
    })
}

#[test]
fn invites_and_calendars_come_along_and_the_queue_need_not() {
    let site = Site::new();
    let mut daemon = site.serve();
    let mut client = Client::connect(daemon.address, &site.password).unwrap();
    client.submit(&Mail::invite(UID)).unwrap();
    site.finish(&mut daemon);
    let mut daemon = two_that_wait(&site);
    let archive = file(&site, "all.tar");
    let ran = succeeds(&site, &["export", &archive, "--without-queue"]);
    assert!(
        ran.out.contains("0 mails that wait or are held, 1 invites, 1 calendar objects"),
        "{}",
        ran.out
    );
    stop(&mut daemon);
    let state = file(&site, "elsewhere");
    succeeds(&site, &["--state", &state, "import", &archive]);
    let shown = |state: &str| succeeds(&site, &["--state", state, "invites", "show", UID]).out;
    assert_eq!(shown(&state), shown(&site.state().display().to_string()));
    assert!(queue(&site, &state).iter().all(|entry| entry["state"] == "sent"));
    assert_eq!(std::fs::read_dir(Path::new(&state).join("spool")).unwrap().count(), 0);
}

#[test]
fn what_is_no_export_or_a_newer_one_is_refused_and_nothing_is_imported() {
    let site = Site::new();
    let archive = file(&site, "all.tar");
    // What it wrote last is in the log of its database alone.
    two_that_wait(&site).kill();
    succeeds(&site, &["export", &archive]);
    let state = file(&site, "elsewhere");
    let refused = |name: &str, status: i32, words: &str| {
        let ran = run(&site, &["--state", &state, "import", &file(&site, name)]);
        assert_eq!(ran.status, status, "{name}: {}", ran.err);
        assert!(ran.err.contains(words), "{name}: {}", ran.err);
        let left: Vec<_> = listing(Path::new(&state)).into_iter().map(|(path, ..)| path).collect();
        assert!(left.iter().all(|path| path.ends_with("lock")), "{name}: {left:?}");
    };
    let octets = std::fs::read(&archive).unwrap();
    std::fs::write(file(&site, "half.tar"), &octets[..octets.len() / 2]).unwrap();
    refused("half.tar", 65, "not the whole of one");
    std::fs::write(file(&site, "text.tar"), "nothing of ours\n".repeat(100)).unwrap();
    refused("text.tar", 65, "no export");
    refused("missing.tar", 1, "No such file");

    // The manifest of a later version, and of a later database.
    let manifest = |change: &dyn Fn(&mut Value)| {
        let mut archive = tar::Archive::new(&octets[..]);
        let mut first = archive.entries().unwrap().next().unwrap().unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut first, &mut text).unwrap();
        let mut manifest: Value = serde_json::from_str(&text).unwrap();
        change(&mut manifest);
        manifest.to_string()
    };
    let pack = |to: &str, name: &str, octets: &[u8]| {
        let mut archive = tar::Builder::new(std::fs::File::create(file(&site, to)).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_size(octets.len() as u64);
        header.set_mode(0o600);
        // Not by its own function, which refuses such names.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        archive.append(&header, octets).unwrap();
        archive.finish().unwrap();
    };
    let newer = manifest(&|manifest| manifest["version"] = 2.into());
    pack("newer.tar", "manifest.json", newer.as_bytes());
    refused("newer.tar", 65, "newer postbridge");
    let newer = manifest(&|manifest| manifest["shape"] = 9999.into());
    pack("newer.tar", "manifest.json", newer.as_bytes());
    refused("newer.tar", 65, "newer postbridge");
    for name in ["../kek", "spool/../../kek", "/tmp/kek", "kek", "spool/kek"] {
        pack("out.tar", name, b"x");
        refused("out.tar", 65, "is in it");
    }
    // Over another's it goes neither.
    let own = site.state().display().to_string();
    let ran = run(&site, &["--state", &own, "import", &archive]);
    assert_eq!(ran.status, 73, "{}", ran.err);
    assert!(ran.err.contains("has a database already"), "{}", ran.err);
    assert!(site.at_rest().0.iter().all(|entry| entry.state == State::Queued));
    let ran = succeeds(&site, &["--state", &state, "import", &archive]);
    assert!(ran.out.contains("2 mails"), "{}", ran.out);
    assert!(queue(&site, &state).iter().all(|entry| entry["state"] == "queued"));
}
