//! A placeholder for the identity part: bearer tokens known by heart.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// Whom an access token speaks for, and what it allows.
#[derive(Debug, Clone)]
pub struct Caller {
    pub user: Uuid,
    pub scopes: Vec<String>,
    pub application: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BearerProblem {
    #[error("Access token is empty.")]
    Missing,
    #[error("Access token has expired or is not yet valid.")]
    Invalid,
}

#[derive(Debug, Default)]
pub struct Identity {
    tokens: Mutex<HashMap<String, Caller>>,
}

impl Identity {
    pub fn caller(&self, authorization_header: Option<&str>) -> Result<Caller, BearerProblem> {
        let token = authorization_header
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or(BearerProblem::Missing)?;
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.get(token).cloned().ok_or(BearerProblem::Invalid)
    }

    pub fn accept(&self, token: &str, caller: Caller) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(token.to_owned(), caller);
    }
}
