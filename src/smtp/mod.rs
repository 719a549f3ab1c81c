//! SMTP submission: RFC 6409 over RFC 5321, from the socket to the spool.
//!
//! Pure: [`mod@line`] and [`command`] read a command, [`auth`] a login, [`data`], [`header`] and
//! [`body`] the text of a mail; [`session`] decides in [`step`]s, [`reply`] speaks, [`limits`] counts.
//! At the sockets: [`server`] accepts and drains, `connection` drives one session, [`crate::tls`] holds
//! the key pair. Nothing here has ever heard of Graph.

pub mod auth;
pub mod body;
pub mod command;
mod connection;
pub mod data;
pub mod header;
pub mod limits;
pub mod line;
pub mod reply;
pub mod server;
pub mod session;
pub mod step;
mod stream;
