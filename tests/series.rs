//! What a client's rule says is what stands in the calendar: for any rule that is translated, our
//! expansion of the iCalendar series and the sandbox's of the Graph event give the same instants.
//!
//! The two share no code: ours walks RFC 5545's rule, the sandbox Graph's pattern in the JSON that would
//! be sent. `PROPTEST_RNG_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::RefCell;
use std::collections::BTreeMap;

use jiff::civil::{Date, DateTime, Weekday, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use postbridge::graph::convert::{Content, Settings, event_body};
use postbridge::ical::{Event, Frequency, Moment, Recurrence, Rule, RuleEnd};
use postbridge::recurrence::{instances, instant};
use postbridge::sandbox::series::expand;
use postbridge::sandbox::world::ShortMonths;
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use proptest::test_runner::{Config, TestRunner};

mod events;

const YEARS: i64 = 5;
const CASES: u32 = 1_000;
const WEEK: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];
/// `None`: whole days.
const ZONES: [Option<&str>; 6] = [
    Some("Europe/Berlin"),
    Some("America/New_York"),
    Some("Australia/Lord_Howe"),
    Some("UTC"),
    Some("Asia/Kolkata"),
    None,
];
/// Days on which the clocks of these zones change.
const CHANGES: [Date; 6] = [
    date(2026, 3, 8),
    date(2026, 3, 29),
    date(2026, 4, 5),
    date(2026, 10, 4),
    date(2026, 10, 25),
    date(2026, 11, 1),
];

fn plain(frequency: Frequency) -> Rule {
    Rule {
        frequency,
        interval: 1,
        end: RuleEnd::Never,
        by_month: vec![],
        by_month_day: vec![],
        by_day: vec![],
        by_set_pos: vec![],
        week_start: Weekday::Monday,
        others: false,
    }
}

fn weekdays(least: usize) -> impl Strategy<Value = Vec<(i8, Weekday)>> {
    subsequence(WEEK.to_vec(), least..=7)
        .prop_map(|days| days.into_iter().map(|day| (0, day)).collect())
}

/// The parts that choose days within a month: by their number, counted, or as the nth of a set.
fn days_of_month() -> impl Strategy<Value = Rule> {
    let by_number = prop_oneof![
        3 => Just(vec![]),
        8 => vec(1i8..=28, 1),
        4 => vec(29i8..=31, 1),
        1 => Just(vec![-1]),
        1 => Just(vec![28, 29, 30, 31]),
        1 => vec(-31i8..=-2, 1),
    ];
    let by_number = by_number.prop_map(|by_month_day| {
        let by_set_pos = if by_month_day.len() == 4 { vec![-1] } else { vec![] };
        Rule { by_month_day, by_set_pos, ..plain(Frequency::Monthly) }
    });
    let ordinal = prop_oneof![8 => 1i8..=4, 3 => Just(-1i8), 1 => select(vec![5, -2, -5])];
    let counted = (ordinal, select(WEEK.to_vec()))
        .prop_map(|day| Rule { by_day: vec![day], ..plain(Frequency::Monthly) });
    let position = prop_oneof![8 => 1i32..=4, 3 => Just(-1i32), 1 => select(vec![5, -2])];
    let of_a_set = (weekdays(1), position).prop_map(|(by_day, position)| Rule {
        by_day,
        by_set_pos: vec![position],
        ..plain(Frequency::Monthly)
    });
    prop_oneof![by_number, counted, of_a_set]
}

