//! SASL over SMTP: RFC 4954 (AUTH), RFC 4616 (PLAIN), draft-murchison-sasl-login (LOGIN). Pure.
//!
//! Turns what the client sends into [`Credentials`], and never judges them. Nothing here must be
//! logged, printed or kept after the login is decided.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// Quirk(devices): some firmware leaves the padding out; it carries no meaning.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    Login,
}

/// A user name and a password as the client gave them.
pub struct Credentials {
    pub login: String,
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// An exchange that waits for the client's next line.
#[derive(Debug)]
pub enum Exchange {
    Plain,
    LoginUsername,
    LoginPassword(String),
}

/// What comes of a line.
#[derive(Debug)]
pub enum Turn {
    /// Send this challenge.
    Challenge(Exchange),
    Done(Credentials),
    /// `*` (RFC 4954 §4).
    Cancelled,
    /// Not base64, or not the mechanism's form.
    Malformed,
}

/// The AUTH command. `initial` is the initial response as it stands on the line, if there is one.
pub fn begin(mechanism: Mechanism, initial: Option<&str>) -> Turn {
    match (mechanism, initial) {
        (Mechanism::Plain, None) => Turn::Challenge(Exchange::Plain),
        (Mechanism::Login, None) => Turn::Challenge(Exchange::LoginUsername),
        (Mechanism::Plain, Some(response)) => Exchange::Plain.respond(initial_response(response)),
        (Mechanism::Login, Some(response)) => {
            Exchange::LoginUsername.respond(initial_response(response))
        }
    }
}

/// RFC 4954 §4: a single `=` is a response of no octets.
fn initial_response(response: &str) -> &str {
    if response == "=" { "" } else { response }
}

impl Exchange {
    /// The text of the 334 reply. Quirk(neomutt): the LOGIN challenges must be exactly these.
    pub fn challenge(&self) -> &'static str {
        match self {
            Exchange::Plain => "",
            Exchange::LoginUsername => "VXNlcm5hbWU6",
            Exchange::LoginPassword(_) => "UGFzc3dvcmQ6",
        }
    }

    /// The client's answer to the challenge, without its CRLF.
    pub fn respond(self, line: &str) -> Turn {
        if line == "*" {
            return Turn::Cancelled;
        }
        let Some(text) = decode(line) else { return Turn::Malformed };
        match self {
            Exchange::Plain => plain(&text),
            Exchange::LoginUsername => {
                Turn::Challenge(Exchange::LoginPassword(text.as_str().to_owned()))
            }
            Exchange::LoginPassword(login) => Turn::Done(Credentials { login, password: text }),
        }
    }
}

fn decode(line: &str) -> Option<Zeroizing<String>> {
    let octets = BASE64.decode(line).ok()?;
    match String::from_utf8(octets) {
        Ok(text) => Some(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            None
        }
    }
}

/// RFC 4616 §2: `[authzid] NUL authcid NUL passwd`.
fn plain(text: &str) -> Turn {
    let mut parts = text.split('\0');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        // Acting for somebody else is not a thing here: the authorisation identity is absent, or it
        // is the login itself.
        (Some(authzid), Some(login), Some(password), None)
            if authzid.is_empty() || authzid.eq_ignore_ascii_case(login) =>
        {
            Turn::Done(Credentials {
                login: login.to_owned(),
                password: Zeroizing::new(password.to_owned()),
            })
        }
        _ => Turn::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `login/password`, the challenge, or why not.
    fn show(turn: Turn) -> String {
        match turn {
            Turn::Challenge(exchange) => format!("334 {}", exchange.challenge()),
            Turn::Done(c) => format!("{}/{}", c.login, c.password.as_str()),
            Turn::Cancelled => "cancelled".into(),
            Turn::Malformed => "malformed".into(),
        }
    }

    fn encode(text: &str) -> String {
        BASE64.encode(text)
    }

    #[test]
    fn plain_comes_with_or_without_an_initial_response() {
        assert_eq!(show(begin(Mechanism::Plain, Some(&encode("\0adele\0secret")))), "adele/secret");
        assert_eq!(show(begin(Mechanism::Plain, Some(&encode("adele\0adele\0s")))), "adele/s");
        assert_eq!(show(begin(Mechanism::Plain, Some(&encode("alex\0adele\0s")))), "malformed");
        assert_eq!(show(begin(Mechanism::Plain, None)), "334 ");
        assert_eq!(show(Exchange::Plain.respond(&encode("\0adele\0secret"))), "adele/secret");
        assert_eq!(show(begin(Mechanism::Plain, Some("="))), "malformed");
    }

    #[test]
    fn login_asks_for_the_user_name_and_the_password_in_the_words_that_clients_expect() {
        assert_eq!(show(begin(Mechanism::Login, None)), "334 VXNlcm5hbWU6");
        assert_eq!(show(begin(Mechanism::Login, Some(&encode("adele")))), "334 UGFzc3dvcmQ6");
        assert_eq!(show(begin(Mechanism::Login, Some("="))), "334 UGFzc3dvcmQ6");
        let password = Exchange::LoginPassword("adele".into());
        assert_eq!(show(password.respond(&encode("secret"))), "adele/secret");
    }

    #[test]
    fn a_star_cancels_and_what_is_not_base64_is_malformed() {
        assert_eq!(show(Exchange::Plain.respond("*")), "cancelled");
        assert_eq!(show(Exchange::LoginUsername.respond("*")), "cancelled");
        assert_eq!(show(Exchange::LoginUsername.respond("%%%")), "malformed");
        assert_eq!(show(Exchange::Plain.respond("/w==")), "malformed");
        assert_eq!(show(Exchange::LoginUsername.respond("YWRlbGU")), "334 UGFzc3dvcmQ6");
    }

    #[test]
    fn credentials_do_not_show_in_debug_output() {
        let Turn::Done(credentials) = begin(Mechanism::Plain, Some(&encode("\0adele\0secret")))
        else {
            panic!("no credentials")
        };
        assert!(!format!("{credentials:?}").contains("secret"));
    }
}
