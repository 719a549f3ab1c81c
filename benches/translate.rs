//! Invites translated in a second, on one core: `cargo bench --bench translate`. From the model of an
//! event to the octets that Graph is sent; and the whole way, from the octets of the object. What is
//! decided about an invite is in neither.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::civil::{Weekday, date};
use jiff::tz::TimeZone;
use postbridge::account::Address;
use postbridge::graph::convert::{Content, Settings, attendees, event_body};
use postbridge::graph::difference::changes;
use postbridge::graph::resource::EventBody;
use postbridge::ical::{
    Attendee, Class, Frequency, Moment, Occurrence, PartStat, Recurrence, Role, Rule, RuleEnd,
    ScheduleAgent, Status, Zone, read_as,
};
use postbridge::itip::Method;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_millis(400);
/// After how many the clock is read.
const BATCH: u32 = 50;

fn main() -> anyhow::Result<()> {
    let organizer: Address = "adele.vance@contoso.example".parse()?;
    let simple = occurrence("Europe/Berlin", 2, None)?;
    let renamed = occurrence("Asia/Kolkata", 2, None)?;
    let series = occurrence("Europe/Berlin", 2, Some(weekly()))?;
    let crowded = occurrence("Europe/Berlin", 200, None)?;
    println!("| invite | translated/s | compared with the same/s |\n|---|---:|---:|");
    for (name, occurrence) in [
        ("simple", &simple),
        ("in a zone with a new name", &renamed),
        ("weekly series", &series),
        ("200 attendees", &crowded),
    ] {
        let whole = || whole(occurrence, &organizer);
        let old = whole()?;
        let translated = rate(|| Ok(serde_json::to_vec(&whole()?)?.len()))?;
        let compared = rate(|| Ok(usize::from(changes(&old, &whole()?).is_empty())))?;
        println!("| {name} | {translated:.0} | {compared:.0} |");
    }
    println!("\n| object | octets | read and translated/s | shall be/s |\n|---|---:|---:|---:|");
    for (name, invited, bar) in [("simple", 2, 20_000), ("200 attendees", 200, 1_000)] {
        let object = object(invited);
        let sent = from_octets(object.as_bytes(), &organizer)?;
        let named = sent.windows(12).filter(|octets| octets == b"emailAddress").count();
        anyhow::ensure!(named == invited, "{named} of {invited} attendees");
        let read = rate(|| Ok(from_octets(object.as_bytes(), &organizer)?.len()))?;
        println!("| {name} | {} | {read:.0} | {bar} |", object.len());
    }
    Ok(())
}

/// The calendar part of a mail with `method=REQUEST`, to what Graph is sent.
fn from_octets(octets: &[u8], organizer: &Address) -> anyhow::Result<Vec<u8>> {
    let object = read_as(octets, Some(Method::Request))?;
    let event = object.events.first().context("no event")?;
    let master = event.master.as_ref().context("no master")?;
    Ok(serde_json::to_vec(&whole(master, organizer)?)?)
}

fn whole(occurrence: &Occurrence, organizer: &Address) -> anyhow::Result<EventBody> {
    let settings = Settings { zone: &TimeZone::UTC, zone_name: "UTC", online_meetings: false };
    let content = Content::choose(None, None, occurrence);
    let body = event_body(occurrence, &content, &settings)?;
    let body = EventBody { attendees: Some(attendees(occurrence, organizer)?), ..body };
    Ok(body.tagged("b0c4f5d2-5d0c-5b3e-8b57-0d4dd4e2a9c1", "interview-4711@ats.example", "mark"))
}

/// The median of the rounds.
fn rate(once: impl Fn() -> anyhow::Result<usize>) -> anyhow::Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let (start, mut count) = (Instant::now(), 0u32);
        while start.elapsed() < ROUND {
            for _ in 0..BATCH {
                black_box(once()?);
            }
            count += BATCH;
        }
        rates.push(f64::from(count) / start.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates.get(ROUNDS / 2).copied().unwrap_or(f64::NAN))
}

