//! What the identity side has handed out: codes, device codes, tokens, consents.
//!
//! RFC 6749 (codes and refresh tokens), RFC 7636 (PKCE), RFC 8628 (device code), with the lives and
//! the refusals of Entra. Time is an argument. Nothing here speaks HTTP.

use std::collections::{BTreeSet, HashMap};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::aadsts::Refusal;
use super::scope;

/// Entra: an authorization code lives about ten minutes.
const CODE_LIFE: SignedDuration = SignedDuration::from_mins(10);
/// Entra: a device code lives fifteen minutes.
pub const DEVICE_LIFE: SignedDuration = SignedDuration::from_mins(15);
/// Entra: a refresh token dies of 90 days without use.
const REFRESH_LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Entra: 60 to 90 minutes, `expires_in` says 3599 in the documentation's samples.
pub const ACCESS_LIFE: SignedDuration = SignedDuration::from_secs(3599);
/// More of one kind than this are not remembered: the sandbox runs for long, memory does not grow.
const KEPT_MAX: usize = 50_000;

/// Somebody's consent, for one application: what a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Object id.
    pub user: Uuid,
    /// Lower case.
    pub client_id: String,
    pub scopes: Vec<String>,
    /// OpenID Connect: returned in the id_token.
    pub nonce: Option<String>,
}

/// RFC 7636 §4.3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    Plain(String),
    S256(String),
}

impl Challenge {
    fn is_met_by(&self, verifier: &str) -> bool {
        match self {
            Challenge::Plain(challenge) => challenge == verifier,
            // RFC 7636 §4.6
            Challenge::S256(challenge) => {
                let hash = digest::digest(&digest::SHA256, verifier.as_bytes());
                *challenge == URL_SAFE_NO_PAD.encode(hash)
            }
        }
    }
}

/// An authorization code's other half.
#[derive(Debug, Clone)]
pub struct Authorization {
    pub grant: Grant,
    /// The tenant as the authorize URL spelt it.
    pub tenant: String,
    pub redirect_uri: String,
    pub challenge: Option<Challenge>,
}

/// What a client shows to redeem a code.
#[derive(Debug, Clone, Copy)]
pub struct Redemption<'a> {
    pub client_id: &'a str,
    pub tenant: &'a str,
    pub code: &'a str,
    pub redirect_uri: &'a str,
    pub verifier: Option<&'a str>,
}

#[derive(Debug)]
struct Code {
    authorization: Authorization,
    expires: Timestamp,
    redeemed: bool,
    revoked: bool,
}

/// A device sign-in under way.
#[derive(Debug, Clone)]
pub struct Device {
    pub client_id: String,
    pub scopes: Vec<String>,
    pub user_code: String,
    pub interval: SignedDuration,
    expires: Timestamp,
    polled: Option<Timestamp>,
    answer: DeviceAnswer,
}

#[derive(Debug, Clone)]
enum DeviceAnswer {
    Pending,
    Granted(Grant),
    Declined,
    Redeemed,
}

#[derive(Debug)]
struct Token {
    grant: Grant,
    issued: Timestamp,
    expires: Timestamp,
    revoked: bool,
}

/// What one token answer carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    pub access_token: String,
    /// Only with `offline_access`.
    pub refresh_token: Option<String>,
}

/// What an access token is found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    Valid(Grant),
    Expired(Grant),
    Revoked(Grant),
    Unknown,
}

#[derive(Debug, Default)]
pub struct Grants {
    codes: HashMap<String, Code>,
    devices: HashMap<String, Device>,
    refresh: HashMap<String, Token>,
    access: HashMap<String, Token>,
    /// By client id; `None` is the whole tenant, by its administrator.
    consents: HashMap<(String, Option<Uuid>), BTreeSet<String>>,
}

impl Grants {
    pub fn authorize(&mut self, now: Timestamp, authorization: Authorization) -> String {
        self.codes.retain(|_, code| code.expires + CODE_LIFE > now);
        let name = opaque("1.AX", 700);
        let code =
            Code { authorization, expires: now + CODE_LIFE, redeemed: false, revoked: false };
        insert_bounded(&mut self.codes, name.clone(), code);
        name
    }

    /// A refused redemption leaves the code as it was; a good one uses it up.
    pub fn redeem(&mut self, now: Timestamp, shown: Redemption<'_>) -> Result<Grant, Refusal> {
        let code = self.codes.get_mut(shown.code).ok_or_else(|| Refusal::new(70000))?;
        let made_for = &code.authorization;
        if made_for.grant.client_id != shown.client_id {
            return Err(Refusal::new(70000));
        }
        if code.redeemed {
            return Err(Refusal::new(54005));
        }
        if code.revoked {
            return Err(Refusal::new(50173));
        }
        if now >= code.expires {
            return Err(Refusal::new(70008));
        }
        if !made_for.tenant.eq_ignore_ascii_case(shown.tenant) {
            return Err(Refusal::new(700005));
        }
        if made_for.redirect_uri != shown.redirect_uri {
            return Err(Refusal::new(500112));
        }
        match (&made_for.challenge, shown.verifier) {
            (Some(_), None) => return Err(Refusal::missing("code_verifier").error("invalid_grant")),
            (Some(challenge), Some(verifier)) if !challenge.is_met_by(verifier) => {
                return Err(Refusal::new(501481));
            }
            _ => {}
        }
        code.redeemed = true;
        Ok(code.authorization.grant.clone())
    }

