//! Is all well? What needs somebody, what waits, and how the last two days went.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::{Extension, RawQuery, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use jiff::{SignedDuration, Timestamp};

use super::accounts::{self, Card};
use super::chart::{self, Chart, Series};
use super::frame::{Frame, html, odd};
use super::guard::Visit;
use super::queue::{Lane, STATES};
use super::site::Site;
use super::words::{self, Clockface};
use crate::control::{Reply, Request, Waiting};
use crate::store::hours::Hour;
use crate::store::spool::State;
use crate::tls;

const HOURS: u32 = 48;
/// For writer and worker to show that they go on, before the page says that they do not.
const HEALTH_TIME: Duration = Duration::from_secs(3);
/// How long before its end a certificate is worth a word.
const CERTIFICATE_DAYS: i64 = 30;

#[derive(Template)]
#[template(path = "overview.html", config = "src/page/askama.toml")]
struct Overview {
    frame: Frame,
    /// What does not go on.
    unwell: Option<String>,
    needing: Vec<Card>,
    held: u64,
    certificate: Option<String>,
    has_accounts: bool,
    figures: Vec<Figure>,
    waiting: Vec<Lane>,
    charts: Vec<Drawn>,
    rows: Vec<HourRow>,
}

impl Overview {
    fn things(&self) -> usize {
        self.needing.len()
            + usize::from(self.held > 0)
            + usize::from(self.unwell.is_some())
            + usize::from(self.certificate.is_some())
    }
}

/// A number that is looked at first.
struct Figure {
    live: &'static str,
    label: &'static str,
    value: String,
    path: &'static str,
    colour: &'static str,
}

struct Drawn {
    title: &'static str,
    legend: Vec<(&'static str, &'static str)>,
    chart: Chart,
    about: Option<String>,
}

/// An hour in which something happened.
struct HourRow {
    begins: String,
    accepted: u64,
    sent: u64,
    failed: u64,
    held: u64,
    put_off: u64,
    median: String,
    slow: String,
}

/// What a look at the queue gives.
struct Numbers {
    counts: Vec<(State, u64)>,
    waiting: Vec<Waiting>,
}

impl Numbers {
    async fn of(site: &Site) -> Option<Numbers> {
        match site.ask(Request::Entries { state: None, most: 0 }).await {
            Reply::Entries { counts, waiting, .. } => Some(Numbers { counts, waiting }),
            _ => None,
        }
    }

    fn in_state(&self, state: State) -> u64 {
        self.counts.iter().find(|(one, _)| *one == state).map_or(0, |(_, n)| *n)
    }

    fn on_their_way(&self) -> u64 {
        [State::Queued, State::Attempting, State::Sending].map(|s| self.in_state(s)).iter().sum()
    }

    fn oldest(&self, face: &Clockface) -> String {
        let oldest = self.waiting.iter().filter_map(|one| one.oldest_at).min();
        oldest.map_or_else(|| "–".to_owned(), |at| words::duration(face.now.duration_since(at)))
    }

    fn throttled(&self, face: &Clockface) -> String {
        let until: Option<Timestamp> =
            self.waiting.iter().filter_map(|one| one.throttled_until).max();
        until.map_or_else(|| "no".to_owned(), |at| words::duration(at.duration_since(face.now)))
    }
}

/// The first page; or, where Microsoft sends a browser back to, the end of a sign-in.
pub(super) async fn root(
    Shared(site): Shared<Arc<Site>>,
    Extension(visit): Extension<Visit>,
    query: RawQuery,
) -> Response {
    if visit.form_token.is_empty() {
        return accounts::return_from_microsoft(&site, query).await;
    }
    let (Some(cards), Some(numbers)) = (accounts::cards(&site).await, Numbers::of(&site).await)
    else {
        return odd();
    };
    let Reply::Hours { hours } = site.ask(Request::Hours { most: HOURS }).await else {
        return odd();
    };
    let face = site.clockface();
    let held = numbers.in_state(State::Held);
    let calm = |bad: bool, colour: &'static str| if bad { colour } else { "" };
    let throttled = numbers.throttled(&face);
    let figures = vec![
        Figure {
            live: "waiting",
            label: "waiting",
            value: numbers.on_their_way().to_string(),
            path: "/queue?state=queued",
            colour: "",
        },
        Figure {
            live: "oldest",
            label: "oldest waiting",
            value: numbers.oldest(&face),
            path: "/queue?state=queued",
            colour: "",
        },
        Figure {
            live: "throttled",
            label: "throttled",
            colour: calm(throttled != "no", "warn"),
            value: throttled,
            path: "/queue",
        },
        Figure {
            live: "state-held",
            label: "held",
            value: held.to_string(),
            path: "/queue?state=held",
            colour: calm(held > 0, "warn"),
        },
        Figure {
            live: "state-failed",
            label: "failed this week",
            value: numbers.in_state(State::Failed).to_string(),
            path: "/queue?state=failed",
            colour: calm(numbers.in_state(State::Failed) > 0, "bad"),
        },
        Figure {
            live: "state-sent",
            label: "sent this week",
            value: numbers.in_state(State::Sent).to_string(),
            path: "/queue?state=sent",
            colour: "",
        },
    ];
    let page = Overview {
        frame: Frame::new(&visit, "overview", "Overview"),
        unwell: unwell(&site).await,
        has_accounts: !cards.is_empty(),
        needing: cards.into_iter().filter(Card::needs_somebody).collect(),
        held,
        certificate: certificate(&site, face.now),
        figures,
        waiting: numbers.waiting.iter().map(|one| Lane::new(one, &face)).collect(),
        charts: charts(&hours, &face),
        rows: hours.iter().rev().filter_map(|hour| row(hour, &face)).collect(),
    };
    html(StatusCode::OK, &page)
}

