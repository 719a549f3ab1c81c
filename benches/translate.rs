//! Invites translated in a second, on one core: `cargo bench --bench translate`. From the model of an
//! event to the octets that Graph is sent; reading the object is not in it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use jiff::civil::{Weekday, date};
use jiff::tz::TimeZone;
use postbridge::account::Address;
use postbridge::graph::convert::{Content, Settings, attendees, event_body};
use postbridge::graph::difference::changes;
use postbridge::graph::resource::EventBody;
use postbridge::ical::{
    Attendee, Class, Frequency, Moment, Occurrence, PartStat, Recurrence, Role, Rule, RuleEnd,
    Status, Zone,
};

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
    Ok(())
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
