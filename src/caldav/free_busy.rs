//! When somebody is busy, from many objects, as one VFREEBUSY. Pure.
//!
//! RFC 4791 §7.10 (the table of TRANSP and STATUS), RFC 5545 §3.6.4, §3.8.2.6; RFC 6638 §5 (the answer to
//! one who asks through an outbox). It says when, and never what or with whom.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::kept;
use super::range::{TimeRange, utc};
use crate::ical::{self, Event, Occurrence, ShowAs, Status};
use crate::recurrence::NotListed;

/// Most periods that are held before they are merged.
const PERIODS_MAX: usize = 8_192;
const PRODID: &str = "-//postbridge//CalDAV//EN";

/// What is known of one range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreeBusy {
    from: Timestamp,
    to: Timestamp,
    periods: Vec<Period>,
}

/// FBTYPE (RFC 5545 §3.2.9), but for FREE, which is what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Busy,
    Unavailable,
    Tentative,
}

/// By kind, then by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Period {
    kind: Kind,
    start: Timestamp,
    end: Timestamp,
}

/// What makes the answer to a request of it: lines of the request, as RFC 5546 §3.3.3 wants them back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'r> {
    pub uid: &'r str,
    /// ORGANIZER and ATTENDEE as content lines, unfolded.
    pub organizer: &'r str,
    pub attendee: &'r str,
}

impl FreeBusy {
    /// Nothing yet. A range that is open at an end has no free time to speak of.
    pub fn new(range: &TimeRange) -> FreeBusy {
        FreeBusy { from: range.from(), to: range.to(), periods: Vec::new() }
    }

    /// Adds what an event takes up. `floating` is the zone of days and of times without one. An event
    /// whose occurrences cannot be listed adds nothing, and says so.
    pub fn add(&mut self, event: &Event, floating: &TimeZone) -> Result<(), NotListed> {
        let range = TimeRange { start: Some(self.from), end: Some(self.to) };
        for instance in kept::instances(event, &range, floating)? {
            let occurrence = match instance.overridden {
                Some(at) => event.overrides.get(at).map(|change| &change.occurrence),
                None => event.master.as_ref(),
            };
            let times = kept::at(&instance.start, floating).zip(kept::at(&instance.end, floating));
            if let (Some(kind), Some((start, end))) = (occurrence.and_then(kind), times) {
                let (start, end) = (start.max(self.from), end.min(self.to));
                if start < end {
                    self.periods.push(Period { kind, start, end });
                }
            }
        }
        if self.periods.len() > PERIODS_MAX {
            self.merge();
        }
        Ok(())
    }

    /// The periods in which one is busy, those of a kind apart from each other, ascending.
    pub fn periods(&mut self) -> impl Iterator<Item = (Kind, Timestamp, Timestamp)> {
        self.merge();
        self.periods.iter().map(|period| (period.kind, period.start, period.end))
    }

    /// What overlaps or touches becomes one.
    fn merge(&mut self) {
        self.periods.sort_unstable();
        let mut merged: Vec<Period> = Vec::new();
        for period in self.periods.drain(..) {
            match merged.last_mut() {
                Some(last) if last.kind == period.kind && period.start <= last.end => {
                    last.end = last.end.max(period.end);
                }
                _ => merged.push(period),
            }
        }
        self.periods = merged;
    }

