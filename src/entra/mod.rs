//! Microsoft Entra: signing in as a person, and keeping the sign-in alive.
//!
//! Everything about tokens that can be known without knowing who asked or where they are kept: the
//! clouds, the flows, what the answers mean, what to tell a person, and how a refresh token is sealed
//! for the disk. `access` puts it together with the store.
//!
//! ```text
//!  cloud    where Microsoft is                 token   what the token endpoint answers
//!  signin   code with PKCE, device code,       hint    AADSTS code → what to do
//!           refresh                            seal    a refresh token, for the disk
//!  http     one request, one answer             passphrase   the same, for another machine
//! ```

use std::time::Duration;

pub mod cloud;
pub mod hint;
pub mod http;
pub mod passphrase;
pub mod seal;
pub mod signin;
pub mod token;

pub use crate::secret::Secret;
pub use cloud::{Cloud, Settings};
pub use signin::{Entra, SetupError};

/// How a conversation with Entra can fail; nothing else crosses this border.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It may work later: busy, unreachable, or an answer that is not understood. Not before
    /// `after`, when that is given.
    #[error("{why}")]
    Later { after: Option<Duration>, why: String },
    /// Only a person can go on: the text says how.
    #[error("{why}")]
    NeedsSignIn {
        /// Entra refuses this very token (`invalid_grant`), so another may still be good.
        token_is_dead: bool,
        why: String,
    },
    /// This sign-in is over and nothing came of it; the text says why.
    #[error("{why}")]
    Refused { why: String },
}

fn refused(why: &str) -> Failure {
    Failure::Refused { why: why.to_owned() }
}
