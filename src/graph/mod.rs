//! Microsoft Graph v1.0, as far as a mail or an event needs it.
//!
//! Knows HTTP and Graph's JSON; knows nothing of the store, of plans or of who asked. What Graph
//! answers becomes a value or a [`Failure`]: nothing else crosses this border. Nothing in here
//! retries, and no layer below does: a call is one request.

pub mod calendars;
mod client;
pub mod convert;
pub mod difference;
pub mod draft;
pub mod event;
mod failure;
pub mod forecast;
mod mail;
pub mod message;
pub mod online_meeting;
pub mod outside;
pub mod pace;
pub mod resource;
pub mod tally;
pub mod upload;
mod window;
pub mod zone;

pub use client::{Graph, Unusable};
pub use failure::Failure;
pub use mail::Me;
