//! What an object calls a zone, and which zone that is. Pure, but for jiff's copy of the IANA
//! database.
//!
//! RFC 5545 §3.2.19 leaves the name of a zone to the one who writes it. Names that are known are taken
//! at their word: those of IANA, of Windows, and those two in the forms that calendar programs give
//! them. All others need a VTIMEZONE. A zone must never be guessed.

use std::str::FromStr;

use jiff::tz::TimeZone;
use strum::IntoEnumIterator;
use windows_timezones::WindowsTimezone;

use super::caps::{ZONES_MAX, shown};
use super::vtimezone::{Definition, Span};
use super::{Unreadable, Zone};

/// Tried first for a VTIMEZONE with an unknown name: where most meetings are.
const COMMON: [&str; 28] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Europe/London",
    "America/Chicago",
    "America/Los_Angeles",
    "America/Denver",
    "America/Phoenix",
    "Asia/Kolkata",
    "Asia/Tokyo",
    "Asia/Shanghai",
    "Asia/Singapore",
    "Asia/Dubai",
    "Australia/Sydney",
    "Australia/Brisbane",
    "Australia/Adelaide",
    "Australia/Perth",
    "Pacific/Auckland",
    "America/Sao_Paulo",
    "America/Mexico_City",
    "America/Toronto",
    "America/Halifax",
    "Europe/Athens",
    "Europe/Istanbul",
    "Europe/Moscow",
    "Africa/Johannesburg",
    "Asia/Jerusalem",
    "Asia/Karachi",
];

/// The zones that one object names, each looked up once.
#[derive(Default)]
pub struct Zones(Vec<(String, Result<TimeZone, Unreadable>)>);

impl Zones {
    /// Looks up every name that the object uses. An error is kept for the one who uses the zone.
    pub fn look_up<'n>(
        names: impl Iterator<Item = &'n str>,
        definitions: &[(String, Result<Definition, Unreadable>)],
        span: Span,
    ) -> Zones {
        let mut zones = Zones::default();
        for name in names {
            if zones.0.len() < ZONES_MAX && !zones.0.iter().any(|(known, _)| known == name) {
                zones.0.push((name.to_owned(), look_up(name, definitions, span)));
            }
        }
        zones
    }

    pub fn get(&self, tzid: &str) -> Result<Zone, Unreadable> {
        match self.0.iter().find(|(name, _)| name == tzid) {
            Some((_, Ok(rules))) => Ok(Zone { tzid: tzid.to_owned(), rules: rules.clone() }),
            Some((_, Err(why))) => Err(why.clone()),
            None => Err(Unreadable::new(format!("it names more than {ZONES_MAX} zones"))),
        }
    }
}

fn look_up(
    tzid: &str,
    definitions: &[(String, Result<Definition, Unreadable>)],
    span: Span,
) -> Result<TimeZone, Unreadable> {
    let defined = definitions.iter().find(|(name, _)| name == tzid.trim());
    // `EST` is a zone of IANA's that never changes its clock, and to most who write it New York.
    let is_vague = tzid.len() <= 4 && defined.is_some();
    if let Some(zone) = by_name(tzid).filter(|zone| !is_vague || *zone == TimeZone::UTC) {
        return Ok(zone);
    }
    match defined {
        Some((_, Ok(definition))) => definition.matched(span).ok_or_else(|| {
            Unreadable::new(format!(
                "the zone “{}” is defined by the object alone, and no zone of the IANA database has \
                 its offsets over the time of the event",
                shown(tzid)
            ))
        }),
        Some((_, Err(why))) => Err(why.clone()),
        None => Err(Unreadable::new(format!(
            "the zone “{}” is neither known nor defined by the object",
            shown(tzid)
        ))),
    }
}

/// A zone by what a calendar program may call it.
pub fn by_name(tzid: &str) -> Option<TimeZone> {
    let name = tzid.trim().trim_matches('"').trim();
    if name.is_empty() || name.len() > 200 {
        return None;
    }
    // Most objects are from Exchange and Outlook; the name of a zone of Windows is none of IANA.
    if let Ok(windows) = WindowsTimezone::from_str(name) {
        return iana(windows.tzdb_id());
    }
    by_path(name).or_else(|| by_windows_name(name)).or_else(|| by_offset(name))
}

fn iana(name: &str) -> Option<TimeZone> {
    // `localtime` and `posixrules` are this machine's; `right/` counts leap seconds.
    const NOT_IANA: [&str; 4] = ["localtime", "posixrules", "Factory", "right/"];
    if NOT_IANA.iter().any(|not| name.get(..not.len()).is_some_and(|n| n.eq_ignore_ascii_case(not)))
    {
        return None;
    }
    // Quirk(exchange): a URI for UTC, as there is tzone://Microsoft/Custom for what the object defines.
    if ["UTC", "GMT", "Z", "Etc/UTC", "tzone://Microsoft/Utc"]
        .iter()
        .any(|utc| utc.eq_ignore_ascii_case(name))
    {
        return Some(TimeZone::UTC);
    }
    TimeZone::get(name).ok()
}

