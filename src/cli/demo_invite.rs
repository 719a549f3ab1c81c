//! A meeting's life as a tool mails it that knows no calendar but iCalendar: an invitation, a change,
//! a cancellation (RFC 5546 §3.2, carried as in RFC 6047); and the table of what came of it.
//!
//! Pure: [`super::demo`] hands the mails in and watches the sandbox's ledger. It must never borrow
//! from `ical` or `itip`: a tool that shares our notions would prove nothing.

use jiff::civil::Weekday;
use jiff::{Timestamp, ToSpan, ZonedDateTime};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::demo::{COLLEAGUE, USER};

/// No mailbox of the sandbox: somebody outside.
const GUEST: &str = "kim.akers@fabrikam.example";
pub const ATTENDEES: [&str; 2] = [COLLEAGUE, GUEST];

/// Where the meetings are.
const ZONE: &str = "Europe/Berlin";
/// RFC 5545 §3.2.19: a TZID comes with its definition.
const VTIMEZONE: &str = "\
    BEGIN:VTIMEZONE\r\nTZID:Europe/Berlin\r\n\
    BEGIN:STANDARD\r\nDTSTART:19961027T030000\r\nRRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\r\n\
    TZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\nEND:STANDARD\r\n\
    BEGIN:DAYLIGHT\r\nDTSTART:19810329T020000\r\nRRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\r\n\
    TZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\nEND:DAYLIGHT\r\n\
    END:VTIMEZONE\r\n";

/// A mail that the tool sends, and what is to come of it.
#[derive(Debug)]
pub struct Mailing {
    /// In a newcomer's words.
    pub name: &'static str,
    pub subject: &'static str,
    /// RFC 5322, CRLF line ends.
    pub message: String,
    /// What Exchange then tells each attendee, as the ledger's `kind`.
    kind: &'static str,
    start: ZonedDateTime,
}

/// A row of the ledger's `invitations`: a mail that an attendee gets from Exchange.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Told {
    kind: String,
    attendee: String,
    subject: String,
    start: Timestamp,
    /// Its other fields, which are only passed on.
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// One meeting that is proposed, moved and called off; then, with `standing`, one that remains.
///
/// `run` tells the UIDs of this run from those of any other.
pub fn mailings(now: Timestamp, run: Uuid, standing: bool) -> Result<Vec<Mailing>, jiff::Error> {
    let tuesday = tuesday_at_ten(now)?;
    let interview = Meeting {
        uid: format!("interview-{run}@ats.contoso.example"),
        subject: "Interview",
        stamp: now,
    };
    let moved = tuesday.checked_add(1.day())?;
    let mut mailings = vec![
        interview.mailing("invitation", "request", ("REQUEST", 0), &tuesday),
        interview.mailing("moved by a day", "update", ("REQUEST", 1), &moved),
        interview.mailing("cancellation", "cancel", ("CANCEL", 2), &moved),
    ];
    if standing {
        let kick_off = Meeting {
            uid: format!("kick-off-{run}@ats.contoso.example"),
            subject: "Kick-off",
            ..interview
        };
        let start = tuesday.checked_add(2.days())?;
        mailings.push(kick_off.mailing("another meeting", "request", ("REQUEST", 0), &start));
    }
    Ok(mailings)
}

/// A Tuesday three to nine days from now, so that moving by a day stays within the week.
fn tuesday_at_ten(now: Timestamp) -> Result<ZonedDateTime, jiff::Error> {
    let soon = now.in_tz(ZONE)?.date().checked_add(2.days())?;
    soon.nth_weekday(1, Weekday::Tuesday)?.at(10, 0, 0, 0).in_tz(ZONE)
}

struct Meeting {
    uid: String,
    subject: &'static str,
    stamp: Timestamp,
}

