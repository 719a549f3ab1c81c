//! Calendars as programs write them beside what is read in them: fixtures named for what made them,
//! hostile input, and properties.
//!
//! Each `tests/data/ical/NAME.ics` stands beside `NAME.expected`, a summary for people who know
//! calendars; so do the mails of `tests/data/invite-mail/`. `BLESS=1` writes the summaries anew: read
//! the difference before it is committed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use postbridge::ical::{
    Attachment, Attendee, Class, Component, Moment, Object, Occurrence, PartStat, Role, Rule,
    RuleEnd, Status, Unfolded, edit, read,
};
use postbridge::mime::calendar::{Found, find};
use proptest::prelude::*;

// --- summaries -----------------------------------------------------------------------------------

fn moment(moment: &Moment) -> String {
    match moment {
        Moment::Date(date) => format!("{date} (day)"),
        Moment::Floating(local) => format!("{local} (floating)"),
        Moment::Zoned { local, zone } => {
            let iana = zone.rules.iana_name().unwrap_or("?");
            match zone.tzid == iana {
                true => format!("{local} {iana}"),
                false => format!("{local} {iana} (“{}”)", zone.tzid),
            }
        }
    }
}

fn attendee(attendee: &Attendee) -> String {
    let mut text = format!("attendee: {}", attendee.address);
    if let Some(name) = &attendee.name {
        write!(text, " “{name}”").unwrap();
    }
    if attendee.role != Role::Required {
        write!(text, ", {:?}", attendee.role).unwrap();
    }
    if attendee.partstat != PartStat::NeedsAction {
        write!(text, ", {:?}", attendee.partstat).unwrap();
    }
    match attendee.rsvp {
        None => {}
        Some(true) => text.push_str(", answer wanted"),
        Some(false) => text.push_str(", no answer wanted"),
    }
    text
}

fn attachment(attachment: &Attachment) -> String {
    match attachment {
        Attachment::Url(url) => format!("attachment at {url}"),
        Attachment::Inline { name, content_type, octets } => {
            format!(
                "attachment {name:?} {content_type:?} {} octets: {:?}",
                octets.len(),
                String::from_utf8_lossy(octets.get(..octets.len().min(40)).unwrap())
            )
        }
    }
}

fn rule(rule: &Rule) -> String {
    let mut text = format!("{:?}, every {}", rule.frequency, rule.interval);
    let mut part = |name: &str, of: String| write!(text, ", {name} {of}").unwrap();
    match rule.end {
        RuleEnd::Never => {}
        RuleEnd::After(count) => part("times", count.to_string()),
        RuleEnd::UntilInstant(at) => part("until", at.to_string()),
        RuleEnd::UntilLocal(local) => part("until", local.to_string()),
        RuleEnd::UntilDate(date) => part("until", date.to_string()),
    }
    if !rule.by_month.is_empty() {
        part("months", format!("{:?}", rule.by_month));
    }
    if !rule.by_month_day.is_empty() {
        part("days", format!("{:?}", rule.by_month_day));
    }
    if !rule.by_day.is_empty() {
        let days = rule.by_day.iter().map(|(nth, day)| match nth {
            0 => format!("{day:?}"),
            nth => format!("{nth}. {day:?}"),
        });
        part("on", days.collect::<Vec<_>>().join(" "));
    }
    if !rule.by_set_pos.is_empty() {
        part("of these the", format!("{:?}", rule.by_set_pos));
    }
    if rule.week_start != jiff::civil::Weekday::Monday {
        part("weeks from", format!("{:?}", rule.week_start));
    }
    if rule.others {
        part("and", "parts without counterpart".to_owned());
    }
    text
}

