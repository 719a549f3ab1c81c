//! postbridge: SMTP submission and iCalendar invites in, Microsoft Graph out.
pub mod account;
pub mod entra;
pub mod graph;
pub mod mime;
pub mod retry;
pub mod cli;
pub mod sandbox;
pub mod smtp;
pub mod store;
pub mod submission;