/// Rules of Graph's six patterns, as programs write them, and some that it has no pattern for.
fn rules() -> impl Strategy<Value = Rule> {
    let interval = || prop_oneof![5 => Just(1u32), 4 => 2u32..=4, 1 => 5u32..=14];
    let daily = (interval(), weighted(0.2, weekdays(1))).prop_map(|(interval, days)| Rule {
        interval,
        by_day: days.unwrap_or_default(),
        ..plain(Frequency::Daily)
    });
    let weekly = (interval(), weekdays(0), select(WEEK.to_vec())).prop_map(
        |(interval, by_day, week_start)| Rule {
            interval,
            by_day,
            week_start,
            ..plain(Frequency::Weekly)
        },
    );
    let monthly =
        (interval(), days_of_month()).prop_map(|(interval, rule)| Rule { interval, ..rule });
    let yearly = (prop_oneof![3 => Just(1u32), 1 => 2u32..=3], 1u8..=12, days_of_month()).prop_map(
        |(interval, month, rule)| Rule {
            frequency: Frequency::Yearly,
            interval,
            by_month: vec![month],
            ..rule
        },
    );
    let strange = (vec(1u8..=12, 1..4), vec(1i8..=31, 0..3), weekdays(0), any::<bool>()).prop_map(
        |(by_month, by_month_day, by_day, others)| Rule {
            by_month,
            by_month_day,
            by_day,
            others,
            ..plain(Frequency::Monthly)
        },
    );
    prop_oneof![4 => daily, 6 => weekly, 6 => monthly, 6 => yearly, 1 => strange]
}

/// Minutes after the start, where it is an UNTIL.
#[derive(Debug, Clone)]
enum End {
    Never,
    After(u32),
    Instant(i64),
    Local(i64),
    Date(i64),
}

fn ends() -> impl Strategy<Value = End> {
    let minutes = || 0i64..6 * 366 * 1_440;
    prop_oneof![
        3 => Just(End::Never),
        3 => (1u32..60).prop_map(End::After),
        1 => minutes().prop_map(End::Instant),
        1 => minutes().prop_map(End::Local),
        1 => minutes().prop_map(End::Date),
    ]
}

fn end_of(end: &End, start: &Moment) -> RuleEnd {
    let later = |minutes: i64| local(start).checked_add(minutes.minutes()).unwrap();
    match end {
        End::Never => RuleEnd::Never,
        End::After(count) => RuleEnd::After(*count),
        End::Instant(minutes) => RuleEnd::UntilInstant(instant_of(start) + minutes.minutes()),
        End::Local(minutes) => RuleEnd::UntilLocal(later(*minutes)),
        End::Date(minutes) => RuleEnd::UntilDate(later(*minutes).date()),
    }
}

/// Any day of twelve years or one on which clocks change; any quarter of an hour, most of them in the
/// hours in which clocks change.
fn local_times() -> impl Strategy<Value = DateTime> {
    let days = prop_oneof![
        4 => (0i64..12 * 366).prop_map(|days| date(2015, 1, 1) + days.days()),
        1 => select(CHANGES.to_vec()),
    ];
    let quarters = prop_oneof![1 => 0i64..96, 2 => 4i64..13];
    (days, quarters).prop_map(|(day, quarter)| day.at(0, 0, 0, 0) + (quarter * 15).minutes())
}

fn local(moment: &Moment) -> DateTime {
    match moment {
        Moment::Date(date) => date.at(0, 0, 0, 0),
        Moment::Zoned { local, .. } | Moment::Floating(local) => *local,
    }
}

/// Whole days count from midnight UTC.
fn instant_of(moment: &Moment) -> Timestamp {
    match moment {
        Moment::Zoned { local, zone } => instant(*local, &zone.rules).unwrap(),
        moment => instant(local(moment), &TimeZone::UTC).unwrap(),
    }
}

fn series(start: Moment, minutes: i64, rule: &Rule) -> Event {
    let recurrence = Recurrence { rule: Some(rule.clone()), rdates: vec![], exdates: vec![] };
    let mut event = events::event(start, Some(recurrence));
    let master = event.master.as_mut().unwrap();
    master.end = match &master.start {
        Moment::Date(date) => Moment::Date(*date + (minutes / 1_440 + 1).days()),
        Moment::Floating(local) => Moment::Floating(*local + minutes.minutes()),
        Moment::Zoned { zone, .. } => {
            let at = instant_of(&master.start) + minutes.minutes();
            Moment::Zoned { local: zone.rules.to_datetime(at), zone: zone.clone() }
        }
    };
    event
}

