//! A range of time, and what overlaps it. Pure.
//!
//! RFC 4791 §9.9: the start is inclusive, the end is not, and either may be open.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// `C:time-range`; at least one end is given, and the end is later than the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    pub start: Option<Timestamp>,
    pub end: Option<Timestamp>,
}

impl TimeRange {
    /// `None`: neither end is given, or they are in the wrong order.
    pub fn new(start: Option<Timestamp>, end: Option<Timestamp>) -> Option<TimeRange> {
        let sound = match (start, end) {
            (None, None) => false,
            (Some(start), Some(end)) => start < end,
            _ => true,
        };
        sound.then_some(TimeRange { start, end })
    }

    /// The start, or the first instant there is.
    pub fn from(&self) -> Timestamp {
        self.start.unwrap_or(Timestamp::MIN)
    }

    /// The end, or the last instant there is.
    pub fn to(&self) -> Timestamp {
        self.end.unwrap_or(Timestamp::MAX)
    }

    /// Whether something that begins at `start` and ends at `end` overlaps it. What has no length does if
    /// it is within: (start <= DTSTART AND end > DTSTART).
    ///
    /// Quirk(many): DTEND that equals DTSTART, which RFC 5545 §3.8.2.2 forbids and for which RFC 4791's
    /// table has no sensible line, is no length as well.
    pub fn overlaps(&self, start: Timestamp, end: Timestamp) -> bool {
        let begins = match start < end {
            true => self.from() < end,
            false => self.from() <= start,
        };
        begins && (self.end.is_none() || self.to() > start)
    }

    /// Whether an instant is in it.
    pub fn has(&self, at: Timestamp) -> bool {
        self.overlaps(at, at)
    }
}

/// RFC 5545 §3.3.5, form 2: `20060104T000000Z`, and nothing else.
pub fn instant(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let number = |text: &str, from: usize, to: usize| {
        let digits = text.get(from..to)?;
        let plain = digits.bytes().all(|octet| octet.is_ascii_digit());
        plain.then(|| digits.parse::<i16>().ok()).flatten()
    };
    let small = |text: &str, from: usize| i8::try_from(number(text, from, from + 2)?).ok();
    if date.len() != 8 || time.len() != 6 {
        return None;
    }
    // RFC 5545 §3.3.5: those who have no leap seconds take 60 for 59.
    let second = small(time, 4)?;
    let second = if second == 60 { 59 } else { second };
    let local = DateTime::new(
        number(date, 0, 4)?,
        small(date, 4)?,
        small(date, 6)?,
        small(time, 0)?,
        small(time, 2)?,
        second,
        0,
    );
    TimeZone::UTC.to_timestamp(local.ok()?).ok()
}

/// RFC 5545 §3.3.6: `-PT15M`, a week as seven days and a day as 24 hours.
pub fn duration(text: &str) -> Option<SignedDuration> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut rest = text.strip_prefix(['P', 'p'])?;
    let mut seconds: i64 = 0;
    let mut in_time = false;
    let mut said = false;
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix(['T', 't']).filter(|_| !in_time) {
            (rest, in_time) = (time, true);
            continue;
        }
        let (number, after) = rest.split_at_checked(rest.find(|c: char| !c.is_ascii_digit())?)?;
        let mut after = after.chars();
        let unit = match (after.next()?.to_ascii_uppercase(), in_time) {
            ('W', false) => 7 * 86_400,
            ('D', false) => 86_400,
            ('H', true) => 3_600,
            ('M', true) => 60,
            ('S', true) => 1,
            _ => return None,
        };
        let number = i64::from(number.parse::<u32>().ok()?);
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        (rest, said) = (after.as_str(), true);
    }
    said.then(|| SignedDuration::from_secs(sign * seconds))
}

/// An instant as RFC 5545 §3.3.5, form 2, writes it.
pub fn utc(at: Timestamp) -> String {
    let local = TimeZone::UTC.to_datetime(at);
    format!(
        "{:04}{:02}{:02}T{:02}{:02}{:02}Z",
        local.year(),
        local.month(),
        local.day(),
        local.hour(),
        local.minute(),
        local.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_instant_is_read_in_one_form_and_written_in_it() {
        assert_eq!(instant("20261123T090000Z"), Some(at("2026-11-23T09:00:00Z")));
        assert_eq!(instant("20161231T235960Z"), Some(at("2016-12-31T23:59:59Z")));
        assert_eq!(utc(at("2026-11-23T09:00:00Z")), "20261123T090000Z");
        assert_eq!(utc(instant("00010101T000000Z").unwrap()), "00010101T000000Z");
        for bad in [
            "",
            "Z",
            "T",
            "20261123",
            "20261123T090000",
            "20261123T0900Z",
            "2026-11-23T09:00:00Z",
            "20261323T090000Z",
            "20260230T090000Z",
            "20261123T250000Z",
            "+0261123T090000Z",
            "2026112 T090000Z",
            "20261123t090000z",
            "2026é23T090000Z",
        ] {
            assert_eq!(instant(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_duration_is_read_whole_or_not_at_all() {
        for (text, seconds) in [
            ("PT15M", 900),
            ("-PT15M", -900),
            ("+P1W", 604_800),
            ("P1DT1H1M1S", 90_061),
            ("PT0S", 0),
            ("-P0D", 0),
        ] {
            assert_eq!(duration(text), Some(SignedDuration::from_secs(seconds)), "{text}");
        }
        for bad in
            ["", "P", "PT", "15M", "P15M", "PT15", "PT15D", "PTT1H", "P-1D", "PT99999999999H"]
        {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_start_is_inclusive_and_the_end_is_not() {
        let range =
            TimeRange::new(Some(at("2026-11-23T09:00:00Z")), Some(at("2026-11-23T10:00:00Z")));
        let range = range.unwrap();
        let (before, start) = (at("2026-11-23T08:00:00Z"), at("2026-11-23T09:00:00Z"));
        let (middle, end) = (at("2026-11-23T09:30:00Z"), at("2026-11-23T10:00:00Z"));
        assert!(!range.overlaps(before, start));
        assert!(range.overlaps(before, middle));
        assert!(range.overlaps(before, at("2026-11-24T10:00:00Z")));
        assert!(range.overlaps(middle, end));
        assert!(!range.overlaps(end, at("2026-11-23T11:00:00Z")));
        assert!(range.has(start));
        assert!(!range.has(end));
        let open = TimeRange::new(None, Some(start)).unwrap();
        assert!(open.has(Timestamp::MIN) && !open.has(start));
        let open = TimeRange::new(Some(start), None).unwrap();
        assert!(open.has(Timestamp::MAX) && open.has(start) && !open.has(before));
        assert_eq!(TimeRange::new(None, None), None);
        assert_eq!(TimeRange::new(Some(start), Some(start)), None);
    }
}
