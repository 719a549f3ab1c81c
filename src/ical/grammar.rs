//! The values that say *when*, held to their grammar. Pure.
//!
//! RFC 5545 §3.3.4 (DATE), §3.3.5 (DATE-TIME), §3.3.6 (DURATION), §3.3.9 (PERIOD), §3.3.10 (RECUR).
//! The library that reads an object is lenient: it cuts `INTERVAL=65537` to 1, skips a part of a rule
//! that it does not know, and takes `20261123T9` for a time. A meeting at another time is worse than a
//! mail, so what it would bend is refused here, before it sees it.

use super::Unreadable;
use super::caps::shown;
use super::unfold::Line;

/// Most values in EXDATE or RDATE, each line for itself.
const DATES_MAX: usize = 1_000;
/// Most values in a BY part: the days of a leap year.
const LIST_MAX: usize = 366;

/// Checks a content line. Those whose values say nothing about when pass as they are.
pub fn check(line: &Line<'_>) -> Result<(), Unreadable> {
    let value = line.value.trim();
    let is_date = line.has_param("VALUE", "DATE");
    let fit = match line.name.to_ascii_uppercase().as_str() {
        "DTSTART" | "DTEND" | "RECURRENCE-ID" => moment(value, is_date),
        "EXDATE" | "RDATE" => {
            if value.split(',').count() > DATES_MAX {
                return Err(Unreadable::new(format!("{} lists more than {DATES_MAX}", line.name)));
            }
            value.split(',').all(|value| {
                let value = value.trim();
                value.is_empty() || moment(value, is_date) || period(value)
            })
        }
        "DURATION" => duration(value),
        "RRULE" => return recur(value),
        "EXRULE" => return Err(Unreadable::new("EXRULE is no longer part of iCalendar")),
        "SEQUENCE" => {
            value.is_empty() || value.parse::<u32>().is_ok_and(|n| i32::try_from(n).is_ok())
        }
        "ATTACH" if line.has_param("ENCODING", "BASE64") => base64(value),
        _ => true,
    };
    match fit {
        true => Ok(()),
        false => Err(Unreadable::new(format!("{}:{} is malformed", line.name, shown(value)))),
    }
}

fn moment(value: &str, is_date: bool) -> bool {
    let Some((date, time)) = value.split_at_checked(8) else { return false };
    if !digits(date, 8) {
        return false;
    }
    match time.strip_prefix(['T', 't']) {
        None => time.is_empty(),
        Some(time) => {
            let Some((clock, zone)) = time.split_at_checked(6) else { return false };
            // Quirk(hand-made): VALUE=DATE before a time; harmless when that is midnight.
            let fit = digits(clock, 6) && (!is_date || clock == "000000");
            // Quirk(php): DATE_ATOM without its dashes and colons ends with an offset.
            fit && (zone.is_empty()
                || zone.eq_ignore_ascii_case("Z")
                || zone.strip_prefix(['+', '-']).is_some_and(|offset| digits(offset, 4)))
        }
    }
}

fn period(value: &str) -> bool {
    let Some((start, end)) = value.split_once('/') else { return false };
    start.len() > 8 && moment(start, false) && (moment(end, false) || duration(end))
}

fn digits(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|octet| octet.is_ascii_digit())
}

/// Whole, and each number small enough that no sum of them overflows.
fn duration(value: &str) -> bool {
    let value = value.to_ascii_uppercase();
    let Some(value) = value.trim_start_matches(['+', '-']).strip_prefix('P') else { return false };
    let (days, time) = value.split_once('T').unwrap_or((value, ""));
    let numbers = numbers(days, "WD").and_then(|n| Some(n + self::numbers(time, "HMS")?));
    numbers.is_some_and(|n| n > 0)
}

/// How many numbers, each with the next of these units.
fn numbers(mut text: &str, units: &str) -> Option<usize> {
    let mut units = units.chars();
    let mut found = 0;
    while !text.is_empty() {
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, rest) = text.split_at_checked(end)?;
        number.parse::<u32>().ok().filter(|n| *n < 100_000_000)?;
        let mut rest = rest.chars();
        let unit = rest.next()?;
        units.find(|u| *u == unit)?;
        text = rest.as_str();
        found += 1;
    }
    Some(found)
}

