//! No room: a client is told at once to come again, nothing of what was acknowledged is lost, and
//! when there is room again the same process goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::daemon::{Client, Daemon, Mail, Site};
use common::totals::account_for;
use common::{COLLEAGUE, TestBridge, USER};
use postbridge::account::Profile;
use postbridge::sandbox::script::{Act, Answer, Rule, Script};
use postbridge::store::spool::State;
use serde_json::json;

fn mail(subject: &str, octets: usize) -> String {
    let line = format!("{}\n", "x".repeat(70));
    let body = line.repeat(octets / line.len() + 1);
    format!("From: {USER}\nTo: {COLLEAGUE}\nSubject: {subject}\n\n{body}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_quota_is_a_452_until_mails_have_gone() {
    let bridge = TestBridge::start_as(Profile::SendOnly, |config| config.spool.quota_mib = 1).await;
    let conflict = json!({"answer": {"status": 409, "code": "ErrorIrresolvableConflict"}});
    let rule = json!({"route": "/v1.0/me/sendMail", "every": true, "do": conflict});
    bridge.post("/_sandbox/faults", json!({"faults": [rule]})).await;
    let mut accepted = Vec::new();
    for subject in ["first", "second"] {
        let reply = bridge.submit(&[COLLEAGUE], &mail(subject, 450_000)).await.unwrap();
        accepted.push(common::id_in(&reply));
    }
    for _ in 0..3 {
        let refusal = bridge.submit(&[COLLEAGUE], &mail("third", 450_000)).await.unwrap_err();
        assert!(refusal.contains("452 4.3.1"), "{refusal}");
    }
    // A small one still fits.
    accepted.push(bridge.submit_short(&[COLLEAGUE], "small").await);
    bridge.post("/_sandbox/faults", json!({"faults": []})).await;
    for id in accepted {
        // Flushed again and again: an attempt may have been under way.
        while bridge.entry(id).await.state != State::Sent {
            bridge.running.control.store.flush().await.unwrap();
        }
    }
    let reply = bridge.submit(&[COLLEAGUE], &mail("third", 450_000)).await.unwrap();
    bridge.once(common::id_in(&reply), State::Sent).await;
    assert_eq!(bridge.delivered().await.len(), 4);
}

/// A file system of its own, small, in memory; gone at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let directory = common::private_directory();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs"])
            .arg(directory.path())
            .output();
        mount.ok()?.status.success().then_some(SmallDisk(directory))
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// Takes all that is left of a disk; the file that holds it.
fn fill(disk: &Path) -> PathBuf {
    let path = disk.join("ballast");
    let mut ballast = std::fs::File::create(&path).unwrap();
    while std::io::Write::write_all(&mut ballast, &[0; 4096]).is_ok() {}
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_a_452_at_once_and_is_recovered_from_without_a_restart() {
    let Some(disk) = SmallDisk::mount() else {
        return common::skip("no small disk can be mounted here (it takes root)");
    };
    let bridge =
        TestBridge::start_as(Profile::SendOnly, |config| config.state_dir = Some(disk.state()))
            .await;
    let before = bridge.submit_short(&[COLLEAGUE], "before").await;
    bridge.once(before, State::Sent).await;

    let ballast = fill(disk.0.path());
    for octets in [100, 300_000] {
        for _ in 0..3 {
            let refusal = bridge.submit(&[COLLEAGUE], &mail("full", octets)).await.unwrap_err();
            assert!(refusal.contains("452 4.3.1"), "{octets} octets: {refusal}");
        }
    }
    std::fs::remove_file(&ballast).unwrap();
    for octets in [100, 300_000] {
        let message = mail(&format!("after-{octets}"), octets);
        let reply = bridge.submit(&[COLLEAGUE], &message).await.unwrap();
        bridge.once(common::id_in(&reply), State::Sent).await;
    }

    // It fills up while a mail is on its way: the outcome is written down when there is room.
    let rule = json!({"route": "/v1.0/me/sendMail", "nth": [1], "do": {"delay_ms": 300}});
    bridge.post("/_sandbox/faults", json!({"faults": [rule]})).await;
    let caught = bridge.submit_short(&[COLLEAGUE], "caught").await;
    bridge.once(caught, State::Sending).await;
    let ballast = fill(disk.0.path());
    while !bridge.delivered().await.iter().any(|row| row.ends_with("caught")) {
        tokio::task::yield_now().await;
    }
    let refusal = bridge.submit(&[COLLEAGUE], &mail("full", 100)).await.unwrap_err();
    assert!(refusal.contains("452 4.3.1"), "{refusal}");
    std::fs::remove_file(&ballast).unwrap();
    bridge.once(caught, State::Sent).await;
    assert_eq!(bridge.delivered().await.len(), 4);
}

/// With what waits, and a full disk at the next start as well.
#[test]
fn killed_on_a_full_disk_it_loses_nothing() {
    let mut site = Site::new();
    let busy =
        Answer { status: 503, code: "ErrorServerBusy".into(), message: None, retry_after: None };
    let all = Rule {
        method: None,
        route: "*".into(),
        mailbox: None,
        nth: vec![],
        every: true,
        probability: None,
        times: None,
        act: Act::Answer(busy),
    };
    site.sandbox.world().faults.set(Script { seed: 0, faults: vec![all] });
    let Some(disk) = SmallDisk::mount() else {
        return common::skip("no small disk can be mounted here (it takes root)");
    };
    site.move_state_to(&disk.state());
    let mut daemon = site.serve();
    let mut accepted = Vec::new();
    for octets in [100, 300_000] {
        let mail = Mail::new(&format!("waits-{octets}"), &[COLLEAGUE], &[], octets);
        let id = site.hand_in(&mut daemon, &mail);
        accepted.push((mail, id));
    }
    let mut session = Client::connect(daemon.address, &site.password).unwrap();
    let ballast = fill(disk.0.path());
    let refusal = session.submit(&Mail::new("full", &[COLLEAGUE], &[], 100)).unwrap_err();
    assert!(refusal.to_string().starts_with("452 4.3.1"), "{refusal}");
    daemon.kill();
    // It may need some room to start.
    match Daemon::try_start(&mut site.command(&["serve"])) {
        Ok(mut daemon) => {
            let mut session = Client::connect(daemon.address, &site.password).unwrap();
            let full = Mail::new("full", &[COLLEAGUE], &[], 100);
            let refusal = session.submit(&full).unwrap_err().to_string();
            assert!(refusal.starts_with("452 4.3.1"), "{refusal}");
            daemon.kill();
        }
        Err(mut refused) => {
            let status = refused.ended();
            assert_eq!(status.code(), Some(73), "{status}: {}", refused.log());
        }
    }
    std::fs::remove_file(&ballast).unwrap();
    site.sandbox.world().faults.set(Script::default());
    let entries = site.finish(&mut site.serve());
    assert_eq!(account_for(&site, &accepted, &[], &entries).sent, accepted.len());
}
