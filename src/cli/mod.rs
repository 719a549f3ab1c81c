//! The commands: one file each.

pub mod account;
mod redirect;
pub mod sandbox;
