//! Programs that are not ours, from Debian and PyPI, send through a whole bridge; then the sandbox's
//! ledger must say that everything arrived once, at exactly the recipients of the envelope.
//!
//! A program that is not installed is skipped, loudly. All of it stays on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

#[path = "clients/curl.rs"]
mod curl;
#[path = "clients/demo.rs"]
mod demo;
#[path = "clients/esmtp.rs"]
mod esmtp;
#[path = "clients/git_send_email.rs"]
mod git_send_email;
#[path = "clients/msmtp.rs"]
mod msmtp;
#[path = "clients/neomutt.rs"]
mod neomutt;
#[path = "clients/phpmailer.rs"]
mod phpmailer;
#[path = "clients/postfix.rs"]
mod postfix;
#[path = "clients/postfix_relay.rs"]
mod postfix_relay;
#[path = "clients/program.rs"]
mod program;
#[path = "clients/python.rs"]
mod python;
#[path = "clients/s_nail.rs"]
mod s_nail;
#[path = "clients/sendmail.rs"]
mod sendmail;
#[path = "clients/swaks.rs"]
mod swaks;

use std::path::PathBuf;
use std::time::Duration;

use common::TestBridge;
use postbridge::smtp::server::Kind;
use postbridge::store::spool::State;

/// A bridge, and a home directory for the program that sends through it.
struct Scene {
    bridge: TestBridge,
    home: tempfile::TempDir,
}

impl Scene {
    async fn set() -> Scene {
        Scene { bridge: TestBridge::start().await, home: common::private_directory() }
    }

    fn port(&self, kind: Kind) -> u16 {
        self.bridge.address(kind).port()
    }

    fn password(&self) -> &str {
        &self.bridge.password
    }

    fn ca(&self) -> PathBuf {
        self.bridge.running.certificates.ca.clone()
    }

    /// A path in the home directory.
    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Each of `expected` (`recipient: subject`) arrives, each once, and nothing else does.
    ///
    /// Every mail that was acknowledged is in the store by now; so once all that is there is settled
    /// nothing more can come.
    #[track_caller]
    fn arrives<'a>(&'a self, expected: &[&str]) -> impl Future<Output = ()> + 'a {
        let caller = std::panic::Location::caller();
        let mut expected: Vec<String> = expected.iter().map(|&row| row.to_owned()).collect();
        expected.sort();
        async move {
            let mut delivered = self.delivered(expected.len()).await;
            delivered.sort();
            assert_eq!(delivered, expected, "{caller}");
        }
    }

    /// What was delivered once at least so many copies were and nothing is under way; or what there is
    /// when patience ends.
    async fn delivered(&self, at_least: usize) -> Vec<String> {
        let store = &self.bridge.running.control.store;
        let settled = |state: State| matches!(state, State::Sent | State::Failed | State::Held);
        let all = async {
            loop {
                let entries = store.entries(None, 1000).await.unwrap();
                if entries.iter().all(|entry| settled(entry.state))
                    && self.bridge.delivered().await.len() >= at_least
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(common::PATIENCE, all).await;
        self.bridge.delivered().await
    }

    /// The octets of the one mail with this subject, as its recipients got them.
    async fn mail(&self, subject: &str) -> String {
        let ledger = self.bridge.ledger().await;
        let rows = ledger["mails"].as_array().unwrap();
        let row = rows.iter().find(|row| row["subject"] == subject);
        self.bridge.raw(row.expect("the mail")["seq"].as_u64().unwrap()).await
    }
}