fn occurrence(o: &Occurrence) -> Vec<String> {
    let mut lines = vec![format!("{} to {}", moment(&o.start), moment(&o.end))];
    let mut line = |text: String| lines.push(text);
    if o.sequence != 0 {
        line(format!("sequence {}", o.sequence));
    }
    line(format!("stamped {}", o.dtstamp.map_or("never".to_owned(), |at| at.to_string())));
    line(format!("summary: {:?}", o.summary));
    for (name, text) in [
        ("description", &o.description),
        ("html", &o.html),
        ("location", &o.location),
        ("url", &o.url),
        ("conference", &o.conference),
    ] {
        if let Some(text) = text {
            line(format!("{name}: {text:?}"));
        }
    }
    line(format!("organizer: {}", o.organizer.as_ref().map_or("none", |a| a.as_str())));
    o.attendees.iter().for_each(|a| line(attendee(a)));
    if o.status != Status::Confirmed {
        line(format!("status: {:?}", o.status));
    }
    if let Some(show_as) = o.show_as {
        line(format!("show as {show_as:?}"));
    }
    if o.class != Class::Public {
        line(format!("class: {:?}", o.class));
    }
    if let Some(priority) = o.priority {
        line(format!("priority {priority}"));
    }
    if !o.categories.is_empty() {
        line(format!("categories: {:?}", o.categories));
    }
    if let Some(minutes) = o.reminder_minutes {
        line(format!("reminder {minutes} minutes before"));
    }
    if !o.counter_allowed {
        line("no other time may be proposed".to_owned());
    }
    if o.online_meeting {
        line("an online meeting is asked for".to_owned());
    }
    if let Some(recurrence) = &o.recurrence {
        if let Some(rule) = &recurrence.rule {
            line(self::rule(rule));
        }
        recurrence.rdates.iter().for_each(|date| line(format!("also {}", moment(date))));
        recurrence.exdates.iter().for_each(|date| line(format!("but not {}", moment(date))));
    }
    o.attachments.iter().for_each(|a| line(attachment(a)));
    lines
}

fn event(event: &postbridge::ical::Event) -> String {
    let mut text = format!("event {}\n", event.uid);
    let mut block = |head: &str, o: &Occurrence| {
        writeln!(text, "  {head}").unwrap();
        occurrence(o).iter().for_each(|line| writeln!(text, "    {line}").unwrap());
    };
    if let Some(master) = &event.master {
        block("itself", master);
    }
    for o in &event.overrides {
        let future = if o.and_future { " and all that follow" } else { "" };
        block(&format!("in place of {}{future}", moment(&o.recurrence_id)), &o.occurrence);
    }
    text
}

fn object(octets: &[u8]) -> String {
    match read(octets) {
        Err(unreadable) => format!("unreadable: {unreadable}\n"),
        Ok(Object { method, events, vevents, notes }) => {
            let unfolded = Unfolded::of(octets);
            assert_eq!(unfolded.calendar().unwrap().named("VEVENT").count(), vevents.len());
            let mut text = method.map_or("no method".to_owned(), |m| m.name().to_owned()) + "\n";
            events.iter().for_each(|e| text.push_str(&event(e)));
            notes.iter().for_each(|note| writeln!(text, "note: {note}").unwrap());
            text
        }
    }
}

fn mail(octets: &[u8]) -> String {
    match find(octets) {
        Found::Nothing => "nothing\n".to_owned(),
        Found::Unusable { why } => format!("unusable: {why}\n"),
        Found::Invite(invite) => {
            let mut text = format!("{}\n", invite.message.method.name());
            text.push_str(&event(&invite.message.event));
            for (name, body) in [("text", &invite.text), ("html", &invite.html)] {
                if let Some(body) = body {
                    writeln!(text, "mail's {name}: {body:?}").unwrap();
                }
            }
            for a in &invite.attachments {
                writeln!(text, "mail's {}", attachment(a)).unwrap();
            }
            invite.notes.iter().for_each(|note| writeln!(text, "note: {note}").unwrap());
            text
        }
    }
}

// --- fixtures ------------------------------------------------------------------------------------

fn fixtures(folder: &str, extension: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(folder);
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    found.sort();
    found
}

/// Holds every fixture to its summary, and says all that differ at once.
fn hold(folder: &str, extension: &str, least: usize, summary: fn(&[u8]) -> String) {
    let fixtures = fixtures(folder, extension);
    assert!(fixtures.len() >= least, "only {} fixtures", fixtures.len());
    let mut broken = String::new();
    for (path, octets) in fixtures {
        let got = summary(&octets);
        let expected = path.with_extension("expected");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected, &got).unwrap();
        }
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        if got != wanted {
            let name = path.file_name().unwrap().to_str().unwrap();
            writeln!(broken, "== {name}\n-- expected\n{wanted}-- got\n{got}").unwrap();
        }
    }
    assert!(broken.is_empty(), "\n{broken}");
}

