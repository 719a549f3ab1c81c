//! Times, durations, states and rights in the page's words. Pure.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::account::{Account, Standing};
use crate::store::spool::{Entry, Kind, State};

/// What time it is, and where.
#[derive(Debug, Clone)]
pub(super) struct Clockface {
    pub now: Timestamp,
    pub zone: TimeZone,
}

/// A time as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moment {
    /// For machines.
    pub iso: String,
    /// `2026-11-28 12:43:05`
    pub full: String,
    /// `3 min ago`, `in 2 h`
    pub relative: String,
}

impl Clockface {
    pub(super) fn at(&self, at: Timestamp) -> Moment {
        let local = self.zone.to_datetime(at);
        let second = Timestamp::from_second(at.as_second()).unwrap_or(at);
        let distance = self.now.duration_since(at);
        let span = duration(distance.abs());
        let relative = match distance.as_secs() {
            -1..=1 => "now".to_owned(),
            2.. => format!("{span} ago"),
            _ => format!("in {span}"),
        };
        Moment {
            iso: second.to_string(),
            full: local.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            relative,
        }
    }

    /// `12:00`
    pub(super) fn hour(&self, at: Timestamp) -> String {
        self.zone.to_datetime(at).strftime("%H:%M").to_string()
    }

    /// `Nov 28, 12:00`
    pub(super) fn day_and_hour(&self, at: Timestamp) -> String {
        self.zone.to_datetime(at).strftime("%b %-d, %H:%M").to_string()
    }
}

/// One number and its unit, as one says it.
pub(super) fn duration(of: SignedDuration) -> String {
    let seconds = of.as_secs();
    match seconds {
        ..=0 => format!("{} ms", of.as_millis()),
        1..=99 => format!("{seconds} s"),
        100..=5_999 => format!("{} min", (seconds + 30) / 60),
        6_000..=172_799 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => format!("{} days", (seconds + 43_200) / 86_400),
    }
}

/// Milliseconds as on a chart: `340 ms`, `2.4 s`, `3 min`.
pub(super) fn millis(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1_000..=9_999 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => duration(SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX))),
    }
}

/// `812 B`, `1.4 KiB`, `35 MiB`
pub(super) fn octets(count: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    let tenths = |unit: u64| {
        let tenths = count.saturating_mul(10) / unit;
        match tenths {
            0..=99 => format!("{}.{}", tenths / 10, tenths % 10),
            _ => (tenths / 10).to_string(),
        }
    };
    match count {
        0..KIB => format!("{count} B"),
        KIB..MIB => format!("{} KiB", tenths(KIB)),
        _ => format!("{} MiB", tenths(MIB)),
    }
}

/// Text from outside on one line, without what turns or moves it.
pub(super) fn one_line(text: &str, most: usize) -> String {
    // Bidirectional controls (UAX #9) would let a subject show as another.
    let plain = |c: char| match c {
        c if c.is_control() => ' ',
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => ' ',
        c => c,
    };
    let mut line: String = text.chars().take(most).map(plain).collect();
    if text.chars().nth(most).is_some() {
        line.push('…');
    }
    line
}

/// The colour that a state has: `good`, `busy`, `warn`, `bad`, `calm`.
pub(super) fn colour(state: State) -> &'static str {
    match state {
        State::Queued => "calm",
        State::Attempting | State::Sending => "busy",
        State::Sent => "good",
        State::Failed => "bad",
        State::Held => "warn",
    }
}

pub(super) fn standing(standing: &Standing) -> (&'static str, &'static str) {
    match standing {
        Standing::New => ("warn", "not signed in"),
        Standing::Ready => ("good", "ready"),
        Standing::NeedsSignIn(_) => ("bad", "needs sign-in"),
    }
}

pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Submission => "mail",
        Kind::Report => "report of ours",
        Kind::Object => "change of a calendar",
    }
}

/// What a permission is good for.
pub(super) fn granted(scope: &str) -> &'static str {
    match scope {
        "Mail.Send" => "sends mail",
        "Mail.ReadWrite" => {
            "sends by way of drafts, which can be looked for when an answer is lost"
        }
        "Calendars.ReadWrite" => "makes and changes events",
        "User.Read" => "knows whose mailbox it is",
        _ => "",
    }
}

/// What it means that an entry is as it is, and what there is to do.
pub(super) fn meaning(entry: &Entry, account: Option<&Account>) -> String {
    match (entry.state, account) {
        (State::Queued, None) => "Its account was removed; it will be held.".into(),
        (State::Queued, Some(account)) if account.standing != Standing::Ready => {
            format!("It waits until {} has signed in.", account.address)
        }
        (State::Queued, _) if entry.attempts == 0 => "It waits to be sent.".into(),
        (State::Queued, _) => "It waits to be tried again. Nothing was sent so far.".into(),
        (State::Attempting, _) => "It is being worked on.".into(),
        (State::Sending, _) => "It was handed to Microsoft 365, and has no answer yet.".into(),
        (State::Sent, _) => "Microsoft 365 has taken it.".into(),
        (State::Failed, _) if entry.kept => {
            "It was not sent. Its octets are kept, so it can be tried again.".into()
        }
        (State::Failed, _) => "It was not sent, and will not be. Its sender was told.".into(),
        (State::Held, None) => "Its account was removed, so nothing is sent any more.".into(),
        (State::Held, Some(account)) => format!(
            "Nobody knows whether it was sent: the answer of Microsoft 365 was lost. Look in Sent \
             Items of {}, then say below what you found there.",
            account.address
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_here_and_now() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let face = Clockface { now: "2026-11-28T12:00:00Z".parse().unwrap(), zone };
        let check = |at: &str, full: &str, relative: &str| {
            let shown = face.at(at.parse().unwrap());
            assert_eq!((shown.full.as_str(), shown.relative.as_str()), (full, relative));
        };
        check("2026-11-28T11:59:59.5Z", "2026-11-28 12:59:59", "now");
        check("2026-11-28T11:57:00Z", "2026-11-28 12:57:00", "3 min ago");
        check("2026-11-28T14:00:00Z", "2026-11-28 15:00:00", "in 2 h");
        check("2026-11-20T12:00:00Z", "2026-11-20 13:00:00", "8 days ago");
    }

    #[test]
    fn sizes_and_spans_have_two_figures() {
        assert_eq!(octets(812), "812 B");
        assert_eq!((octets(1_500), octets(1 << 20)), ("1.4 KiB".into(), "1.0 MiB".into()));
        assert_eq!(octets(35 << 20), "35 MiB");
        assert_eq!((millis(340), millis(2_440)), ("340 ms".into(), "2.4 s".into()));
        assert_eq!((millis(180_000), millis(0)), ("3 min".into(), "0 ms".into()));
    }

    #[test]
    fn text_from_outside_stays_on_its_line_and_in_its_direction() {
        assert_eq!(one_line("a\r\nb\u{202e}c\u{1b}[2J", 100), "a  b c [2J");
        assert_eq!(one_line("abcdef", 3), "abc…");
    }
}
