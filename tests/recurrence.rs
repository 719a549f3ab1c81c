//! A recurrence rule is translated exactly or not at all.
//!
//! Three parties: our expansion of RFC 5545, the `rrule` crate's, and Exchange's pattern walked day by
//! day as Graph's documentation words it. None of the three shares code with another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::Cell;

use jiff::civil::{Date, DateTime, Weekday, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use postbridge::ical::{Frequency, Moment, Recurrence, Rule, RuleEnd, Zone};
use postbridge::recurrence::{
    Index, NotListed, Pattern, Range, Series, given, graph_pattern, instances, removed,
};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

mod events;
use events::{event, zoned};

const YEARS: i64 = 5;
const ZONES: [&str; 5] =
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "UTC"];
const WEEK: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
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

// ---- Exchange's side, from the documentation's words ----

fn exchange_matches(series: &Series, day: Date) -> bool {
    let start = series.start_date;
    let months = (i64::from(day.year()) - i64::from(start.year())) * 12 + i64::from(day.month())
        - i64::from(start.month());
    // "If the month is shorter, the event is on its last day": what RFC 5545 does not do.
    let on_day = |wanted: i8| day.day() == wanted.min(day.days_in_month());
    let relative = |days: &[Weekday], index: Index| {
        let meant: Vec<i8> = (1..=day.days_in_month())
            .filter(|n| days.contains(&Date::new(day.year(), day.month(), *n).unwrap().weekday()))
            .collect();
        let wanted = match index {
            Index::First => meant.first(),
            Index::Second => meant.get(1),
            Index::Third => meant.get(2),
            Index::Fourth => meant.get(3),
            Index::Last => meant.last(),
        };
        wanted == Some(&day.day())
    };
    match &series.pattern {
        Pattern::Daily { interval } => days_between(start, day) % i64::from(*interval) == 0,
        Pattern::Weekly { interval, days, first_day } => {
            let mut first = start;
            while first.weekday() != *first_day {
                first = first.yesterday().unwrap();
            }
            days.contains(&day.weekday())
                && days_between(first, day) / 7 % i64::from(*interval) == 0
        }
        Pattern::AbsoluteMonthly { interval, day: wanted } => {
            months % i64::from(*interval) == 0 && on_day(*wanted)
        }
        Pattern::RelativeMonthly { interval, days, index } => {
            months % i64::from(*interval) == 0 && relative(days, *index)
        }
        Pattern::AbsoluteYearly { interval, month, day: wanted } => {
            day.month() == *month
                && i64::from(day.year() - start.year()) % i64::from(*interval) == 0
                && on_day(*wanted)
        }
        Pattern::RelativeYearly { interval, month, days, index } => {
            day.month() == *month
                && i64::from(day.year() - start.year()) % i64::from(*interval) == 0
                && relative(days, *index)
        }
    }
}

fn days_between(from: Date, to: Date) -> i64 {
    to.duration_since(from).as_hours() / 24
}

fn exchange_instants(series: &Series, start: DateTime, zone: &TimeZone) -> Vec<Timestamp> {
    let mut found = Vec::new();
    let mut day = series.start_date;
    let stop = day.checked_add(YEARS.years()).unwrap();
    while day < stop {
        let over = match series.range {
            Range::NoEnd => false,
            Range::EndDate(end) => day > end,
            Range::Numbered(count) => found.len() == usize::try_from(count).unwrap(),
        };
        if over {
            break;
        }
        if exchange_matches(series, day) {
            found.push(
                day.to_datetime(start.time()).to_zoned_datetime(zone.clone()).unwrap().timestamp(),
            );
        }
        day = day.tomorrow().unwrap();
    }
    found
}

// ---- ours ----

fn our_instants(rule: &Rule, start: &Moment, zone: &TimeZone) -> Vec<Timestamp> {
    let recurrence = Recurrence { rule: Some(rule.clone()), rdates: vec![], exdates: vec![] };
    let event = event(start.clone(), Some(recurrence));
    let first = match start {
        Moment::Zoned { local, .. } => *local,
        _ => unreachable!(),
    };
    let stop = first.date().checked_add(YEARS.years()).unwrap().at(0, 0, 0, 0);
    let stop = stop.to_zoned_datetime(zone.clone()).unwrap().timestamp();
    let found = instances(&event, zone, Timestamp::MIN, stop, 10_000).unwrap();
    found.into_iter().map(|instance| instance.original).collect()
}

