//! postbridge: SMTP submission and iCalendar invites in, Microsoft Graph out.
pub mod account;
pub mod entra;
pub mod sandbox;
pub mod submission;