#[test]
fn every_calendar_is_read_as_its_maker_meant_it() {
    hold("ical", "ics", 70, object);
}

/// Every content line of an object, with its octets, but for those of these names.
fn lines_but(octets: &[u8], names: &[&str]) -> Vec<Vec<u8>> {
    fn walk(octets: &[u8], component: &Component<'_>, names: &[&str], lines: &mut Vec<Vec<u8>>) {
        lines.push(octets[component.begin.clone()].to_vec());
        for property in &component.properties {
            if !names.iter().any(|name| property.line.is(name)) {
                lines.push(octets[property.octets.clone()].to_vec());
            }
        }
        component.components.iter().for_each(|part| walk(octets, part, names, lines));
        lines.push(octets[component.end.clone()].to_vec());
    }
    let unfolded = Unfolded::of(octets);
    let calendar = unfolded.calendar().unwrap();
    let mut lines = vec![octets[..calendar.octets.start].to_vec()];
    walk(octets, &calendar, names, &mut lines);
    lines.push(octets[calendar.octets.end..].to_vec());
    lines
}

#[test]
fn an_object_of_any_maker_is_edited_where_it_is_changed_and_nowhere_else() {
    let (mut answered, mut moved) = (0, 0);
    for (path, octets) in fixtures("ical", "ics") {
        let name = path.file_name().unwrap().to_str().unwrap();
        let Ok(Object { events, .. }) = read(&octets) else { continue };
        let [event] = events.as_slice() else { continue };
        // What is in windows-1252 comes out in UTF-8, and so nowhere the same.
        if std::str::from_utf8(&octets).is_err() {
            continue;
        }
        let occurrence = event.master.as_ref().unwrap_or_else(|| &event.overrides[0].occurrence);
        for attendee in &occurrence.attendees {
            let set = edit::set_answer(
                &octets,
                edit::Which::All,
                &attendee.address,
                Some(PartStat::Declined),
                Some("2.0"),
            );
            let set = set.unwrap_or_else(|why| panic!("{name}: {why}"));
            let is = |lines: Vec<Vec<u8>>| lines.concat().len();
            assert_eq!(lines_but(&set, &["ATTENDEE"]), lines_but(&octets, &["ATTENDEE"]), "{name}");
            assert!(is(lines_but(&set, &[])) > is(lines_but(&octets, &["ATTENDEE"])));
            let again = &read(&set).unwrap().events[0];
            let again = again.master.as_ref().unwrap_or_else(|| &again.overrides[0].occurrence);
            let set = again.attendees.iter().find(|a| a.address == attendee.address).unwrap();
            assert_eq!(set.partstat, PartStat::Declined, "{name}");
            answered += 1;
        }
        let (start, end) = (&occurrence.start, &occurrence.end);
        let named = event.overrides.first().filter(|_| event.master.is_none());
        let named = named.map(|change| &change.recurrence_id);
        // The same again changes nothing that is read; an object without DTSTART has none to set.
        match edit::set_times(&octets, named, start, end) {
            Ok(set) => {
                let times = ["DTSTART", "DTEND", "DURATION", "X-MICROSOFT-CDO-ALLDAYEVENT"];
                assert_eq!(lines_but(&set, &times), lines_but(&octets, &times), "{name}");
                moved += 1;
            }
            Err(why) => {
                let unfolded = Unfolded::of(&octets);
                let calendar = unfolded.calendar().unwrap();
                let without = calendar.named("VEVENT").any(|v| v.property("DTSTART").is_none());
                assert!(without, "{name}: {why}");
            }
        }
    }
    assert!(answered > 70 && moved > 50, "{answered} answers, {moved} times");
}

#[test]
fn an_invite_is_found_wherever_tools_put_it() {
    hold("invite-mail", "eml", 20, mail);
}

