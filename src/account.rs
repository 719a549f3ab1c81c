//! Who may send, and as whom. Pure.
//!
//! An [`Address`] is an RFC 5321 mailbox that has been parsed once and is never a bare `String`
//! again; an [`Account`] is one Microsoft 365 mailbox, served for one local login.
//! This file must never touch a token: what an account may do is data, how it proves it is `access`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An RFC 5321 §4.1.2 mailbox: `local-part@domain`, or `local-part@[address-literal]`.
///
/// The domain is lower-cased at parse; the local part is kept as given. Two addresses are the same
/// mailbox for Exchange when they differ in case only: compare with [`Address::same_mailbox`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    text: String,
    at: usize,
}

/// Why a text is not a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("it has no '@'")]
    NoAt,
    #[error("nothing stands before the '@'")]
    NoLocalPart,
    #[error("the local part is longer than 64 octets")]
    LongLocalPart,
    #[error("the domain is missing, too long or malformed")]
    BadDomain,
    #[error("it holds a space, a control character or an angle bracket outside quotes")]
    BadCharacter,
}

impl Address {
    /// Parses a mailbox as it stands between the angle brackets of a path.
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        // RFC 5321 §4.5.3.1.1: a local part has at most 64 octets; §4.5.3.1.2: a domain 255.
        let at = text.rfind('@').ok_or(AddressError::NoAt)?;
        let (local, domain) = (&text[..at], &text[at + 1..]);
        if local.is_empty() {
            return Err(AddressError::NoLocalPart);
        }
        if local.len() > 64 {
            return Err(AddressError::LongLocalPart);
        }
        if !local_part_is_fit(local) {
            return Err(AddressError::BadCharacter);
        }
        if !domain_is_fit(domain) {
            return Err(AddressError::BadDomain);
        }
        Ok(Address { text: format!("{local}@{}", domain.to_lowercase()), at })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn local_part(&self) -> &str {
        &self.text[..self.at]
    }

    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// The form that addresses are compared and counted by: all lower case.
    pub fn key(&self) -> String {
        self.text.to_lowercase()
    }

    pub fn same_mailbox(&self, other: &Address) -> bool {
        // RFC 5321 §2.4 lets a host tell `A@` from `a@`; Exchange never does.
        self.key() == other.key()
    }
}

/// RFC 5321 §4.1.2 `Local-part`, or RFC 6531 §3.3 with characters beyond ASCII.
fn local_part_is_fit(local: &str) -> bool {
    let quoted = local.len() >= 2 && local.starts_with('"') && local.ends_with('"');
    if quoted {
        let mut escaped = false;
        for c in local[1..local.len() - 1].chars() {
            match c {
                _ if c.is_control() => return false,
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return false,
                _ => {}
            }
        }
        return !escaped;
    }
    // Quirk(devices): leading, trailing and doubled dots are not RFC 5321, yet mobile carriers
    // issued such mailboxes; Graph says whether it takes them.
    !local.chars().any(|c| c.is_control() || c.is_whitespace() || "<>()[],;:\\\"@".contains(c))
}

fn domain_is_fit(domain: &str) -> bool {
    if domain.is_empty() || domain.len() > 255 {
        return false;
    }
    if let Some(literal) = domain.strip_prefix('[').and_then(|d| d.strip_suffix(']')) {
        return !literal.is_empty()
            && literal.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-".contains(&b));
    }
    domain.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    })
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Address, AddressError> {
        Address::parse(text)
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;
    fn try_from(text: String) -> Result<Address, AddressError> {
        Address::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.text
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

/// Our own name for an account; never shown to Microsoft, never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountId(pub Uuid);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an account asks Microsoft for. Delegated permissions only: there is no tenant-wide mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Mail and calendar.
    #[default]
    Full,
    /// Mail, sent safely by way of drafts; no calendar.
    Mail,
    /// `Mail.Send` alone: what a user can still grant where Microsoft's managed consent policy
    /// keeps the rest for an administrator.
    SendOnly,
}

impl Profile {
    /// The scopes asked for at sign-in (Graph: permissions reference).
    pub fn scopes(self) -> &'static [&'static str] {
        const SEND_ONLY: &[&str] =
            &["openid", "profile", "email", "offline_access", "User.Read", "Mail.Send"];
        const MAIL: &[&str] = &[
            "openid",
            "profile",
            "email",
            "offline_access",
            "User.Read",
            "Mail.Send",
            "Mail.ReadWrite",
        ];
        const FULL: &[&str] = &[
            "openid",
            "profile",
            "email",
            "offline_access",
            "User.Read",
            "Mail.Send",
            "Mail.ReadWrite",
            "Calendars.ReadWrite",
        ];
        match self {
            Profile::Full => FULL,
            Profile::Mail => MAIL,
            Profile::SendOnly => SEND_ONLY,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Profile::Full => "full",
            Profile::Mail => "mail",
            Profile::SendOnly => "send-only",
        }
    }
}

