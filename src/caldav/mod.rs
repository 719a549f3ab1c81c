//! CalDAV (RFC 4791, RFC 6638): a calendar client's requests and our answers.
//!
//! What only computes is in files of its own, and `tests/house.rs` holds them to it: URLs ([`href`]),
//! request headers and bodies ([`header`], [`xml`], [`request`], [`report`], [`outbox`]), answers ([`markup`],
//! [`multistatus`], [`condition`]), what an object must be to be kept
//! ([`object`]), what is put into it ([`answers`]) and spooled for it ([`spooled`]), what is asked of the
//! objects that are kept ([`kept`], [`range`], [`filter`]) and what is given of them ([`calendar_data`],
//! [`free_busy`], [`floating`]); by which names we are asked ([`names`]), and how much ([`limits`]). Nothing here has heard
//! of Graph.

#![allow(clippy::result_large_err, reason = "a refusal is an answer as any other, and moved once")]

mod answer;
pub mod answers;
mod body;
mod busy;
pub mod calendar_data;
mod change;
mod clock;
pub mod condition;
mod connection;
mod discovery;
pub mod filter;
pub mod floating;
pub mod free_busy;
pub mod header;
pub mod href;
pub mod kept;
pub mod limits;
mod make;
pub mod markup;
pub mod multistatus;
pub mod names;
pub mod object;
pub mod outbox;
mod principals;
mod property;
mod propfind;
mod query;
pub mod range;
mod refuse;
pub mod report;
pub mod request;
mod retrieve;
pub mod server;
pub mod site;
pub mod spooled;
mod sync;
pub mod xml;