/// The second date that the rule gives from about `from` on, so that DTSTART fits.
fn fitting_start(rule: &Rule, from: DateTime) -> Option<DateTime> {
    let endless = Rule { end: RuleEnd::Never, ..rule.clone() };
    let recurrence = Recurrence { rule: Some(endless), rdates: vec![], exdates: vec![] };
    let event = event(zoned(from, "UTC"), Some(recurrence));
    let from = from.to_zoned_datetime(TimeZone::UTC).unwrap().timestamp();
    let stop = Timestamp::from_second(from.as_second() + 30 * 366 * 86_400).unwrap();
    let found = instances(&event, &TimeZone::UTC, from, stop, 20_000).unwrap();
    match &found.get(1)?.start {
        Moment::Zoned { local, .. } => Some(*local),
        _ => None,
    }
}

fn rules() -> impl Strategy<Value = Rule> {
    let frequency = prop_oneof![
        Just(Frequency::Daily),
        Just(Frequency::Weekly),
        Just(Frequency::Monthly),
        Just(Frequency::Monthly),
        Just(Frequency::Yearly),
        Just(Frequency::Yearly),
    ];
    let interval = prop_oneof![5 => Just(1u32), 3 => 2u32..5, 1 => 5u32..14];
    let months = prop_oneof![10 => Just(vec![]), 3 => vec(1u8..=12, 1), 1 => vec(1u8..=12, 2..4)];
    let day = (-31i8..=31).prop_filter("no day 0", |day| *day != 0);
    let month_days = prop_oneof![
        14 => Just(vec![]),
        4 => vec(day.clone(), 1),
        2 => Just(vec![28, 29, 30, 31]),
        2 => (0i8..4).prop_map(|week| (week * 7 + 1..=week * 7 + 7).collect()),
        1 => Just((-7..=-1).collect()),
        1 => vec(day, 2..4),
    ];
    let weekday = (0usize..7).prop_map(|at| WEEK[at]);
    let ordinal = (-5i8..=5).prop_filter("not 0", |ordinal| *ordinal != 0);
    let days = prop_oneof![
        5 => Just(vec![]),
        4 => vec((Just(0i8), weekday.clone()), 1..7),
        1 => Just(WEEK.iter().map(|day| (0i8, *day)).collect()),
        4 => vec((ordinal.clone(), weekday.clone()), 1),
        1 => vec((ordinal, weekday.clone()), 2..4),
    ];
    let position = (-5i32..=5).prop_filter("not 0", |position| *position != 0);
    let positions =
        prop_oneof![10 => Just(vec![]), 3 => vec(position.clone(), 1), 1 => vec(position, 2)];
    (frequency, interval, months, month_days, days, positions, weekday).prop_map(
        |(frequency, interval, by_month, by_month_day, by_day, by_set_pos, week_start)| {
            let mut rule = Rule {
                interval,
                by_month,
                by_month_day,
                by_day,
                by_set_pos,
                week_start,
                ..plain(frequency)
            };
            // RFC 5545 §3.3.10 forbids these.
            if matches!(frequency, Frequency::Daily | Frequency::Weekly) {
                rule.by_day.iter_mut().for_each(|(ordinal, _)| *ordinal = 0);
            }
            if frequency == Frequency::Weekly {
                rule.by_month_day.clear();
            }
            if rule.by_month.is_empty() && rule.by_month_day.is_empty() && rule.by_day.is_empty() {
                rule.by_set_pos.clear();
            }
            rule
        },
    )
}

#[derive(Debug, Clone)]
enum End {
    Never,
    After(u32),
    Instant(i64),
    Local(i64),
    Date(i64),
}

fn ends() -> impl Strategy<Value = End> {
    // Minutes after the start; some within the first occurrence's day.
    let minutes = || prop_oneof![0i64..3_000, 0i64..6 * 366 * 1_440];
    prop_oneof![
        Just(End::Never),
        (1u32..40).prop_map(End::After),
        minutes().prop_map(End::Instant),
        minutes().prop_map(End::Local),
        minutes().prop_map(End::Date),
    ]
}

fn end_of(end: &End, start: DateTime, zone: &TimeZone) -> RuleEnd {
    let later = |minutes: i64| start.checked_add(minutes.minutes()).unwrap();
    match end {
        End::Never => RuleEnd::Never,
        End::After(count) => RuleEnd::After(*count),
        End::Instant(minutes) => {
            let start = start.to_zoned_datetime(zone.clone()).unwrap().timestamp();
            RuleEnd::UntilInstant(start.checked_add(minutes.minutes()).unwrap())
        }
        End::Local(minutes) => RuleEnd::UntilLocal(later(*minutes)),
        End::Date(minutes) => RuleEnd::UntilDate(later(*minutes).date()),
    }
}