/// `Europe/Berlin`, and with a path of the vendor's before it.
fn by_path(name: &str) -> Option<TimeZone> {
    if let Some(zone) = iana(name) {
        return Some(zone);
    }
    // Quirk(mozilla, evolution, citadel, zimbra): /mozilla.org/20071231_1/Europe/Berlin. An area
    // always stands before the place: a place alone may be anywhere.
    let starts = name.match_indices('/').map(|(at, _)| at + 1).take(8);
    starts.filter_map(|at| name.get(at..)).filter(|rest| rest.contains('/')).find_map(iana)
}

/// `w. europe standard time`, and `(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna`.
fn by_windows_name(name: &str) -> Option<TimeZone> {
    // Quirk(exchange): the name that Windows shows, once with GMT, once with a full stop for the
    // colon; the offset in it is checked by being compared whole.
    let shown_name = |text: &str| text.replacen("(GMT", "(UTC", 1).replace('.', ":").to_lowercase();
    let wanted = shown_name(name);
    WindowsTimezone::iter()
        .find(|zone| {
            zone.name().eq_ignore_ascii_case(name) || shown_name(zone.description()) == wanted
        })
        .and_then(|zone| iana(zone.tzdb_id()))
}

/// `GMT+0100`, `UTC-5`: whole hours, which have a name in the database.
fn by_offset(name: &str) -> Option<TimeZone> {
    let rest = name.strip_prefix("GMT").or_else(|| name.strip_prefix("UTC"))?;
    let (east, digits) = match rest.split_at_checked(1)? {
        ("+", digits) => (true, digits),
        ("-", digits) => (false, digits),
        _ => return None,
    };
    let hours = match digits.len() {
        4.. => digits.strip_suffix("00").map(|hours| hours.trim_end_matches(':'))?,
        _ => digits,
    };
    let hours: u8 = hours.parse().ok().filter(|_| hours.len() <= 2)?;
    // POSIX counts the other way round: Etc/GMT-1 is an hour ahead.
    match hours {
        0 => Some(TimeZone::UTC),
        _ => iana(&format!("Etc/GMT{}{hours}", if east { '-' } else { '+' })),
    }
}

/// The zones that a VTIMEZONE is compared with: what it hints at, the common ones, all.
pub fn candidates<'n>(hint: Option<&'n str>, tzid: &'n str) -> impl Iterator<Item = TimeZone> + 'n {
    let named = hint.and_then(by_name);
    // A place in the name (`Customized Berlin`) is worth a try, no more: it must agree as well.
    let words: Vec<String> = tzid
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.len() > 3)
        .map(str::to_lowercase)
        .take(16)
        .collect();
    let places =
        jiff::tz::db().available().map(|name| name.as_str().to_owned()).filter(move |name| {
            let place = name.rsplit('/').next().unwrap_or_default().to_lowercase();
            name.contains('/') && words.contains(&place)
        });
    let common = COMMON.into_iter().map(str::to_owned);
    let all = jiff::tz::db().available().map(|name| name.as_str().to_owned());
    named
        .into_iter()
        .chain(by_name(tzid))
        .chain(places.chain(common).chain(all).filter_map(|name| iana(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(tzid: &str, expected: Option<&str>) {
        let found = by_name(tzid);
        assert_eq!(found.as_ref().and_then(TimeZone::iana_name), expected, "{tzid}");
    }

    #[test]
    fn a_zone_is_known_by_any_name_that_programs_give_it() {
        is("Europe/Berlin", Some("Europe/Berlin"));
        is("europe/berlin", Some("Europe/Berlin"));
        is("/mozilla.org/20071231_1/Europe/Berlin", Some("Europe/Berlin"));
        is(
            "/softwarestudio.org/Olson_20011030_5/America/Indiana/Knox",
            Some("America/Indiana/Knox"),
        );
        is("W. Europe Standard Time", Some("Europe/Berlin"));
        is("w. europe standard time", Some("Europe/Berlin"));
        is("\"Pacific Standard Time\"", Some("America/Los_Angeles"));
        is("(UTC+01:00) Amsterdam, Berlin, Bern, Rome, Stockholm, Vienna", Some("Europe/Berlin"));
        is("(GMT-05.00) Eastern Time (US & Canada)", Some("America/New_York"));
        is("right/Europe/Berlin", Some("Europe/Berlin"));
        is("GMT+0100", Some("Etc/GMT-1"));
        is("UTC-5", Some("Etc/GMT+5"));
        is("UTC", Some("UTC"));
        is("tzone://Microsoft/Utc", Some("UTC"));
    }

    #[test]
    fn a_zone_is_not_guessed() {
        for unknown in
            ["", "Berlin", "Customized Time Zone", "localtime", "../../etc/passwd", "GMT+99"]
        {
            is(unknown, None);
        }
    }
}