    /// Returns the device code.
    pub fn start_device(
        &mut self,
        now: Timestamp,
        client_id: &str,
        scopes: Vec<String>,
        interval: SignedDuration,
    ) -> (String, Device) {
        self.devices.retain(|_, device| device.expires + DEVICE_LIFE > now);
        let device = Device {
            client_id: client_id.to_owned(),
            scopes,
            user_code: user_code(),
            interval,
            expires: now + DEVICE_LIFE,
            polled: None,
            answer: DeviceAnswer::Pending,
        };
        let name = opaque("DAQ", 160);
        insert_bounded(&mut self.devices, name.clone(), device.clone());
        (name, device)
    }

    /// RFC 8628 §3.5.
    pub fn poll_device(
        &mut self,
        now: Timestamp,
        client_id: &str,
        device_code: &str,
    ) -> Result<Grant, Refusal> {
        let device = self.devices.get_mut(device_code).ok_or_else(|| Refusal::new(70018))?;
        if device.client_id != client_id {
            return Err(Refusal::new(70018));
        }
        if now >= device.expires {
            return Err(Refusal::new(70019));
        }
        match &device.answer {
            DeviceAnswer::Granted(grant) => {
                let grant = grant.clone();
                device.answer = DeviceAnswer::Redeemed;
                Ok(grant)
            }
            DeviceAnswer::Redeemed => Err(Refusal::new(54005)),
            DeviceAnswer::Declined => Err(Refusal::new(65004).error("authorization_declined")),
            DeviceAnswer::Pending => {
                let too_soon = device.polled.is_some_and(|last| {
                    // Half a second of grace: a client's timer and its request's way differ.
                    now < last + device.interval - SignedDuration::from_millis(500)
                });
                device.polled = Some(now);
                if too_soon {
                    // RFC 8628 §3.5: slow_down adds five seconds to the interval. Entra documents no
                    // number for it.
                    device.interval += SignedDuration::from_secs(5);
                    return Err(Refusal::new(70016).error("slow_down"));
                }
                Err(Refusal::new(70016))
            }
        }
    }

    /// The sign-in that a person has typed the code of, while it can still be answered.
    pub fn device_of(&self, now: Timestamp, user_code: &str) -> Option<&Device> {
        let typed = user_code.trim();
        self.devices.values().find(|device| {
            device.user_code.eq_ignore_ascii_case(typed)
                && now < device.expires
                && matches!(device.answer, DeviceAnswer::Pending)
        })
    }

    /// `None` declines. Says whether there was a pending sign-in of that code.
    pub fn answer_device(&mut self, now: Timestamp, user_code: &str, grant: Option<Grant>) -> bool {
        let Some(code) = self.device_of(now, user_code).map(|d| d.user_code.clone()) else {
            return false;
        };
        for device in self.devices.values_mut().filter(|device| device.user_code == code) {
            device.answer = match &grant {
                Some(grant) => DeviceAnswer::Granted(grant.clone()),
                None => DeviceAnswer::Declined,
            };
        }
        true
    }

    /// Tokens for a grant; the access token may carry fewer scopes than the refresh token keeps.
    pub fn issue(&mut self, now: Timestamp, grant: &Grant, access_scopes: &[String]) -> Issued {
        self.access.retain(|_, token| token.expires + SignedDuration::from_hours(24) > now);
        let token = |scopes: &[String], life: SignedDuration| Token {
            grant: Grant { scopes: scopes.to_vec(), nonce: None, ..grant.clone() },
            issued: now,
            expires: now + life,
            revoked: false,
        };
        let access_token = opaque("EwB", 1600);
        insert_bounded(&mut self.access, access_token.clone(), token(access_scopes, ACCESS_LIFE));
        let refresh_token = scope::contains(&grant.scopes, "offline_access").then(|| {
            let name = opaque("1.AR", 1200);
            insert_bounded(&mut self.refresh, name.clone(), token(&grant.scopes, REFRESH_LIFE));
            name
        });
        Issued { access_token, refresh_token }
    }

