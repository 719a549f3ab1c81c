//! What an SMTP client hands in beside the message itself: the envelope. Pure.
//!
//! RFC 5321 §2.3.1 (envelope and content), RFC 3461 (the DSN parameters), RFC 6531 (SMTPUTF8).
//! The forward-paths are the delivery set: Graph mails exactly these addresses, or the submission
//! is refused. Nothing here must look at the content.

use serde::{Deserialize, Serialize};

use crate::account::Address;

/// RFC 3461 §4.1: when the sender wants to be told about a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Notify {
    pub never: bool,
    pub success: bool,
    pub failure: bool,
    pub delay: bool,
}

impl Notify {
    /// RFC 3461 §4.1: without NOTIFY, failures are reported (and delays may be).
    pub fn wants_failure(self) -> bool {
        !self.never && (self.failure || !(self.success || self.delay))
    }

    /// RFC 3461 §5.2.5: a delay may be reported where it was asked for, or nothing was said.
    pub fn wants_delay(self) -> bool {
        !self.never && (self.delay || !(self.success || self.failure))
    }

    /// RFC 3461 §4.1: a success only where it was asked for.
    pub fn wants_success(self) -> bool {
        !self.never && self.success
    }
}

/// RFC 3461 §4.3: how much of the message a failure report returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Return {
    Full,
    Headers,
}

/// One RCPT TO.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardPath {
    pub address: Address,
    #[serde(default)]
    pub notify: Notify,
    /// RFC 3461 §4.2, as given (`rfc822;…`), at most 500 octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orcpt: Option<String>,
}

impl From<Address> for ForwardPath {
    fn from(address: Address) -> ForwardPath {
        ForwardPath { address, notify: Notify::default(), orcpt: None }
    }
}

/// The parameters of MAIL FROM that outlive the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct MailParameters {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<Return>,
    /// RFC 3461 §4.4, at most 100 octets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
    #[serde(default)]
    pub smtputf8: bool,
}

/// Reverse-path and forward-paths of one mail: never without a recipient, not even through serde.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Envelope {
    reverse_path: Option<Address>,
    forward_paths: Vec<ForwardPath>,
    parameters: MailParameters,
}

#[derive(Deserialize)]
struct Unchecked {
    reverse_path: Option<Address>,
    forward_paths: Vec<ForwardPath>,
    #[serde(default)]
    parameters: MailParameters,
}

/// An envelope needs somebody to deliver to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an envelope without a recipient")]
pub struct NoRecipient;

impl Envelope {
    /// `reverse_path` is `None` for the null reverse-path `<>`. A forward-path that was given twice
    /// (RFC 5321 §4.5.5 lets a client do so; case does not count) is kept once, the first time.
    pub fn new(
        reverse_path: Option<Address>,
        forward_paths: Vec<ForwardPath>,
        parameters: MailParameters,
    ) -> Result<Envelope, NoRecipient> {
        let mut seen = std::collections::HashSet::new();
        let forward_paths: Vec<ForwardPath> =
            forward_paths.into_iter().filter(|path| seen.insert(path.address.key())).collect();
        if forward_paths.is_empty() {
            return Err(NoRecipient);
        }
        Ok(Envelope { reverse_path, forward_paths, parameters })
    }

    pub fn reverse_path(&self) -> Option<&Address> {
        self.reverse_path.as_ref()
    }

    pub fn forward_paths(&self) -> &[ForwardPath] {
        &self.forward_paths
    }

    /// The delivery set.
    pub fn recipients(&self) -> impl Iterator<Item = &Address> {
        self.forward_paths.iter().map(|path| &path.address)
    }

    /// The same with these recipients alone; `None` when none of them is in it.
    pub fn only(&self, recipients: &[Address]) -> Option<Envelope> {
        let kept = self.forward_paths.iter().filter(|path| recipients.contains(&path.address));
        Envelope::new(self.reverse_path.clone(), kept.cloned().collect(), self.parameters.clone())
            .ok()
    }

    pub fn parameters(&self) -> &MailParameters {
        &self.parameters
    }
}

impl TryFrom<Unchecked> for Envelope {
    type Error = NoRecipient;
    fn try_from(u: Unchecked) -> Result<Envelope, NoRecipient> {
        Envelope::new(u.reverse_path, u.forward_paths, u.parameters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn an_envelope_has_a_recipient_or_does_not_exist() {
        assert_eq!(Envelope::new(None, vec![], MailParameters::default()), Err(NoRecipient));
        let json = r#"{"reverse_path":null,"forward_paths":[]}"#;
        assert!(serde_json::from_str::<Envelope>(json).is_err());
    }

    #[test]
    fn a_recipient_named_twice_is_one_recipient() {
        let paths = ["b@contoso.example", "B@Contoso.example", "c@contoso.example"];
        let paths = paths.map(|p| ForwardPath::from(address(p))).to_vec();
        let envelope = Envelope::new(None, paths, MailParameters::default()).unwrap();
        let got: Vec<_> = envelope.recipients().map(Address::as_str).collect();
        assert_eq!(got, ["b@contoso.example", "c@contoso.example"]);
    }

    #[test]
    fn without_notify_a_failure_is_reported() {
        assert!(Notify::default().wants_failure());
        assert!(!Notify { never: true, ..Notify::default() }.wants_failure());
        assert!(!Notify { success: true, ..Notify::default() }.wants_failure());
        assert!(Notify { failure: true, delay: true, ..Notify::default() }.wants_failure());
    }

    #[test]
    fn a_delay_is_reported_unless_something_else_was_asked_for_and_a_success_only_if_it_was() {
        let delay = Notify { delay: true, ..Notify::default() };
        let success = Notify { success: true, ..Notify::default() };
        let failure = Notify { failure: true, ..Notify::default() };
        let never = Notify { never: true, ..Notify::default() };
        let wants = |notify: Notify| (notify.wants_delay(), notify.wants_success());
        assert_eq!(wants(Notify::default()), (true, false));
        assert_eq!(wants(delay), (true, false));
        assert_eq!(wants(success), (false, true));
        assert_eq!(wants(failure), (false, false));
        assert_eq!(wants(never), (false, false));
    }
}