fn weekly() -> Recurrence {
    let rule = Rule {
        frequency: Frequency::Weekly,
        interval: 1,
        end: RuleEnd::Never,
        by_month: vec![],
        by_month_day: vec![],
        by_day: vec![(0, Weekday::Tuesday)],
        by_set_pos: vec![],
        week_start: Weekday::Monday,
        others: false,
    };
    Recurrence { rule: Some(rule), rdates: vec![], exdates: vec![] }
}

fn occurrence(
    zone: &str,
    invited: usize,
    recurrence: Option<Recurrence>,
) -> anyhow::Result<Occurrence> {
    let zone = Zone { tzid: zone.to_owned(), rules: TimeZone::get(zone)? };
    let at = |minute| Moment::Zoned {
        local: date(2026, 11, 24).at(9, minute, 0, 0),
        zone: zone.clone(),
    };
    let attendee = |n: usize| -> anyhow::Result<Attendee> {
        Ok(Attendee {
            address: format!("candidate{n}@fabrikam.example").parse()?,
            name: Some(format!("Candidate {n}")),
            role: Role::Required,
            rsvp: Some(true),
            partstat: PartStat::NeedsAction,
            agent: ScheduleAgent::Server,
        })
    };
    Ok(Occurrence {
        sequence: 0,
        dtstamp: None,
        start: at(0),
        end: at(45),
        summary: "Interview: senior engineer".to_owned(),
        description: Some("Please bring your portfolio.\r\n".repeat(30)),
        html: None,
        location: Some("Room 4.12".to_owned()),
        url: Some("https://ats.example/interviews/4711".to_owned()),
        conference: None,
        organizer: None,
        attendees: (0..invited).map(attendee).collect::<anyhow::Result<_>>()?,
        status: Status::Confirmed,
        show_as: None,
        class: Class::Public,
        priority: None,
        categories: vec!["Hiring".to_owned()],
        reminder_minutes: Some(15),
        counter_allowed: true,
        online_meeting: false,
        recurrence,
        attachments: vec![],
    })
}

/// What an applicant-tracking system attaches: a zone of its own, folded lines (RFC 5545 §3.1).
fn object(invited: usize) -> String {
    let zone = "BEGIN:VTIMEZONE\nTZID:Europe/Berlin\n\
        BEGIN:DAYLIGHT\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\nTZNAME:CEST\n\
        DTSTART:19700329T020000\nRRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU\nEND:DAYLIGHT\n\
        BEGIN:STANDARD\nTZOFFSETFROM:+0200\nTZOFFSETTO:+0100\nTZNAME:CET\n\
        DTSTART:19701025T030000\nRRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU\nEND:STANDARD\n\
        END:VTIMEZONE\n";
    let attendees: String = (0..invited)
        .map(|n| {
            format!(
                "ATTENDEE;CN=\"Candidate {n}\";CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;\
                 PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:candidate{n}@fabrikam.example\n"
            )
        })
        .collect();
    let description = "Please bring your portfolio.\\n".repeat(30);
    let lines = format!(
        "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//ats.example//Interviews//EN\nMETHOD:REQUEST\n{zone}\
         BEGIN:VEVENT\nUID:interview-4711@ats.example\nDTSTAMP:20261120T100000Z\nSEQUENCE:0\n\
         DTSTART;TZID=Europe/Berlin:20261124T090000\nDTEND;TZID=Europe/Berlin:20261124T094500\n\
         SUMMARY:Interview: senior engineer\nDESCRIPTION:{description}\nLOCATION:Room 4.12\n\
         URL:https://ats.example/interviews/4711\nCATEGORIES:Hiring\n\
         ORGANIZER;CN=\"Adele Vance\":mailto:adele.vance@contoso.example\n{attendees}\
         BEGIN:VALARM\nACTION:DISPLAY\nDESCRIPTION:Reminder\nTRIGGER:-PT15M\nEND:VALARM\n\
         END:VEVENT\nEND:VCALENDAR\n"
    );
    lines.lines().map(folded).collect()
}

/// Of ASCII.
fn folded(line: &str) -> String {
    let letters: Vec<char> = line.chars().collect();
    let parts: Vec<String> = letters.chunks(74).map(String::from_iter).collect();
    parts.join("\r\n ") + "\r\n"
}
