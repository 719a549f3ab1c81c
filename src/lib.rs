//! postbridge: SMTP submission and iCalendar invites in, Microsoft Graph out.
pub mod access;
pub mod account;
pub mod cli;
pub mod control;
pub mod entra;
pub mod graph;
pub mod mime;
pub mod retry;
pub mod sandbox;
pub mod secret;
pub mod smtp;
pub mod store;
pub mod submission;
