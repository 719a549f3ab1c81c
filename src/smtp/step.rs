//! What passes between a [`Session`](super::session::Session) and its driver.
//!
//! The seam between deciding and doing: all of it is data.

use std::sync::Arc;

use super::auth::Credentials;
use super::reply::Reply;
use crate::account::Account;
use crate::submission::Envelope;

/// What the driver is to do next.
#[derive(Debug)]
pub enum Step<'i> {
    /// All input is used: write out what is due, then read more.
    Read,
    Reply(Reply),
    /// Check the login, then call `Session::authenticated`.
    Authenticate(Credentials),
    /// Is there room for a mail of so many octets (0: not said)? Then call `Session::room`.
    Room(u64),
    /// The next octets of a mail of `Session::account`.
    Write(&'i [u8]),
    /// The mail will not be taken: drop what was written of it.
    Abandon,
    /// All of it has arrived: check it, make it durable, reply.
    Commit(Box<Arrived>),
    /// Write out what is due, make the TLS handshake, then call `Session::secured`.
    StartTls,
    /// Write out what is due and close.
    Close,
}

/// A mail that has arrived whole.
#[derive(Debug)]
pub struct Arrived {
    pub envelope: Envelope,
    pub account: Arc<Account>,
    /// The header block, up to the blank line.
    pub head: Vec<u8>,
    pub octets: u64,
}

/// How the check of a login ended.
#[derive(Debug)]
pub enum Login {
    As(Arc<Account>),
    Wrong,
    /// Too many failures of late; the password was not looked at.
    Later,
    Unavailable,
}

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Clear {
        starttls: bool,
        /// AUTH without TLS: on loopback, and only where it is configured.
        auth: bool,
    },
    Tls,
}

/// What the client is doing, for the driver's time limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has not logged in.
    Stranger,
    /// Between or within commands.
    Command,
    /// It sends the text of a mail.
    Data,
}
