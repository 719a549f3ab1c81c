//! What the page is made of, for as long as the daemon runs.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::tz::TimeZone;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::flows::Flows;
use super::sessions::Sessions;
use super::words::Clockface;
use crate::control::{self, Control, Reply, Request};
use crate::graph::tally::Tally;
use crate::link::Links;
use crate::listen::Places;
use crate::tls;

/// What the configuration says, and may say differently after a reload.
#[derive(Debug, Clone)]
pub struct Settings {
    pub metrics: bool,
    /// What clients are told to trust, and shown.
    pub certificates: tls::Files,
}

/// Where programs find us.
#[derive(Debug, Clone, Default)]
pub struct Servers {
    pub starttls: Vec<SocketAddr>,
    pub implicit_tls: Vec<SocketAddr>,
    /// Takes passwords in clear.
    pub clear: Vec<SocketAddr>,
    pub calendar: Vec<SocketAddr>,
    pub calendar_tls: Vec<SocketAddr>,
    /// What another device calls this machine.
    pub hostname: String,
}

/// What others count, read when somebody asks.
#[derive(Debug, Clone)]
pub struct Gauges {
    pub smtp: Places,
    pub caldav: Places,
    pub graph: Arc<Tally>,
}

pub struct Site {
    pub(super) control: Control,
    pub(super) links: Links,
    pub(super) settings: watch::Receiver<Settings>,
    pub(super) servers: Servers,
    pub(super) gauges: Gauges,
    pub(super) sessions: Sessions,
    pub(super) flows: Flows,
    pub(super) stop: CancellationToken,
}

impl Site {
    pub fn new(
        control: Control,
        links: Links,
        settings: watch::Receiver<Settings>,
        servers: Servers,
        gauges: Gauges,
        stop: CancellationToken,
    ) -> Site {
        let clock = control.store.clock().clone();
        let (sessions, flows) = (Sessions::new(clock.clone()), Flows::new(clock));
        Site { control, links, settings, servers, gauges, sessions, flows, stop }
    }

    pub(super) async fn ask(&self, request: Request) -> Reply {
        control::handle(request, &self.control).await
    }

    pub(super) fn clockface(&self) -> Clockface {
        Clockface { now: self.control.store.clock().now(), zone: TimeZone::system() }
    }
}