    /// Finds what a refresh token stands for. The token stays as it was: see [`Grants::retire`].
    pub fn refresh(
        &self,
        now: Timestamp,
        client_id: &str,
        refresh_token: &str,
    ) -> Result<Grant, Refusal> {
        let token = self.refresh.get(refresh_token).ok_or_else(|| Refusal::new(70000))?;
        if token.grant.client_id != client_id {
            return Err(Refusal::new(70000));
        }
        if token.revoked {
            return Err(Refusal::with(
                50173,
                format!(
                    "The provided grant has expired due to it being revoked, a fresh auth token is \
                     needed. The user might have changed or reset their password. The grant was \
                     issued on '{}' and the TokensValidFrom date (before which tokens are not valid) \
                     for this user is later.",
                    token.issued
                ),
            ));
        }
        if now >= token.expires {
            return Err(Refusal::new(700082));
        }
        Ok(token.grant.clone())
    }

    /// Forgets a refresh token that has been used. Entra does not: it leaves the old one valid.
    pub fn retire(&mut self, refresh_token: &str) {
        self.refresh.remove(refresh_token);
    }

    pub fn access(&self, now: Timestamp, access_token: &str) -> Access {
        match self.access.get(access_token) {
            None => Access::Unknown,
            Some(token) if token.revoked => Access::Revoked(token.grant.clone()),
            Some(token) if now >= token.expires => Access::Expired(token.grant.clone()),
            Some(token) => Access::Valid(token.grant.clone()),
        }
    }

    /// Whose code, device code or refresh token this is; for the journal, never for a decision.
    pub fn owner(&self, secret: &str) -> Option<Uuid> {
        let of_code = self.codes.get(secret).map(|code| code.authorization.grant.user);
        let of_token = || self.refresh.get(secret).map(|token| token.grant.user);
        let of_device = || match &self.devices.get(secret)?.answer {
            DeviceAnswer::Granted(grant) => Some(grant.user),
            _ => None,
        };
        of_code.or_else(of_token).or_else(of_device)
    }

    /// Ends access tokens, of one user or of all, as if their hour had passed.
    pub fn expire_access(&mut self, now: Timestamp, user: Option<Uuid>) {
        for token in self.access.values_mut().filter(|token| is_of(&token.grant, user)) {
            token.expires = token.expires.min(now);
        }
    }

    /// Revokes tokens of one user or of all: with `access_only` the refresh tokens live on.
    pub fn revoke(&mut self, user: Option<Uuid>, access_only: bool) {
        for token in self.access.values_mut().filter(|token| is_of(&token.grant, user)) {
            token.revoked = true;
        }
        if access_only {
            return;
        }
        for token in self.refresh.values_mut().filter(|token| is_of(&token.grant, user)) {
            token.revoked = true;
        }
        for code in self.codes.values_mut().filter(|c| is_of(&c.authorization.grant, user)) {
            code.revoked = true;
        }
    }

    /// `user` `None` is an administrator's consent, for the whole tenant.
    pub fn consent(&mut self, client_id: &str, user: Option<Uuid>, scopes: &[String]) {
        let consented = self.consents.entry((client_id.to_owned(), user)).or_default();
        consented.extend(scopes.iter().cloned());
    }

    pub fn has_consent(&self, client_id: &str, user: Uuid, name: &str) -> bool {
        [Some(user), None].into_iter().any(|who| {
            let consented = self.consents.get(&(client_id.to_owned(), who));
            consented.is_some_and(|scopes| scopes.contains(name))
        })
    }

    pub fn tenant_has_consent(&self, client_id: &str, name: &str) -> bool {
        let consented = self.consents.get(&(client_id.to_owned(), None));
        consented.is_some_and(|scopes| scopes.contains(name))
    }
}

fn is_of(grant: &Grant, user: Option<Uuid>) -> bool {
    user.is_none_or(|user| grant.user == user)
}

/// Beyond the bound nothing new is remembered, so that it is refused when it comes back.
fn insert_bounded<T>(map: &mut HashMap<String, T>, name: String, value: T) {
    if map.len() < KEPT_MAX {
        map.insert(name, value);
    }
}

/// A token that nobody can guess and nobody should read, as long as Entra's are.
fn opaque(prefix: &str, length: usize) -> String {
    let mut text = String::with_capacity(length + 43);
    text.push_str(prefix);
    while text.len() < length {
        let half = |_| Uuid::new_v4().into_bytes();
        text.push_str(&URL_SAFE_NO_PAD.encode([(); 3].map(half).concat()));
    }
    text.truncate(length);
    text
}

/// Nine characters, none of which is taken for another.
fn user_code() -> String {
    const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let octets = Uuid::new_v4().into_bytes();
    // Octets 6 and 8 of a version 4 UUID hold its version and variant.
    let chosen = octets.iter().enumerate().filter(|(at, _)| ![6, 8].contains(at)).take(9);
    chosen
        .filter_map(|(_, o)| LETTERS.get(usize::from(*o) % LETTERS.len()))
        .map(|c| char::from(*c))
        .collect()
}
