//! postbridge: SMTP submission and iCalendar invites in, Microsoft Graph out.
pub mod account;
pub mod cli;
pub mod sandbox;
pub mod submission;
