//! Our stand-in for Microsoft 365: sign-in, Graph mail and calendar, faults and a ledger, on loopback.
//!
//! It knows nothing of the bridge: no file in here may name one outside `sandbox/`, so that a
//! mistake of ours cannot cancel itself out. It is strict (closed request schemas), it has a memory,
//! and where Microsoft's behaviour is not documented it has a switch (see [`world::Switches`]).
//!
//! ```text
//!  request ─► journal ─► throttle ─► faults ─► identity   /{tenant}/oauth2/v2.0/…
//!                                        ├───► mail       /v1.0/…/sendMail, messages, mailFolders
//!                                        ├───► calendar   /v1.0/…/events
//!                                        │      └──► ledger: a row for each copy delivered
//!                                        └───► uploads    /api/v2.0/… → mail, calendar
//!             control, ledger                             /_sandbox/…  (neither written down
//!             page                                        /, /mails/…   nor hurt)
//! ```

pub mod aadsts;
pub mod answer;
pub mod attachment;
pub mod authorize;
pub mod ca;
pub mod calendar;
pub mod calendar_changes;
pub mod calendar_request;
pub mod calendar_routes;
pub mod clock;
pub mod consent;
pub mod control;
pub mod delivery;
pub mod device;
pub mod directory;
pub mod discovery;
pub mod draft_routes;
pub mod drafts;
pub mod event;
pub mod event_json;
pub mod event_query;
pub mod faults;
pub mod folders;
pub mod grants;
pub mod header;
pub mod identity;
pub mod invitations;
pub mod item_id;
pub mod journal;
pub mod ledger;
pub mod mail;
pub mod mail_error;
pub mod mail_query;
pub mod mail_request;
pub mod mailbox;
pub mod message;
pub mod message_json;
pub mod mime;
pub mod mime_patch;
pub mod odata;
pub mod online_meeting;
pub mod page;
pub mod page_calendar;
pub mod page_drafts;
pub mod pages;
pub mod parsed;
pub mod recipients;
pub mod recurrence;
pub mod render;
pub mod request;
pub mod schema;
pub mod scope;
pub mod script;
pub mod series;
pub mod server;
pub mod signing;
pub mod throttle;
pub mod token;
pub mod transport;
pub mod upload;
pub mod upload_routes;
pub mod user;
pub mod world;
pub mod zones;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;

pub use server::{Options, Sandbox};
use world::World;

/// Everything that the sandbox answers.
pub fn router(world: Arc<World>) -> Router {
    let microsoft = Router::new()
        .merge(identity::router())
        .merge(mail::router())
        .merge(draft_routes::router())
        .merge(calendar_routes::router())
        .merge(upload_routes::router())
        .fallback(answer::unknown_route)
        // The journal has read the body already, within its own bound.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(world.clone(), faults::interpose))
        // Outside the faults: a delay by script is time in flight.
        .layer(from_fn_with_state(world.clone(), throttle::layer))
        .layer(from_fn_with_state(world.clone(), journal::keep));
    Router::new()
        .merge(control::router())
        .merge(ledger::router())
        .merge(page::router())
        .fallback_service(microsoft.with_state(world.clone()))
        .layer(from_fn_with_state(world.clone(), faults::catch_up))
        .layer(axum::middleware::from_fn(server::loopback_names_only))
        .with_state(world)
}