/// RFC 5545 §3.3.10: every part known, at most once, in range.
fn recur(value: &str) -> Result<(), Unreadable> {
    let mut seen: Vec<String> = Vec::new();
    // Quirk(exchange-2007): a semicolon after the last part.
    for part in value.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let (name, value) = (name.trim().to_ascii_uppercase(), value.trim());
        let fit = match name.as_str() {
            "FREQ" => {
                let known =
                    ["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY"];
                known.iter().any(|known| known.eq_ignore_ascii_case(value))
            }
            "UNTIL" => moment(value, false),
            "COUNT" => value.parse::<u32>().is_ok_and(|n| n > 0),
            "INTERVAL" => value.parse::<u16>().is_ok_and(|n| n > 0),
            "BYSECOND" => list(value, |v| in_range(v, 0, 60)),
            "BYMINUTE" => list(value, |v| in_range(v, 0, 59)),
            "BYHOUR" => list(value, |v| in_range(v, 0, 23)),
            "BYDAY" => list(value, weekday),
            "BYMONTHDAY" => list(value, |v| signed(v, 31)),
            "BYYEARDAY" | "BYSETPOS" => list(value, |v| signed(v, 366)),
            "BYWEEKNO" => list(value, |v| signed(v, 53)),
            "BYMONTH" => list(value, |v| in_range(v.trim_end_matches(['L', 'l']), 1, 13)),
            "WKST" => weekday(value) && value.len() == 2,
            // RFC 7529
            "RSCALE" | "SKIP" => !value.is_empty(),
            _ => false,
        };
        if !fit || seen.contains(&name) {
            return Err(Unreadable::new(format!("RRULE: {} is malformed", shown(part))));
        }
        seen.push(name);
    }
    let has = |name: &str| seen.iter().any(|seen| seen == name);
    if !has("FREQ") {
        return Err(Unreadable::new("RRULE has no FREQ"));
    }
    if has("UNTIL") && has("COUNT") {
        return Err(Unreadable::new("RRULE has both UNTIL and COUNT"));
    }
    Ok(())
}

fn list(value: &str, fit: impl Fn(&str) -> bool) -> bool {
    value.split(',').count() <= LIST_MAX && value.split(',').all(|value| fit(value.trim()))
}

fn in_range(value: &str, least: u32, most: u32) -> bool {
    let plain = value.bytes().all(|octet| octet.is_ascii_digit());
    plain && value.parse::<u32>().is_ok_and(|n| (least..=most).contains(&n))
}

fn signed(value: &str, most: u32) -> bool {
    in_range(value.strip_prefix(['+', '-']).unwrap_or(value), 1, most)
}

fn weekday(value: &str) -> bool {
    let Some((ordinal, day)) = value.len().checked_sub(2).and_then(|at| value.split_at_checked(at))
    else {
        return false;
    };
    let days = ["SU", "MO", "TU", "WE", "TH", "FR", "SA"];
    days.iter().any(|known| known.eq_ignore_ascii_case(day))
        && (ordinal.is_empty() || signed(ordinal, 53))
}

/// What the library cannot decode it passes on undecoded, which would be another attachment.
fn base64(value: &str) -> bool {
    let octets = value.trim_end_matches('=').bytes();
    let alphabet = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'+' || octet == b'/';
    octets.filter(|octet| !octet.is_ascii_whitespace()).all(alphabet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn passes(lines: &[&str], expected: bool) {
        for line in lines {
            let checked = check(&Line::parse(line).unwrap());
            assert_eq!(checked.is_ok(), expected, "{line}: {checked:?}");
        }
    }

    #[test]
    fn what_says_when_must_say_it_exactly() {
        passes(
            &[
                "DTSTART:20261123T090000Z",
                "DTSTART;VALUE=DATE:20261123",
                "DTSTART:20261123T090000+0100",
                "EXDATE:20261123T090000,20261124T090000",
                "RDATE;VALUE=PERIOD:20261123T090000Z/PT1H",
                "DURATION:P1DT2H",
                "DURATION:-PT15M",
                "DURATION:P2W",
                "SUMMARY:20261123T9",
            ],
            true,
        );
        passes(
            &[
                "DTSTART:20261123T9",
                "DTSTART:2026-11-23T09:00:00",
                "DTSTART;VALUE=DATE:20261123T090000",
                "DTSTART:",
                "DTEND:20261123T090000X",
                "EXDATE:20261123T090000,tomorrow",
                "DURATION:P",
                "DURATION:PT",
                "DURATION:1H",
                "DURATION:PT1M2H",
                "DURATION:PT99999999999H",
                "SEQUENCE:-1",
                "SEQUENCE:one",
            ],
            false,
        );
    }

    #[test]
    fn a_rule_that_a_lenient_reader_would_bend_is_refused() {
        passes(
            &[
                "RRULE:FREQ=WEEKLY;BYDAY=MO,WE;WKST=SU;",
                "RRULE:freq=monthly;byday=-1fr;count=3",
                "RRULE:FREQ=YEARLY;UNTIL=20301231T235959Z;BYMONTH=2;BYMONTHDAY=-1",
            ],
            true,
        );
        passes(
            &[
                "RRULE:FREQ=WEEKLY;INTERVAL=65537",
                "RRULE:FREQ=WEEKLY;INTERVAL=0",
                "RRULE:FREQ=DAILY;COUNT=0",
                "RRULE:FREQ=DAILY;COUNT=99999999999",
                "RRULE:FREQ=DAILY;COUNT=3;UNTIL=20301231",
                "RRULE:FREQ=MONTHLY;BYMONTHDAY=257",
                "RRULE:FREQ=FORTNIGHTLY",
                "RRULE:BYDAY=MO",
                "RRULE:FREQ=DAILY;FREQ=WEEKLY",
                "RRULE:FREQ=WEEKLY;BYDAY=XX",
                "RRULE:FREQ=WEEKLY;X-FOO=1",
                "RRULE:W1 MO #0",
                "RRULE:",
            ],
            false,
        );
    }
}