/// A day in twelve years, at any quarter of an hour: gaps and folds of the clocks among them.
fn local_times() -> impl Strategy<Value = DateTime> {
    (0i64..12 * 366, 0i64..96).prop_map(|(days, quarters)| {
        date(2015, 1, 1).at(0, 0, 0, 0) + days.days() + (quarters * 15).minutes()
    })
}

fn kind(pattern: &Pattern) -> usize {
    match pattern {
        Pattern::Daily { .. } => 0,
        Pattern::Weekly { .. } => 1,
        Pattern::AbsoluteMonthly { .. } => 2,
        Pattern::RelativeMonthly { .. } => 3,
        Pattern::AbsoluteYearly { .. } => 4,
        Pattern::RelativeYearly { .. } => 5,
    }
}

#[test]
fn a_translated_rule_gives_the_same_instants_for_five_years() {
    let translated = Cell::new([0u32; 6]);
    let refused = Cell::new(0u32);
    let mut runner =
        TestRunner::new(Config { cases: 1_000, failure_persistence: None, ..Config::default() });
    let inputs = (rules(), ends(), local_times(), 0..ZONES.len());
    let outcome = runner.run(&inputs, |(rule, end, from, zone)| {
        let Some(start) = fitting_start(&rule, from) else { return Ok(()) };
        let (name, zone) = (ZONES[zone], TimeZone::get(ZONES[zone]).unwrap());
        let rule = Rule { end: end_of(&end, start, &zone), ..rule };
        let moment = zoned(start, name);
        let Ok(series) = graph_pattern(&rule, &moment, &zone) else {
            refused.set(refused.get() + 1);
            return Ok(());
        };
        let mut counts = translated.get();
        counts[kind(&series.pattern)] += 1;
        translated.set(counts);
        prop_assert_eq!(
            our_instants(&rule, &moment, &zone),
            exchange_instants(&series, start, &zone),
            "{:?} from {} in {}",
            series,
            start,
            name
        );
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    println!("translated {:?}, refused {}", translated.get(), refused.get());
    // Each pattern was really met.
    assert!(translated.get().iter().all(|count| *count >= 10), "{:?}", translated.get());
}

/// The rule as text, for the other library.
fn text(rule: &Rule, start: DateTime) -> String {
    let day = |day: &Weekday| {
        ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
            [usize::try_from(day.to_monday_zero_offset()).unwrap()]
    };
    fn list<T: ToString>(name: &str, values: impl Iterator<Item = T>) -> String {
        let values: Vec<String> = values.map(|value| value.to_string()).collect();
        if values.is_empty() { String::new() } else { format!(";{name}={}", values.join(",")) }
    }
    let frequency = format!("{:?}", rule.frequency).to_uppercase();
    let end = match rule.end {
        RuleEnd::After(count) => format!(";COUNT={count}"),
        _ => String::new(),
    };
    let days = rule.by_day.iter().map(|(ordinal, weekday)| match ordinal {
        0 => day(weekday).to_owned(),
        ordinal => format!("{ordinal}{}", day(weekday)),
    });
    format!(
        "DTSTART:{}Z\nRRULE:FREQ={frequency};INTERVAL={};WKST={}{end}{}{}{}{}",
        start.strftime("%Y%m%dT%H%M%S"),
        rule.interval,
        day(&rule.week_start),
        list("BYMONTH", rule.by_month.iter()),
        list("BYMONTHDAY", rule.by_month_day.iter()),
        list("BYDAY", days),
        list("BYSETPOS", rule.by_set_pos.iter()),
    )
}

#[test]
fn our_expansion_agrees_with_another_library() {
    let compared = Cell::new(0u32);
    let mut runner =
        TestRunner::new(Config { cases: 1_000, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(rules(), weighted(0.3, 1u32..40), local_times()), |input| {
        let (rule, count, from) = input;
        // Quirk(rrule): BYSETPOS counts the first week from DTSTART, not from WKST.
        if rule.frequency == Frequency::Weekly && !rule.by_set_pos.is_empty() {
            return Ok(());
        }
        let Some(start) = fitting_start(&rule, from) else { return Ok(()) };
        let rule = Rule { end: count.map_or(RuleEnd::Never, RuleEnd::After), ..rule };
        let text = text(&rule, start);
        // It refuses some rules that RFC 5545 allows, and gives up on those that are very sparse.
        let Ok(set) = text.parse::<rrule::RRuleSet>() else { return Ok(()) };
        let stop = start.checked_add(YEARS.years()).unwrap().date().at(0, 0, 0, 0);
        let stop = stop.to_zoned_datetime(TimeZone::UTC).unwrap().timestamp().as_second();
        let theirs: Vec<i64> =
            set.into_iter().map(|at| at.timestamp()).take_while(|at| *at < stop).collect();
        let ours = our_instants(&rule, &zoned(start, "UTC"), &TimeZone::UTC);
        let ours: Vec<i64> = ours.into_iter().map(|at| at.as_second()).collect();
        compared.set(compared.get() + 1);
        let differs = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
        prop_assert!(differs.is_none() && ours.len() == theirs.len(), "{}: {:?}", text, differs);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(compared.get() > 400, "{}", compared.get());
}

#[test]
fn a_start_that_its_rule_does_not_give_is_an_occurrence_and_is_counted() {
    // A Monday, and Tuesdays.
    let rule = Rule {
        end: RuleEnd::After(3),
        by_day: vec![(0, Weekday::Tuesday)],
        ..plain(Frequency::Weekly)
    };
    let start = zoned(date(2026, 11, 23).at(9, 0, 0, 0), "UTC");
    let found = our_instants(&rule, &start, &TimeZone::UTC);
    let days: Vec<i8> = found.iter().map(|at| TimeZone::UTC.to_datetime(*at).day()).collect();
    assert_eq!(days, [23, 24, 1]);
    let refused = graph_pattern(&rule, &start, &TimeZone::UTC).unwrap_err();
    assert!(refused.why.contains("own start"), "{refused}");
}

#[test]
fn a_rule_without_an_end_or_without_a_date_is_bounded() {
    let zone = TimeZone::UTC;
    let start = zoned(date(2026, 1, 1).at(9, 0, 0, 0), "UTC");
    let list = |rule: Rule| {
        let recurrence = Recurrence { rule: Some(rule), rdates: vec![], exdates: vec![] };
        let event = events::event(start.clone(), Some(recurrence));
        instances(&event, &zone, Timestamp::MIN, Timestamp::MAX, 100)
    };
    assert_eq!(list(plain(Frequency::Daily)).unwrap_err(), NotListed::TooMany);
    // 30 February.
    let never = Rule { by_month: vec![2], by_month_day: vec![30], ..plain(Frequency::Daily) };
    assert_eq!(list(never).unwrap_err(), NotListed::TooMany);
    let never = Rule { by_month: vec![2], by_month_day: vec![30], ..plain(Frequency::Yearly) };
    assert_eq!(list(never).unwrap_err(), NotListed::TooMany);
    let long = Rule { by_day: vec![(1, Weekday::Monday); 100_000], ..plain(Frequency::Yearly) };
    assert_eq!(list(long).unwrap_err(), NotListed::Unsupported);
    // A window far off, which has to be counted up to.
    let counted = Rule {
        end: RuleEnd::After(u32::MAX),
        by_day: WEEK.iter().flat_map(|day| (-53..=53).map(|n| (n, *day))).collect(),
        ..plain(Frequency::Yearly)
    };
    let recurrence = Recurrence { rule: Some(counted), rdates: vec![], exdates: vec![] };
    let event = event(start.clone(), Some(recurrence));
    let from = "9000-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(instances(&event, &zone, from, Timestamp::MAX, 100), Err(NotListed::TooMany));
    let far = Rule { interval: u32::MAX, ..plain(Frequency::Yearly) };
    assert_eq!(list(far).unwrap().len(), 1);
}

#[test]
fn a_rule_of_any_numbers_is_harmless() {
    let any = || {
        let frequency = prop_oneof![
            Just(Frequency::Daily),
            Just(Frequency::Weekly),
            Just(Frequency::Monthly),
            Just(Frequency::Yearly),
            Just(Frequency::Finer),
        ];
        let day = (any::<i8>(), 0usize..7).prop_map(|(ordinal, at)| (ordinal, WEEK[at]));
        let lists = (vec(any::<u8>(), 0..3), vec(any::<i8>(), 0..3), vec(day, 0..3));
        (frequency, any::<u32>(), 1u32..3, lists, vec(any::<i32>(), 0..3), any::<(i64, bool)>())
    };
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    proptest!(Config { cases: 100, failure_persistence: None, ..Config::default() },
        |((frequency, large, small, lists, by_set_pos, (until, sparse)) in any())| {
        let (by_month, by_month_day, by_day) = lists;
        let seconds = until % 253_000_000_000;
        let rule = Rule {
            interval: if sparse { large } else { small },
            end: RuleEnd::UntilInstant(Timestamp::from_second(seconds).unwrap()),
            by_month,
            by_month_day,
            by_day,
            by_set_pos,
            ..plain(frequency)
        };
        let at = zone.to_datetime(Timestamp::from_second(seconds / 3).unwrap());
        for start in [Moment::Date(at.date()), Moment::Floating(at), Moment::Date(Date::MAX)] {
            let _ = graph_pattern(&rule, &start, &zone);
            let recurrence = Recurrence {
                rule: Some(rule.clone()), rdates: vec![], exdates: vec![start.clone()],
            };
            let mut event = event(Moment::Date(date(2026, 1, 1)), Some(recurrence));
            let master = event.master.as_mut().unwrap();
            (master.end, master.start) = (start.clone(), start);
            let _ = instances(&event, &zone, Timestamp::MIN, Timestamp::MAX, 50);
            let _ = removed(&event, &zone);
        }
    });
}

#[test]
fn exdate_rdate_and_overrides_change_the_list() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let at = |day: i8| zoned(date(2026, 11, day).at(9, 0, 0, 0), "Europe/Berlin");
    let rule = Rule { end: RuleEnd::After(6), ..plain(Frequency::Daily) };
    let utc = Zone { tzid: "UTC".to_owned(), rules: TimeZone::UTC };
    let recurrence = Recurrence {
        rule: Some(rule),
        rdates: vec![at(20), at(3)],
        // By an instant in another zone, and by a day.
        exdates: vec![
            Moment::Zoned { local: date(2026, 11, 2).at(8, 0, 0, 0), zone: utc },
            Moment::Date(date(2026, 11, 4)),
        ],
    };
    let mut event = event(at(1), Some(recurrence));
    events::change(&mut event, at(5), |moved| {
        moved.start = at(12);
        moved.end = at(13);
    });
    events::change(&mut event, at(6), |gone| gone.status = postbridge::ical::Status::Cancelled);
    let found = instances(&event, &zone, Timestamp::MIN, Timestamp::MAX, 100).unwrap();
    let starts: Vec<&Moment> = found.iter().map(|instance| &instance.start).collect();
    assert_eq!(starts, [&at(1), &at(3), &at(12), &at(20)]);
    let moved = &found[2];
    assert_eq!((&moved.recurrence_id, moved.overridden), (&at(5), Some(0)));
    let single = moved.single(&event).unwrap();
    assert_eq!((single.start, single.recurrence), (at(12), None));
    // What is taken out of the series, of what it would give.
    let instant = |day: i8| format!("2026-11-{day:02}T08:00:00Z").parse::<Timestamp>().unwrap();
    assert_eq!(removed(&event, &zone).unwrap(), [2, 4, 6].map(instant));
    let master = event.master.as_ref().unwrap();
    let given = given(master, &at(5), &zone).unwrap();
    assert_eq!((&given.start, &given.recurrence), (&at(5), &None));
    // A window is of what the series gives.
    let from = "2026-11-05T00:00:00Z".parse().unwrap();
    let to = "2026-11-06T00:00:00Z".parse().unwrap();
    assert_eq!(instances(&event, &zone, from, to, 1).unwrap().len(), 1);
}

#[test]
fn an_occurrence_ends_at_the_time_of_day_of_the_first_also_when_the_clock_changes() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let at = |day: Date, hour: i8, minute: i8| zoned(day.at(hour, minute, 0, 0), "Europe/Berlin");
    let ends = |start: (i8, i8), end: Moment, day: Date| {
        let rule = plain(Frequency::Daily);
        let recurrence = Recurrence { rule: Some(rule), rdates: vec![], exdates: vec![] };
        let mut event = event(at(date(2026, 3, 1), start.0, start.1), Some(recurrence));
        event.master.as_mut().unwrap().end = end;
        let from = day.at(0, 0, 0, 0).to_zoned_datetime(zone.clone()).unwrap().timestamp();
        let to = from + 23.hours();
        instances(&event, &zone, from, to, 1).unwrap()[0].end.clone()
    };
    let sunday = date(2026, 3, 29);
    // A night shift; and half an hour that the clock skips, which is half an hour all the same.
    let shift = ends((22, 0), at(date(2026, 3, 2), 6, 0), date(2026, 3, 28));
    assert_eq!(shift, at(sunday, 6, 0));
    let skipped = ends((2, 30), at(date(2026, 3, 1), 3, 0), sunday);
    assert_eq!(skipped, at(sunday, 4, 0));
    let twice = ends((1, 30), at(date(2026, 3, 1), 3, 30), date(2026, 10, 25));
    assert_eq!(twice, at(date(2026, 10, 25), 3, 30));
}
