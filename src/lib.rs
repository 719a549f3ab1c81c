//! postbridge: SMTP submission and iCalendar invites in, Microsoft Graph out.
pub mod account;
pub mod mime;
pub mod report;
pub mod sandbox;
pub mod submission;
