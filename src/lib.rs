//! postbridge: SMTP submission and iCalendar invites in, Microsoft Graph out.
pub mod account;
pub mod cli;
pub mod entra;
pub mod graph;
pub mod mime;
pub mod retry;
pub mod report;
pub mod sandbox;
pub mod store;
pub mod submission;
