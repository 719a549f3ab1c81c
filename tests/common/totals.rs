//! What became of what clients handed in: their 250s, the daemon's record and what was delivered,
//! compared.

use std::collections::HashMap;

use postbridge::store::spool::{Entry, EntryId, Kind, State};

use super::USER;
use super::daemon::{Mail, Site};

/// Sums; what must never be is not counted but fails.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Mails of which a client read a 250.
    pub accepted: usize,
    /// Mails that are there although no client read a 250 of them.
    pub unanswered: usize,
    pub sent: usize,
    pub failed: usize,
    pub held: usize,
    /// Held ones that had gone.
    pub held_gone: usize,
    pub reports: usize,
    pub twice: usize,
}

impl Totals {
    pub fn add(&mut self, other: Totals) {
        self.accepted += other.accepted;
        self.unanswered += other.unanswered;
        self.sent += other.sent;
        self.failed += other.failed;
        self.held += other.held;
        self.held_gone += other.held_gone;
        self.reports += other.reports;
        self.twice += other.twice;
    }
}

/// Compares what clients were promised with what the daemon knows and what was delivered. Mails that
/// nobody was promised may be there or not: `unanswered` are those that nobody asked for again.
pub fn account_for(
    site: &Site,
    accepted: &[(Mail, EntryId)],
    unanswered: &[Mail],
    entries: &[Entry],
) -> Totals {
    let by_id: HashMap<EntryId, &Entry> = entries.iter().map(|entry| (entry.id, entry)).collect();
    let copies = all_copies(site);
    let nothing = HashMap::new();
    let copies_of = |subject: &str| copies.get(subject).unwrap_or(&nothing);
    let mut totals = Totals { accepted: accepted.len(), ..Totals::default() };
    for (mail, id) in accepted {
        let entry = by_id.get(id).unwrap_or_else(|| panic!("{} is lost", mail.subject));
        let copies = copies_of(&mail.subject);
        let everybody = mail.to.iter().all(|to| copies.get(to) == Some(&1));
        let nobody = copies.is_empty();
        let once = copies.len() == mail.to.len() && everybody;
        totals.twice += usize::from(copies.values().any(|&n| n > 1));
        match entry.state {
            State::Sent => assert!(once, "{} was sent, and yet: {copies:?}", mail.subject),
            State::Failed => assert!(nobody, "{} failed, and yet: {copies:?}", mail.subject),
            State::Held => {
                assert!(once || nobody, "{} is held, and yet: {copies:?}", mail.subject);
                assert!(entry.note.is_some());
                totals.held_gone += usize::from(once);
            }
            odd => panic!("{} is {odd:?}", mail.subject),
        }
        totals.sent += usize::from(entry.state == State::Sent);
        totals.failed += usize::from(entry.state == State::Failed);
        totals.held += usize::from(entry.state == State::Held);
    }
    for mail in unanswered {
        let copies = copies_of(&mail.subject);
        let once = copies.len() == mail.to.len() && mail.to.iter().all(|to| copies[to] == 1);
        assert!(once || copies.is_empty(), "{} had no answer: {copies:?}", mail.subject);
        totals.unanswered += usize::from(once);
    }
    // Each that failed or is held has its one report, and each report's copy is the sender's own.
    let reports: Vec<&Entry> = entries.iter().filter(|entry| entry.kind == Kind::Report).collect();
    totals.reports = reports.len();
    assert_eq!(reports.len(), totals.failed + totals.held, "{entries:?}");
    let sent = reports.iter().filter(|entry| entry.state == State::Sent).count();
    let held = reports.iter().filter(|entry| entry.state == State::Held).count();
    assert_eq!(sent + held, reports.len(), "{reports:?}");
    let mut reported = 0;
    for (mail, _) in accepted {
        for what in ["Not delivered", "Unknown whether sent"] {
            let of_one = copies_of(&format!("{what}: {}", mail.subject));
            assert!(of_one.keys().all(|recipient| recipient == USER), "{of_one:?}");
            assert!(of_one.values().all(|&n| n == 1), "{of_one:?}");
            reported += of_one.values().sum::<usize>();
        }
    }
    assert!((sent..=sent + held).contains(&reported), "{reported} of {sent} to {}", sent + held);
    // What no client handed in is not there either.
    let submissions = entries.len() - reports.len();
    assert_eq!(submissions, accepted.len() + totals.unanswered, "{entries:?}");
    assert_eq!(totals.twice, 0);
    assert_eq!(totals.accepted, totals.sent + totals.failed + totals.held);
    totals
}

/// By subject: how many copies each recipient has.
fn all_copies(site: &Site) -> HashMap<String, HashMap<String, usize>> {
    let mut all: HashMap<String, HashMap<String, usize>> = HashMap::new();
    for copy in site.sandbox.world().ledger.copies() {
        let of_one = all.entry(copy.message.subject.clone()).or_default();
        *of_one.entry(copy.recipient).or_default() += 1;
    }
    all
}