fn start_at(local: DateTime, zone: Option<&str>) -> Moment {
    zone.map_or(Moment::Date(local.date()), |zone| events::zoned(local, zone))
}

/// A start that the rule gives: one of its first dates from `from` on.
fn fitting(rule: &Rule, from: DateTime, zone: Option<&str>, nth: &Index) -> Option<Moment> {
    let unending = series(start_at(from, zone), 0, rule);
    let to = instant_of(&start_at(from, zone)) + (24 * 366 * 10).hours();
    let found = instances(&unending, &TimeZone::UTC, Timestamp::MIN, to, 10_000).ok()?;
    // The first is DTSTART, whether it fits or not.
    let later = found.get(1..)?;
    let day = local(&later.get(nth.index(later.len().clamp(1, 5)))?.start).date();
    Some(start_at(day.to_datetime(from.time()), zone))
}

/// Starts and ends of five years.
fn ours(event: &Event, from: Timestamp, to: Timestamp) -> Vec<(Timestamp, Timestamp)> {
    let found = instances(event, &TimeZone::UTC, from, to, 10_000).unwrap();
    found.iter().map(|one| (instant_of(&one.start), instant_of(&one.end))).collect()
}

/// How often each was met.
#[derive(Debug, Default)]
struct Met {
    /// By pattern and range.
    translated: BTreeMap<String, u32>,
    refused: BTreeMap<String, u32>,
    /// Starts that the clock skips or shows twice.
    in_gap: usize,
    in_fold: usize,
}

impl Met {
    fn occurrences(&mut self, event: &Event, found: &[(Timestamp, Timestamp)]) {
        let Some(Moment::Zoned { local, zone }) = event.master.as_ref().map(|m| &m.start) else {
            return;
        };
        for (start, _) in found {
            let shown = zone.rules.to_datetime(*start).date().to_datetime(local.time());
            let ambiguous = zone.rules.to_ambiguous_timestamp(shown);
            match ambiguous.offset() {
                jiff::tz::AmbiguousOffset::Gap { .. } => self.in_gap += 1,
                jiff::tz::AmbiguousOffset::Fold { .. } => self.in_fold += 1,
                jiff::tz::AmbiguousOffset::Unambiguous { .. } => {}
            }
        }
    }
}