    /// A VCALENDAR with one VFREEBUSY. `reply`: it answers a request.
    pub fn write(mut self, now: Timestamp, reply: Option<&Reply<'_>>) -> Vec<u8> {
        let mut output = Vec::new();
        let mut line = |text: &str| {
            // What was handed in is a line each, whatever it holds.
            let text: String = text.chars().filter(|c| !c.is_control() || *c == '\t').collect();
            ical::fold(text.as_bytes(), b"\r\n", &mut output);
        };
        line("BEGIN:VCALENDAR");
        line("VERSION:2.0");
        line(&format!("PRODID:{PRODID}"));
        if reply.is_some() {
            line("METHOD:REPLY");
        }
        line("BEGIN:VFREEBUSY");
        line(&format!("DTSTAMP:{}", utc(now)));
        line(&format!("DTSTART:{}", utc(self.from)));
        line(&format!("DTEND:{}", utc(self.to)));
        if let Some(reply) = reply {
            line(&format!("UID:{}", reply.uid));
            line(reply.organizer);
            line(reply.attendee);
        }
        for (kind, start, end) in self.periods() {
            let kind = match kind {
                Kind::Busy => "BUSY",
                Kind::Unavailable => "BUSY-UNAVAILABLE",
                Kind::Tentative => "BUSY-TENTATIVE",
            };
            line(&format!("FREEBUSY;FBTYPE={kind}:{}/{}", utc(start), utc(end)));
        }
        line("END:VFREEBUSY");
        line("END:VCALENDAR");
        output
    }
}

/// RFC 4791 §7.10's table, and what Exchange's properties say beyond it. `None`: it takes up no time.
fn kind(occurrence: &Occurrence) -> Option<Kind> {
    match (occurrence.status, occurrence.show_as) {
        (Status::Cancelled, _) => None,
        // Exchange lets one be invited to something else while one works elsewhere.
        (_, Some(ShowAs::Free | ShowAs::WorkingElsewhere)) => None,
        (_, Some(ShowAs::OutOfOffice)) => Some(Kind::Unavailable),
        (Status::Tentative, _) | (_, Some(ShowAs::Tentative)) => Some(Kind::Tentative),
        (Status::Confirmed, Some(ShowAs::Busy) | None) => Some(Kind::Busy),
    }
}

#[cfg(test)]
mod tests {
    use super::super::kept::Kept;
    use super::super::range::instant;
    use super::*;

    fn event(lines: &str) -> Event {
        let text =
            format!("BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:1\n{lines}\nEND:VEVENT\nEND:VCALENDAR\n");
        Kept::read(text.as_bytes()).unwrap().event().clone()
    }

    fn day() -> TimeRange {
        TimeRange::new(instant("20261123T000000Z"), instant("20261124T000000Z")).unwrap()
    }

    fn of(events: &[&str]) -> Vec<String> {
        let mut busy = FreeBusy::new(&day());
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        events.iter().for_each(|lines| busy.add(&event(lines), &zone).unwrap());
        let text =
            String::from_utf8(busy.write(instant("20261101T000000Z").unwrap(), None)).unwrap();
        let periods = text.lines().filter_map(|line| line.strip_prefix("FREEBUSY;FBTYPE="));
        periods.map(str::to_owned).collect()
    }

    fn at(from: &str, to: &str) -> String {
        format!("DTSTART:20261123T{from}Z\nDTEND:20261123T{to}Z")
    }

    #[test]
    fn what_overlaps_or_touches_is_one_period() {
        let [a, b, c, d] = [
            at("130000", "140000"),
            at("090000", "100000"),
            at("093000", "110000"),
            at("110000", "113000"),
        ];
        let within = at("094500", "094600");
        assert_eq!(
            of(&[&a, &b, &c, &d, &within]),
            ["BUSY:20261123T090000Z/20261123T113000Z", "BUSY:20261123T130000Z/20261123T140000Z"]
        );
    }

    #[test]
    fn transp_and_status_say_whether_and_how_one_is_busy() {
        let with = |line: &str| of(&[&format!("{}\n{line}", at("090000", "100000"))]);
        let as_kind = |kind: &str| vec![format!("{kind}:20261123T090000Z/20261123T100000Z")];
        assert_eq!(with("TRANSP:OPAQUE\nSTATUS:CONFIRMED"), as_kind("BUSY"));
        assert_eq!(with("STATUS:TENTATIVE"), as_kind("BUSY-TENTATIVE"));
        assert_eq!(with("X-MICROSOFT-CDO-BUSYSTATUS:TENTATIVE"), as_kind("BUSY-TENTATIVE"));
        assert_eq!(with("X-MICROSOFT-CDO-BUSYSTATUS:OOF"), as_kind("BUSY-UNAVAILABLE"));
        for free in [
            "TRANSP:TRANSPARENT",
            "STATUS:CANCELLED",
            "TRANSP:TRANSPARENT\nSTATUS:TENTATIVE",
            "X-MICROSOFT-CDO-BUSYSTATUS:WORKINGELSEWHERE",
        ] {
            assert_eq!(with(free), [] as [&str; 0], "{free}");
        }
    }

