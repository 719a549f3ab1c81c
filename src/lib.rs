//! postbridge: SMTP submission and iCalendar invites in, Microsoft Graph out.
pub mod account;
pub mod sandbox;
pub mod smtp;
pub mod submission;