/// The stable identity of a person at Entra: `oid` within `tid` (id_token claims reference).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub object_id: String,
    pub tenant_id: String,
}

/// Whether an account can act now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "why", rename_all = "kebab-case")]
pub enum Standing {
    /// Added, never signed in.
    New,
    Ready,
    /// Microsoft no longer takes the stored token; mail waits. The text says what to do.
    NeedsSignIn(String),
}

/// One Microsoft 365 mailbox and what it may do. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub id: AccountId,
    /// The primary address; also the local login name.
    pub address: Address,
    /// Further addresses of the same mailbox, read from Graph at sign-in (`proxyAddresses`).
    pub aliases: Vec<Address>,
    /// Addresses that the configuration lets it send as (Send As, Send on Behalf).
    pub send_as: Vec<Address>,
    pub profile: Profile,
    /// The scopes that Entra granted, which may be fewer than the profile asks for.
    pub granted: Vec<String>,
    pub person: Option<Person>,
    pub standing: Standing,
}

impl Account {
    /// Whether MAIL FROM and `From:` may hold this address (RFC 6409 §6.1).
    pub fn may_send_as(&self, address: &Address) -> bool {
        self.senders().any(|own| own.same_mailbox(address))
    }

    /// All addresses it may send as, the primary one first.
    pub fn senders(&self) -> impl Iterator<Item = &Address> {
        std::iter::once(&self.address).chain(&self.aliases).chain(&self.send_as)
    }

    /// Whether Entra granted this permission.
    pub fn has(&self, scope: &str) -> bool {
        self.granted.iter().any(|granted| granted.eq_ignore_ascii_case(scope))
    }

    /// Asked-for scopes that were not granted: what will not work until they are.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> {
        // `offline_access` and the OpenID scopes are not always named in the token answer.
        self.profile
            .scopes()
            .iter()
            .copied()
            .filter(|scope| scope.contains('.') && !self.has(scope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, AddressError>) {
        let got = Address::parse(text);
        assert_eq!(got.as_ref().map(Address::as_str), expected.as_ref().map(|s| *s), "{text:?}");
    }

    #[test]
    fn a_mailbox_is_parsed_once_and_its_domain_lower_cased() {
        check("Adele.Vance@Contoso.Example", Ok("Adele.Vance@contoso.example"));
        check("x@[1.2.3.4]", Ok("x@[1.2.3.4]"));
        check("x@[IPv6:2001:db8::1]", Ok("x@[ipv6:2001:db8::1]"));
        check("\"a b@c\"@contoso.example", Ok("\"a b@c\"@contoso.example"));
        check("jürgen@bücher.example", Ok("jürgen@bücher.example"));
        check("scanner@localhost", Ok("scanner@localhost"));
    }

    #[test]
    fn what_is_no_mailbox_is_refused_with_a_reason() {
        check("adele", Err(AddressError::NoAt));
        check("@contoso.example", Err(AddressError::NoLocalPart));
        check("a b@contoso.example", Err(AddressError::BadCharacter));
        check("a\r\nb@contoso.example", Err(AddressError::BadCharacter));
        check("a<b@contoso.example", Err(AddressError::BadCharacter));
        check("\"a\"b\"@contoso.example", Err(AddressError::BadCharacter));
        check("a@", Err(AddressError::BadDomain));
        check("a@b..c", Err(AddressError::BadDomain));
        check("a@b\r\nc", Err(AddressError::BadDomain));
        check(&format!("{}@b.example", "a".repeat(65)), Err(AddressError::LongLocalPart));
    }

    #[test]
    fn addresses_that_differ_in_case_are_one_mailbox() {
        let parse = |text| Address::parse(text).unwrap();
        assert!(parse("Adele@contoso.example").same_mailbox(&parse("adele@CONTOSO.example")));
        assert!(!parse("adele@contoso.example").same_mailbox(&parse("alex@contoso.example")));
    }
}