    #[test]
    fn kinds_are_kept_apart() {
        let [a, b] =
            [format!("{}\nSTATUS:TENTATIVE", at("090000", "110000")), at("100000", "120000")];
        assert_eq!(
            of(&[&a, &b]),
            [
                "BUSY:20261123T100000Z/20261123T120000Z",
                "BUSY-TENTATIVE:20261123T090000Z/20261123T110000Z"
            ]
        );
    }

    #[test]
    fn a_series_and_its_overrides_count_within_the_range() {
        let series = "DTSTART:20261120T220000Z\nDURATION:PT4H\nRRULE:FREQ=DAILY\nEND:VEVENT\nBEGIN:VEVENT\n\
                      UID:1\nRECURRENCE-ID:20261123T220000Z\nDTSTART:20261123T120000Z\nDURATION:PT1H";
        assert_eq!(
            of(&[series]),
            ["BUSY:20261123T000000Z/20261123T020000Z", "BUSY:20261123T120000Z/20261123T130000Z"]
        );
        let cancelled = series.replace("DURATION:PT1H", "DURATION:PT1H\nSTATUS:CANCELLED");
        assert_eq!(of(&[&cancelled]), ["BUSY:20261123T000000Z/20261123T020000Z"]);
        // A whole day is one in the zone that is given; what has no length takes up none.
        assert_eq!(
            of(&["DTSTART;VALUE=DATE:20261123", "DTSTART:20261123T233000Z"]),
            ["BUSY:20261123T000000Z/20261123T230000Z"]
        );
    }

    #[test]
    fn an_event_that_cannot_be_listed_is_not_taken_for_free_time() {
        let mut busy = FreeBusy::new(&day());
        let hourly = event("DTSTART:20261123T000000Z\nRRULE:FREQ=HOURLY");
        assert_eq!(busy.add(&hourly, &TimeZone::UTC), Err(NotListed::Unsupported));
        assert_eq!(busy.periods().count(), 0);
    }

    #[test]
    fn many_objects_are_merged_on_the_way() {
        let mut busy = FreeBusy::new(&day());
        let short = event(&at("090000", "093000"));
        for _ in 0..=PERIODS_MAX {
            busy.add(&short, &TimeZone::UTC).unwrap();
        }
        assert_eq!(busy.periods.len(), 1);
    }

    #[test]
    fn a_reply_says_whom_it_answers_and_nothing_else() {
        let busy = FreeBusy::new(&day());
        let reply = Reply {
            uid: "7\r\nX-EVIL:1",
            organizer: "ORGANIZER:mailto:adele@contoso.example",
            attendee: "ATTENDEE:mailto:alex@contoso.example",
        };
        let text = busy.write(instant("20261101T000000Z").unwrap(), Some(&reply));
        assert_eq!(
            String::from_utf8(text).unwrap().replace("\r\n", "\n"),
            "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//postbridge//CalDAV//EN\nMETHOD:REPLY\n\
             BEGIN:VFREEBUSY\nDTSTAMP:20261101T000000Z\nDTSTART:20261123T000000Z\n\
             DTEND:20261124T000000Z\nUID:7X-EVIL:1\nORGANIZER:mailto:adele@contoso.example\n\
             ATTENDEE:mailto:alex@contoso.example\nEND:VFREEBUSY\nEND:VCALENDAR\n"
        );
    }
}
