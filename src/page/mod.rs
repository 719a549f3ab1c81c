//! The status page: what the bridge does, for a person at this machine; and the same in numbers, for
//! programs.
//!
//! Everything that is changed goes through [`crate::control::handle`], as from a command, and what is shown
//! comes from there as well. It is on loopback and still has strangers to fear: other users of the machine,
//! and every web page that a browser on it opens. So nothing is answered before `guard` has looked at it.
//! Nothing here may show a token, run a script of somebody else's, or load anything from anywhere.

mod accounts;
mod assets;
pub mod chart;
mod flows;
mod frame;
mod guard;
mod health;
mod invites;
mod metrics;
mod overview;
mod queue;
mod routes;
pub mod server;
mod sessions;
mod setup;
mod site;
mod words;

pub use site::{Gauges, Servers, Settings, Site};