impl Meeting {
    fn mailing(
        &self,
        name: &'static str,
        kind: &'static str,
        (method, sequence): (&str, u32),
        start: &ZonedDateTime,
    ) -> Mailing {
        let Meeting { uid, subject, stamp } = self;
        let status = if method == "CANCEL" { "CANCELLED" } else { "CONFIRMED" };
        let stamp = stamp.strftime("%Y%m%dT%H%M%SZ");
        let local = start.strftime("%Y%m%dT%H%M%S");
        let time = start.strftime("%A, %-d %B, at %H:%M");
        let message = format!(
            "From: Adele Vance <{USER}>\r\n\
             To: Alex Wilber <{COLLEAGUE}>, Kim Akers <{GUEST}>\r\n\
             Subject: {subject}\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/alternative; boundary=next\r\n\r\n\
             --next\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\r\n\
             {subject} on {time} ({ZONE}).\r\n\
             --next\r\n\
             Content-Type: text/calendar; method={method}; charset=utf-8\r\n\r\n\
             BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Contoso//Recruiting//EN\r\n\
             METHOD:{method}\r\n\
             {VTIMEZONE}\
             BEGIN:VEVENT\r\nUID:{uid}\r\nSEQUENCE:{sequence}\r\nDTSTAMP:{stamp}\r\n\
             DTSTART;TZID={ZONE}:{local}\r\nDURATION:PT1H\r\n\
             SUMMARY:{subject}\r\nSTATUS:{status}\r\n\
             ORGANIZER;CN=Adele Vance:mailto:{USER}\r\n\
             ATTENDEE;ROLE=REQ-PARTICIPANT;RSVP=TRUE:mailto:{COLLEAGUE}\r\n\
             ATTENDEE;ROLE=REQ-PARTICIPANT;RSVP=TRUE:mailto:{GUEST}\r\n\
             END:VEVENT\r\nEND:VCALENDAR\r\n\
             --next--\r\n"
        );
        Mailing { name, subject, message, kind, start: start.clone() }
    }
}

impl Mailing {
    /// Each attendee has been told, and of the right time.
    pub fn is_answered_by(&self, told: &[Told]) -> bool {
        ATTENDEES.iter().all(|attendee| {
            told.iter().any(|row| {
                row.kind == self.kind
                    && row.attendee == *attendee
                    && row.start == self.start.timestamp()
            })
        })
    }
}

/// What was mailed, and what Exchange told whom: a line for each row, in columns, with a head.
pub fn table(rows: &[(Mailing, Vec<Told>)]) -> String {
    let start = format!("start ({ZONE})");
    let mut lines = vec![["The tool mailed", "Exchange told", "about", &start].map(String::from)];
    for (mailing, told) in rows {
        let names = std::iter::once(mailing.name).chain(std::iter::repeat(""));
        lines.extend(names.zip(told).map(|(name, row)| {
            let start = row.start.to_zoned_datetime(mailing.start.time_zone().clone());
            [
                name.to_owned(),
                format!("{:<8} {}", row.kind, row.attendee),
                row.subject.clone(),
                start.strftime("%a %-d %b %H:%M").to_string(),
            ]
        }));
    }
    let [mailed, told, about, _] =
        [0, 1, 2, 3].map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0));
    let line =
        |[a, b, c, d]: &[String; 4]| format!("  {a:<mailed$}  {b:<told$}  {c:<about$}  {d}\n");
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meetings_are_ahead_on_working_days_whenever_it_runs() {
        let mut now: Timestamp = "2026-01-01T23:30:00Z".parse().unwrap();
        for _ in 0..366 {
            let all = mailings(now, Uuid::nil(), true).unwrap();
            for (mailing, weekday) in all.iter().zip([
                Weekday::Tuesday,
                Weekday::Wednesday,
                Weekday::Wednesday,
                Weekday::Thursday,
            ]) {
                let start = &mailing.start;
                assert!(start.timestamp() > now + 48.hours(), "{start} of {now}");
                assert_eq!((start.weekday(), start.hour(), start.minute()), (weekday, 10, 0));
            }
            now += 24.hours();
        }
    }

    #[test]
    fn an_attendee_who_was_told_the_old_time_was_not_told() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let all = mailings(now, Uuid::nil(), false).unwrap();
        let told = |kind: &str, start: &ZonedDateTime| {
            ATTENDEES.map(|attendee| Told {
                kind: kind.to_owned(),
                attendee: attendee.to_owned(),
                subject: "Interview".to_owned(),
                start: start.timestamp(),
                others: Map::new(),
            })
        };
        let [invitation, moved, _] = &*all else { panic!("{}", all.len()) };
        assert!(moved.is_answered_by(&told("update", &moved.start)));
        assert!(!moved.is_answered_by(&told("update", &invitation.start)));
        assert!(!moved.is_answered_by(&told("request", &moved.start)));
        assert!(!moved.is_answered_by(&told("update", &moved.start)[..1]));
    }
}