#[test]
fn what_is_refused_is_refused_and_nothing_else_is() {
    for (path, octets) in fixtures("ical", "ics") {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let refused = name.starts_with("refused-") || name == "php-script-iso-dates";
        assert_eq!(read(&octets).is_err(), refused, "{name}: {:?}", read(&octets).err());
    }
}

/// What was cut off in transit must not be taken for a shorter meeting.
#[test]
fn a_calendar_cut_short_is_unreadable_or_the_same() {
    for (path, octets) in fixtures("ical", "ics") {
        let whole = read(&octets);
        for end in 0..octets.len() {
            let Ok(part) = read(&octets[..end]) else { continue };
            // The first of two calendars is whole.
            if path.file_stem().unwrap() == "refused-two-calendars" {
                continue;
            }
            let whole = whole.as_ref().unwrap_or_else(|_| panic!("{path:?} up to {end}"));
            assert_eq!(part.method, whole.method, "{path:?} up to {end}");
            let said = |o: &Object| o.events.iter().map(event).collect::<String>();
            assert_eq!(said(&part), said(whole), "{path:?} up to {end}");
        }
    }
}

#[test]
fn a_mail_cut_short_never_panics() {
    for (_, octets) in fixtures("invite-mail", "eml") {
        for end in 0..octets.len() {
            find(&octets[..end]);
        }
    }
}

#[test]
fn the_octets_are_kept_as_they_came() {
    for (path, octets) in fixtures("ical", "ics") {
        for event in read(&octets).map(|object| object.events).unwrap_or_default() {
            assert_eq!(&*event.octets, octets, "{path:?}");
        }
    }
}

