//! Our stand-in for Microsoft 365: sign-in, Graph mail, faults and a ledger, on loopback.
//!
//! It knows nothing of the bridge: no file in here may name one outside `sandbox/`, so that a
//! mistake of ours cannot cancel itself out. It is strict (closed request schemas), it has a memory,
//! and where Microsoft's behaviour is not documented it has a switch (see [`world::Switches`]).
//!
//! ```text
//!  request ─► journal ─► faults ─► identity            /{tenant}/oauth2/v2.0/…
//!                            └───► throttle ─► mail    /v1.0/…
//!                                                └───► ledger: a row for each copy delivered
//! ```

pub mod header;
pub mod identity;
pub mod ledger;
pub mod mail;
pub mod message;
pub mod mime;
pub mod odata;
pub mod page;
pub mod recipients;
pub mod render;
pub mod schema;
pub mod throttle;
pub mod user;
pub mod world;
