//! What `postbridge doctor` found, in words: a line for each thing, with what to do about it; and the text
//! for the tenant's administrator, where something needs one.

use std::fmt::Write;

use serde::Serialize;

use crate::account::Profile;
use crate::entra::Settings;
use crate::entra::hint::{self, Remedy};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Good,
    Bad,
    NotLookedAt,
}

/// One thing that was looked at, or was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// For machines: `certificate`, `mailbox`, …
    pub check: &'static str,
    pub subject: String,
    pub outcome: Outcome,
    pub text: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Only an administrator of the tenant can mend it.
    pub needs_administrator: bool,
}

impl Finding {
    fn new(check: &'static str, subject: &str, outcome: Outcome, text: String) -> Finding {
        let subject = subject.to_owned();
        Finding { check, subject, outcome, text, remedy: None, needs_administrator: false }
    }

    pub fn good(check: &'static str, subject: &str, text: impl ToString) -> Finding {
        Finding::new(check, subject, Outcome::Good, text.to_string())
    }

    pub fn bad(check: &'static str, subject: &str, text: impl ToString, remedy: &str) -> Finding {
        let bad = Finding::new(check, subject, Outcome::Bad, text.to_string());
        Finding { remedy: (!remedy.is_empty()).then(|| remedy.to_owned()), ..bad }
    }

    pub fn not_looked_at(check: &'static str, subject: &str, because: impl ToString) -> Finding {
        Finding::new(check, subject, Outcome::NotLookedAt, because.to_string())
    }

    #[must_use]
    pub fn for_the_administrator(mut self, needed: bool) -> Finding {
        self.needs_administrator = needed;
        self
    }

    pub fn line(&self) -> String {
        let mark = match self.outcome {
            Outcome::Good => '✓',
            Outcome::Bad => '✗',
            Outcome::NotLookedAt => '–',
        };
        let mut line = format!("{mark} {}: {}", self.subject, self.text);
        if let Some(remedy) = &self.remedy {
            let _ = write!(line, "\n    → {remedy}");
        }
        line
    }
}

/// Whether a text of Entra's names what only an administrator can mend.
pub fn is_for_the_administrator(text: &str) -> bool {
    let after = text.split("AADSTS").skip(1);
    let codes = after.filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..end)?.parse().ok()
    });
    let administrators = [Remedy::Admin, Remedy::AdminConsent];
    codes.filter_map(hint::advice).any(|(remedy, _)| administrators.contains(&remedy))
}

/// To be sent as it stands.
pub fn to_the_administrator(settings: &Settings, profile: Profile, findings: &[Finding]) -> String {
    let permissions: Vec<&str> =
        profile.scopes().iter().copied().filter(|scope| scope.contains('.')).collect();
    let mut text = format!(
        "I use postbridge, which sends the mail of programs on my machine through Microsoft Graph as me. \
         It needs your help:\n\n\
         Application (client) ID: {}\n\
         Delegated permissions (Microsoft Graph): {}; openid profile email offline_access\n\
         Consent for the tenant: {}\n\
         Conditional Access and assignment: Entra admin center, Enterprise applications, this application; \
         policies that ask for a compliant device or block this sign-in must exempt it for me. It signs in in \
         the browser, as a public client, with http://localhost as redirect address.\n\nWhat I see:\n",
        settings.client_id,
        permissions.join(" "),
        settings.admin_consent_url(profile.scopes()),
    );
    for finding in findings.iter().filter(|finding| finding.needs_administrator) {
        let _ = writeln!(text, "- {}: {}", finding.subject, finding.text);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entras_numbers_tell_who_can_mend_it() {
        for (text, expected) in [
            ("Blocked. (Microsoft: AADSTS53003: Access has been blocked)", true),
            ("(Microsoft: AADSTS65001: The user or administrator has not consented)", true),
            ("(Microsoft: AADSTS50173: The provided grant has expired)", false),
            ("AADSTS", false),
            ("an administrator", false),
        ] {
            assert_eq!(is_for_the_administrator(text), expected, "{text}");
        }
    }
}
