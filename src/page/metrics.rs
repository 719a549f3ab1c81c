//! The same in numbers, as Prometheus reads them (text exposition format 0.0.4), on `/metrics`.
//!
//! Everything is read at the moment that somebody asks; the parts keep plain counts and know nothing of this.
//! Whoever can connect may read it, so no address, no subject and no id is in a label.

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet, prometheus_text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::queue::STATES;
use super::site::Site;
use super::words;
use crate::account::Standing;
use crate::graph::tally::Kind;
use crate::store::StoreError;
use crate::store::tally::{BOUNDS_S, Counted};
use crate::tls;

/// `text/plain; version=0.0.4` is what the format calls itself.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn metrics(State(site): State<Arc<Site>>) -> Response {
    if !site.settings.borrow().metrics {
        return StatusCode::NOT_FOUND.into_response();
    }
    let Ok(reading) = Reading::take(&site).await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let mut registry = Registry::with_prefix("postbridge");
    registry.register_collector(Box::new(reading));
    let mut text = String::new();
    match prometheus_text::encode(&mut text, &registry) {
        Ok(()) => ([(CONTENT_TYPE, TEXT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// All numbers of one moment.
#[derive(Debug)]
struct Reading {
    entries: Vec<(&'static str, u64)>,
    oldest_s: f64,
    accounts: Vec<(&'static str, u64)>,
    counted: Counted,
    graph: Vec<(&'static str, u64)>,
    throttled: usize,
    connections: [(&'static str, usize); 2],
    renewals: [(&'static str, u64); 2],
    certificate_ends_s: Option<f64>,
    spool_octets: u64,
    quota_octets: u64,
}

impl Reading {
    async fn take(site: &Site) -> Result<Reading, StoreError> {
        let store = &site.control.store;
        let counts = store.counts().await?;
        let of = |state| counts.iter().find(|(one, _)| *one == state).map_or(0, |(_, n)| *n);
        let oldest = store.on_their_way().await?.iter().map(|one| one.oldest_at).min();
        let oldest = oldest.map(|at| store.clock().now().duration_since(at));
        let accounts = store.accounts().await?;
        let standings = [
            (words::standing(&Standing::Ready).1, "ready"),
            (words::standing(&Standing::New).1, "new"),
            (words::standing(&Standing::NeedsSignIn(String::new())).1, "needs_sign_in"),
        ];
        let stand = |words: &str| {
            accounts.iter().filter(|one| words::standing(&one.standing).1 == words).count() as u64
        };
        let graph = &site.gauges.graph;
        let pace = site.control.pace.as_ref();
        let (renewed, not_renewed) = site.control.access.renewals();
        let certificate = site.settings.borrow().certificates.certificate.clone();
        let ends = tls::expires(&certificate).ok().flatten();
        let (spool_octets, quota_octets) = store.spool_octets();
        Ok(Reading {
            entries: STATES.iter().map(|&state| (state.name(), of(state))).collect(),
            oldest_s: oldest.map_or(0.0, |age| age.as_secs_f64().max(0.0)),
            accounts: standings.iter().map(|(words, name)| (*name, stand(words))).collect(),
            counted: store.counted(),
            graph: Kind::ALL.iter().map(|&kind| (kind.name(), graph.counted(kind))).collect(),
            throttled: pace.map_or(0, |pace| pace.throttled()),
            connections: [
                ("smtp", site.gauges.smtp.count()),
                ("caldav", site.gauges.caldav.count()),
            ],
            renewals: [("renewed", renewed), ("failed", not_renewed)],
            certificate_ends_s: ends.map(|at| at.as_second() as f64),
            spool_octets,
            quota_octets,
        })
    }
}

impl Collector for Reading {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut out = Out(encoder);
        let of_2 = |all: &[(&'static str, usize)]| {
            all.iter().map(|(name, n)| (*name, *n as u64)).collect::<Vec<_>>()
        };
        out.info("build", "The program that answers", &[("version", env!("CARGO_PKG_VERSION"))])?;
        out.gauges("entries", "Entries of the spool by state", "state", &self.entries)?;
        let age = "Age of the oldest mail that waits; 0 if none does";
        out.gauge("oldest_waiting_age", age, Some(Unit::Seconds), self.oldest_s)?;
        out.gauges("accounts", "Accounts by standing", "standing", &self.accounts)?;
        for (name, help, count) in [
            ("mails_accepted", "Mails and changes that were taken", self.counted.accepted),
            ("mails_sent", "Mails that Microsoft 365 has taken", self.counted.sent),
            ("mails_failed", "Mails that were refused for good", self.counted.failed),
            ("mails_held", "Mails of which nobody knows whether they went", self.counted.held),
            (
                "mails_put_off",
                "Attempts after which a mail waits for another",
                self.counted.put_off,
            ),
        ] {
            out.counter(name, help, count)?;
        }
        out.latency(&self.counted)?;
        out.counters(
            "graph_requests",
            "Requests to Graph by what came of them",
            "answer",
            &self.graph,
        )?;
        let help = "Mailboxes that Microsoft wants left alone";
        out.gauge("throttled_mailboxes", help, None, self.throttled as f64)?;
        let open = of_2(&self.connections);
        out.gauges("connections", "Connections that are open", "protocol", &open)?;
        let help = "Renewals of access tokens by how they ended";
        out.counters("token_renewals", help, "outcome", &self.renewals)?;
        if let Some(ends) = self.certificate_ends_s {
            let help = "When the certificate that clients see ends, in seconds since 1970";
            out.gauge("certificate_expiry_timestamp", help, Some(Unit::Seconds), ends)?;
        }
        let help = "Octets of mails that wait or are kept";
        out.gauge("spool_used", help, Some(Unit::Bytes), self.spool_octets as f64)?;
        let help = "Octets that waiting mails may hold";
        out.gauge("spool_quota", help, Some(Unit::Bytes), self.quota_octets as f64)
    }
}

struct Out<'e>(DescriptorEncoder<'e>);

type Label = [(&'static str, &'static str); 1];

impl Out<'_> {
    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        value: f64,
    ) -> Result<(), fmt::Error> {
        let kind = MetricType::Gauge;
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, unit.as_ref(), kind)?)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: &[(&'static str, u64)],
    ) -> Result<(), fmt::Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for &(value, count) in values {
            let label: Label = [(label, value)];
            ConstGauge::new(count as f64).encode(family.encode_family(&label)?)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, count: u64) -> Result<(), fmt::Error> {
        let metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(count).encode(metric)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: &[(&'static str, u64)],
    ) -> Result<(), fmt::Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for &(value, count) in values {
            let label: Label = [(label, value)];
            ConstCounter::new(count).encode(family.encode_family(&label)?)?;
        }
        Ok(())
    }

    /// A gauge that is always 1, for the sake of its labels.
    fn info<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        labels: &L,
    ) -> Result<(), fmt::Error> {
        let name = format!("{name}_info");
        let mut family = self.0.encode_descriptor(&name, help, None, MetricType::Gauge)?;
        ConstGauge::new(1_i64).encode(family.encode_family(labels)?)
    }

    fn latency(&mut self, counted: &Counted) -> Result<(), fmt::Error> {
        let latency = &counted.latency;
        let bounds = BOUNDS_S.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(latency.buckets).collect();
        let count = latency.buckets.iter().sum();
        let help = "Time from the acceptance of a mail until it was sent";
        let unit = Unit::Seconds;
        let mut metric = self.0.encode_descriptor(
            "delivery_latency",
            help,
            Some(&unit),
            MetricType::Histogram,
        )?;
        metric.encode_histogram::<NoLabelSet>(latency.sum.as_secs_f64(), count, &buckets, None)
    }
}