/// A reason goes into a log: one short line, whatever the object holds.
#[test]
fn reasons_and_notes_are_short_lines() {
    let object = |line: &str| calendar(&format!("UID:x\r\nDTSTART:20261124T090000Z\r\n{line}\r\n"));
    for hostile in ["\x1b[2J\u{202e}\x07\0", "\u{85}next line", &"é".repeat(5_000)] {
        for name in ["SEQUENCE", "RRULE", "EXDATE", "DURATION", "ORGANIZER", "ATTENDEE", "DTEND"] {
            let (reasons, notes) = match read(&object(&format!("{name}:{hostile}"))) {
                Ok(object) => (vec![], object.notes),
                Err(unreadable) => (vec![unreadable.why], vec![]),
            };
            for line in reasons.iter().chain(&notes) {
                assert!(line.chars().count() <= 200, "{line}");
                assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
    }
}

// --- hostile -------------------------------------------------------------------------------------

fn calendar(event: &str) -> Vec<u8> {
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\n{event}END:VEVENT\r\n\
         END:VCALENDAR\r\n"
    )
    .into_bytes()
}

/// Runs it in debug on a busy machine: generous, yet far from what a bomb takes.
#[track_caller]
fn refused_at_once(octets: &[u8], why: &str) {
    let started = Instant::now();
    let answer = read(octets);
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
    let answer = answer.unwrap_err().why;
    assert!(answer.contains(why), "{answer}");
}

const START: &str = "UID:x\r\nDTSTART:20261124T090000Z\r\n";

#[test]
fn ten_thousand_attendees_are_refused_at_once() {
    let attendees: String =
        (0..10_000).map(|n| format!("ATTENDEE:mailto:a{n}@fabrikam.example\r\n")).collect();
    refused_at_once(&calendar(&format!("{START}{attendees}")), "more than 500 attendees");
}

#[test]
fn five_hundred_attendees_are_read() {
    let attendees: String =
        (0..500).map(|n| format!("ATTENDEE:mailto:a{n}@fabrikam.example\r\n")).collect();
    let object = read(&calendar(&format!("{START}{attendees}"))).unwrap();
    assert_eq!(object.events[0].master.as_ref().unwrap().attendees.len(), 500);
}

#[test]
fn an_rsvp_that_is_not_said_is_not_false_and_the_strongest_of_two_counts() {
    for (given, expected) in [
        ("", None),
        (";RSVP=TRUE", Some(true)),
        (";RSVP=FALSE", Some(false)),
        // Quirk(hand-made)
        (";RSVP=yes", Some(true)),
        (";RSVP=0", Some(false)),
        (";RSVP=perhaps", None),
    ] {
        let once = format!("ATTENDEE{given}:mailto:alex.wilber@fabrikam.example\r\n");
        for (more, expected) in [
            ("", expected),
            ("ATTENDEE:mailto:alex.wilber@fabrikam.example\r\n", expected),
            ("ATTENDEE;RSVP=TRUE:mailto:Alex.Wilber@fabrikam.example\r\n", Some(true)),
        ] {
            let object = read(&calendar(&format!("{START}{once}{more}"))).unwrap();
            let attendees = &object.events[0].master.as_ref().unwrap().attendees;
            assert_eq!(attendees.len(), 1);
            assert_eq!(attendees[0].rsvp, expected, "{once}{more}");
        }
    }
}

#[test]
fn a_line_of_four_megabytes_is_refused_at_once() {
    let line = format!("{START}SUMMARY:{}\r\n", "a".repeat(4_000_000));
    refused_at_once(&calendar(&line), "larger than");
}

#[test]
fn a_line_of_half_a_megabyte_is_refused_folded_or_not() {
    let line = format!("{START}SUMMARY:{}\r\n", "a".repeat(500_000));
    refused_at_once(&calendar(&line), "SUMMARY is longer than");
    let folded = format!("{START}SUMMARY:{}\r\n", "aaaaaaaa\r\n ".repeat(50_000));
    refused_at_once(&calendar(&folded), "SUMMARY is longer than");
}

#[test]
fn twenty_thousand_nested_components_are_refused_at_once() {
    let nested = format!("{START}{}", "BEGIN:VALARM\r\n".repeat(20_000));
    refused_at_once(&calendar(&nested), "deeper than 16");
}

#[test]
fn twenty_thousand_components_in_a_row_are_refused_at_once() {
    let row = format!("{START}{}", "BEGIN:VALARM\r\nEND:VALARM\r\n".repeat(20_000));
    refused_at_once(&calendar(&row), "more than 500 components");
}

#[test]
fn a_rule_for_a_billion_occurrences_costs_no_more_than_one_for_two() {
    let started = Instant::now();
    for rule in [
        "FREQ=SECONDLY",
        "FREQ=MINUTELY;COUNT=1000000000",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30;BYHOUR=1,2,3,4;BYSETPOS=-366",
    ] {
        let object = read(&calendar(&format!("{START}RRULE:{rule}\r\n"))).unwrap();
        assert!(object.events[0].master.as_ref().unwrap().recurrence.is_some());
    }
    let list = vec!["1"; 400].join(",");
    let bomb = calendar(&format!("{START}RRULE:FREQ=YEARLY;BYYEARDAY={list}\r\n"));
    refused_at_once(&bomb, "malformed");
    let dates = vec!["20261124T090000Z"; 1_001].join(",");
    refused_at_once(&calendar(&format!("{START}EXDATE:{dates}\r\n")), "EXDATE");
    let lines = "RDATE:20261124T090000Z\r\n".repeat(1_001);
    refused_at_once(&calendar(&format!("{START}{lines}")), "RDATE");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn hundreds_of_zones_that_no_place_has_are_refused_at_once() {
    let zone = |n: usize| {
        format!(
            "BEGIN:VTIMEZONE\r\nTZID:Z{n}\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\n\
             TZOFFSETFROM:+0217\r\nTZOFFSETTO:+0217\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n"
        )
    };
    let object = |zones: usize| {
        let zones: String = (0..zones).map(zone).collect();
        let text = String::from_utf8(calendar(
            "UID:x\r\nDTSTART;TZID=Z0:20261124T090000\r\nRRULE:FREQ=DAILY\r\n",
        ));
        text.unwrap().replacen("METHOD:REQUEST\r\n", &format!("METHOD:REQUEST\r\n{zones}"), 1)
    };
    refused_at_once(object(33).as_bytes(), "more than 32 zones");
    refused_at_once(object(32).as_bytes(), "no zone of the IANA database");
}

#[test]
fn thousands_of_zone_names_are_refused_at_once() {
    let names: String =
        (0..20_000).map(|n| format!("EXDATE;TZID=Z{n}:20261124T090000\r\n")).collect();
    refused_at_once(&calendar(&format!("{START}{names}")), "zone");
}

#[test]
fn a_mail_of_too_many_parts_or_too_deep_is_not_parsed() {
    let unusable = |mail: &str| {
        let started = Instant::now();
        let found = find(format!("{mail}\r\nContent-Type: text/calendar\r\n").as_bytes());
        assert!(matches!(found, Found::Unusable { .. }), "{found:?}");
        assert_eq!(find(mail.as_bytes()), Found::Nothing);
        assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
    };
    let head = "Content-Type: multipart/mixed; boundary=b\r\n\r\n";
    unusable(&format!("{head}{}", "--b\r\n\r\nx\r\n".repeat(1_100)));
    let nested: String = (0..60)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=\"b{n}\"\r\n\r\n--b{n}\r\n"))
        .collect();
    unusable(&nested);
    unusable(&"Content-Type: message/rfc822\r\n\r\n".repeat(60));
    unusable(&format!("Subject: x\r\n\r\n{}", "a".repeat(2_300_000)));
}