#[test]
fn the_sandbox_expands_what_we_translate_to_the_same_instants_for_five_years() {
    let met = RefCell::new(Met::default());
    let settings = Settings { zone: &TimeZone::UTC, zone_name: "UTC", online_meetings: false };
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let lengths = prop_oneof![
        3 => Just(30i64),
        1 => Just(0i64),
        1 => 1i64..300,
        // Over midnight, and for days.
        1 => 9i64 * 60..4 * 1_440,
    ];
    let fits = prop_oneof![15 => Just(true), 1 => Just(false)];
    let starts = (local_times(), select(ZONES.to_vec()), any::<Index>(), fits);
    let outcome = TestRunner::new(config).run(
        &(rules(), ends(), starts, lengths),
        |(rule, end, (from, zone, nth, fits), minutes)| {
            let start = match fits {
                true => fitting(&rule, from, zone, &nth),
                false => Some(start_at(from, zone)),
            };
            // Rules that cannot be listed, or give no date for ten years, are met as they are.
            let start = start.unwrap_or_else(|| start_at(from, zone));
            let rule = Rule { end: end_of(&end, &start), ..rule };
            let event = series(start.clone(), minutes, &rule);
            let master = event.master.as_ref().unwrap();
            let mut met = met.borrow_mut();
            let body = match event_body(master, &Content::choose(None, None, master), &settings) {
                Ok(body) => serde_json::to_value(body).unwrap(),
                Err(refused) => {
                    // RFC 5545 §3.3.5: of the two hours that the clock shows twice, an end is in the first,
                    // also where it was meant to be after a start in it.
                    let backwards = instant_of(&master.end) < instant_of(&master.start);
                    prop_assert!(refused.spreadable != backwards, "{}", refused);
                    prop_assert!(refused.why.len() > 20, "{}", refused);
                    *met.refused.entry(refused.why).or_default() += 1;
                    return Ok(());
                }
            };
            let pattern = body["recurrence"]["pattern"]["type"].as_str().unwrap();
            let range = body["recurrence"]["range"]["type"].as_str().unwrap();
            *met.translated.entry(format!("{pattern}, {range}")).or_default() += 1;

            let from = instant_of(&start);
            let stop = local(&start).checked_add(YEARS.years()).unwrap();
            let to = instant(stop, &TimeZone::UTC).unwrap();
            let ours = ours(&event, from, to);
            met.occurrences(&event, &ours);
            for short_months in [ShortMonths::LastDay, ShortMonths::Skip] {
                let theirs = expand(body.as_object().unwrap(), from, to, short_months);
                let theirs = theirs.map_err(|unfit| TestCaseError::fail(unfit.to_string()))?;
                let differs = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
                prop_assert!(
                    differs.is_none() && ours.len() == theirs.len(),
                    "{} and {} occurrences, {:?}\n{} from {:?} to {:?}",
                    ours.len(),
                    theirs.len(),
                    differs,
                    body["recurrence"],
                    master.start,
                    master.end
                );
            }
            Ok(())
        },
    );
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let met = met.into_inner();
    println!("{met:#?}");
    let [translated, refused] = [&met.translated, &met.refused].map(|m| m.values().sum::<u32>());
    assert!(translated > refused, "{translated} translated, {refused} refused");
    // Six patterns, three ranges.
    assert_eq!(met.translated.len(), 18, "{:?}", met.translated);
    assert!(met.in_gap > 0 && met.in_fold > 0, "{met:?}");
}

#[test]
fn the_29th_to_31st_are_translated_only_where_short_months_cannot_matter() {
    let settings = Settings { zone: &TimeZone::UTC, zone_name: "UTC", online_meetings: false };
    let start = events::zoned(date(2026, 1, 31).at(9, 0, 0, 0), "Europe/Berlin");
    let from = instant_of(&start);
    let to = from + (24 * 366 * YEARS).hours();
    let monthly = |interval: u32, end: RuleEnd| Rule {
        interval,
        end,
        by_month_day: vec![31],
        ..plain(Frequency::Monthly)
    };
    let body = |rule: &Rule| {
        let event = series(start.clone(), 30, rule);
        let master = event.master.as_ref().unwrap();
        let body = event_body(master, &Content::choose(None, None, master), &settings)?;
        Ok((ours(&event, from, to), serde_json::to_value(body).unwrap()))
    };
    let body =
        |rule: &Rule| -> Result<_, postbridge::graph::convert::Untranslatable> { body(rule) };
    // January alone, every January, January to the middle of February: never a short month.
    for (rule, count) in [
        (monthly(1, RuleEnd::After(1)), 1),
        (monthly(12, RuleEnd::Never), 6),
        (monthly(1, RuleEnd::UntilDate(date(2026, 2, 20))), 1),
    ] {
        let (ours, body) = body(&rule).unwrap();
        for short_months in [ShortMonths::LastDay, ShortMonths::Skip] {
            let theirs = expand(body.as_object().unwrap(), from, to, short_months).unwrap();
            assert_eq!(ours, theirs, "{rule:?}");
        }
        assert_eq!(ours.len(), count, "{rule:?}");
    }
    for rule in [
        monthly(1, RuleEnd::Never),
        monthly(1, RuleEnd::After(2)),
        monthly(1, RuleEnd::UntilDate(date(2026, 2, 28))),
    ] {
        let refused = body(&rule).unwrap_err();
        assert!(refused.why.contains("some of its months do not have"), "{refused}");
    }
}
