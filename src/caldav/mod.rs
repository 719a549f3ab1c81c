//! CalDAV (RFC 4791, RFC 6638): a calendar client's requests and our answers.
//!
//! What only computes is in files of its own, and `tests/house.rs` holds them to it: URLs ([`href`]),
//! request headers and bodies ([`header`], [`xml`], [`request`], [`report`]), answers ([`markup`],
//! [`multistatus`], [`condition`]), what an object must be to be kept ([`object`]), what is asked of the objects that are kept ([`kept`], [`range`], [`filter`]) and what
//! is given of them ([`calendar_data`], [`free_busy`]). Nothing here has heard of Graph.

pub mod calendar_data;
pub mod condition;
pub mod filter;
pub mod free_busy;
pub mod header;
pub mod href;
pub mod kept;
pub mod markup;
pub mod multistatus;
pub mod object;
pub mod range;
pub mod report;
pub mod request;
pub mod xml;