// --- properties ----------------------------------------------------------------------------------

/// Lines that are nearly right, in any order: what octets alone would never hit.
fn nearly_a_line() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "DTSTART",
        "DTEND",
        "DURATION",
        "RRULE",
        "EXDATE",
        "RDATE",
        "RECURRENCE-ID",
        "ATTENDEE",
        "ORGANIZER",
        "ATTACH",
        "SUMMARY",
        "DESCRIPTION",
        "X-ALT-DESC",
        "BEGIN",
        "END",
        "UID",
        "SEQUENCE",
        "TRIGGER",
        "TZOFFSETTO",
        "TZID",
        "METHOD",
        "CATEGORIES",
        "GEO",
        "X-A",
    ]);
    let params = prop::sample::select(vec![
        "",
        ";VALUE=DATE",
        ";VALUE=PERIOD",
        ";VALUE=RECUR",
        ";VALUE=BINARY;ENCODING=BASE64",
        ";TZID=Europe/Berlin",
        ";TZID=\"",
        ";CN=\"a;b:c\"",
        ";X",
        ";=",
        ";ENCODING=QUOTED-PRINTABLE",
        ";CHARSET=utf-7;ENCODING=Q",
        ";VALUE=DURATION",
        ";FMTTYPE=text/html",
        ";RANGE=THISANDFUTURE",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "20261124T090000Z",
            "20261124",
            "99991231T235959Z",
            "00010101T000000Z",
            "20261124T090000/PT1H",
            "P99999999W",
            "-P99999999DT99999999H",
            "FREQ=DAILY",
            "VEVENT",
            "FREQ=YEARLY;BYMONTH=2;BYDAY=-5MO",
            "mailto:a@b",
            "VALARM",
            "data:text/html;base64,PGI+",
            "data:,",
            "\\",
            "\\n\\,\\;",
            "=C3=9C=",
            "4294967295",
            "-99999999999999999999",
            "a,b;c",
        ])
        .prop_map(str::to_owned),
        ".{0,40}",
    ];
    (name, params, value).prop_map(|(name, params, value)| format!("{name}{params}:{value}\r\n"))
}

proptest! {
    #[test]
    fn any_octets_are_answered(octets in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = read(&octets);
        let _ = find(&octets);
    }

    #[test]
    fn any_lines_in_an_event_are_answered(
        lines in prop::collection::vec(nearly_a_line(), 0..12),
        start in any::<bool>(),
    ) {
        let lines = lines.concat();
        let octets = calendar(&format!("{}{lines}", if start { START } else { "" }));
        if let Ok(object) = read(&octets) {
            prop_assert!(!object.events.is_empty());
            for event in &object.events {
                prop_assert!(event.master.is_some() || !event.overrides.is_empty());
            }
        }
        let mail = [b"Content-Type: text/calendar\r\n\r\n".as_slice(), &octets].concat();
        let _ = find(&mail);
    }

    #[test]
    fn a_fixture_with_octets_changed_is_answered(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let fixtures = fixtures("ical", "ics");
        let mut octets = which.get(&fixtures).1.clone();
        for (at, octet) in changes {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        let _ = read(&octets);
    }
}
