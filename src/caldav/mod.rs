//! CalDAV (RFC 4791, RFC 6638): a calendar client's requests and our answers.
//!
//! What only computes is in files of its own, and `tests/house.rs` holds them to it: URLs ([`href`]),
//! request bodies ([`xml`]), answers ([`markup`], [`multistatus`], [`condition`]). Nothing here has heard
//! of Graph.

pub mod condition;
pub mod href;
pub mod markup;
pub mod multistatus;
pub mod xml;