/// The numbers that change while one looks, as they are shown.
pub(super) async fn live(Shared(site): Shared<Arc<Site>>) -> Response {
    let Some(numbers) = Numbers::of(&site).await else { return odd() };
    let face = site.clockface();
    let mut values = BTreeMap::from([
        ("waiting".to_owned(), numbers.on_their_way().to_string()),
        ("oldest".to_owned(), numbers.oldest(&face)),
        ("throttled".to_owned(), numbers.throttled(&face)),
    ]);
    let all: u64 = numbers.counts.iter().map(|(_, n)| n).sum();
    values.insert("state-all".to_owned(), all.to_string());
    for state in STATES {
        values.insert(format!("state-{}", state.name()), numbers.in_state(state).to_string());
    }
    Json(values).into_response()
}

async fn unwell(site: &Site) -> Option<String> {
    match tokio::time::timeout(HEALTH_TIME, site.ask(Request::Health {})).await {
        Ok(Reply::Healthy {}) => None,
        Ok(Reply::Refused { why }) => Some(why),
        Ok(_) => Some("its health is not known".to_owned()),
        Err(_) => Some("the store or the worker is slow to answer".to_owned()),
    }
}

fn certificate(site: &Site, now: Timestamp) -> Option<String> {
    let file = site.settings.borrow().certificates.certificate.clone();
    let end = tls::expires(&file).ok()??;
    let left = end.duration_since(now);
    if left > SignedDuration::from_hours(24 * CERTIFICATE_DAYS) {
        return None;
    }
    Some(match left.is_positive() {
        true => format!("The certificate that programs see ends in {}.", words::duration(left)),
        false => "The certificate that programs see has ended: they refuse it.".to_owned(),
    })
}

fn charts(hours: &[Hour], face: &Clockface) -> Vec<Drawn> {
    let times: Vec<String> = hours.iter().map(|hour| face.day_and_hour(hour.begins)).collect();
    let labels: Vec<String> = hours.iter().map(|hour| face.hour(hour.begins)).collect();
    let count = |name, class, of: fn(&Hour) -> u64| Series {
        name,
        class,
        values: hours.iter().map(|hour| Some(of(hour) as f64)).collect(),
    };
    let time = |name, class, of: fn(&Hour) -> Option<u64>| Series {
        name,
        class,
        values: hours.iter().map(|hour| of(hour).map(|ms| ms as f64)).collect(),
    };
    let ended = [
        count("sent", "good", |hour| hour.sent),
        count("held", "warn", |hour| hour.held),
        count("failed", "bad", |hour| hour.failed),
    ];
    let accepted = count("accepted", "line", |hour| hour.accepted);
    let latency = [
        time("half took no longer", "good", |hour| hour.median_ms),
        time("95 in 100 took no longer", "warn", |hour| hour.slow_ms),
    ];
    let put_off = [count("attempts put off", "warn", |hour| hour.put_off)];
    let whole = |value: f64| format!("{value:.0}");
    let spans = |value: f64| words::millis(value as u64);
    vec![
        Drawn {
            title: "Mails by hour",
            legend: vec![
                ("line", "accepted"),
                ("good", "sent"),
                ("warn", "held"),
                ("bad", "failed"),
            ],
            chart: chart::bars(&times, &labels, &ended, Some(&accepted), &whole),
            about: None,
        },
        Drawn {
            title: "From accepted to sent",
            legend: vec![("good", "half took no longer"), ("warn", "95 in 100 took no longer")],
            chart: chart::lines(&times, &labels, &latency, &spans),
            about: None,
        },
        Drawn {
            title: "Put off",
            legend: vec![("warn", "attempts put off")],
            chart: chart::bars(&times, &labels, &put_off, None, &whole),
            about: Some(
                "Attempts after which a mail waits for another: Microsoft asked for a pause, or did \
                 not answer."
                    .to_owned(),
            ),
        },
    ]
}

fn row(hour: &Hour, face: &Clockface) -> Option<HourRow> {
    let Hour { accepted, sent, failed, held, put_off, .. } = *hour;
    let span = |ms: Option<u64>| ms.map_or_else(|| "–".to_owned(), words::millis);
    (accepted + sent + failed + held + put_off > 0).then(|| HourRow {
        begins: face.day_and_hour(hour.begins),
        accepted,
        sent,
        failed,
        held,
        put_off,
        median: span(hour.median_ms),
        slow: span(hour.slow_ms),
    })
}
