//! From what Entra says to what a person can do about it. Pure.
//!
//! Microsoft Entra, "Authentication and authorization error codes". Microsoft asks clients not to
//! decide on AADSTS numbers: decisions are made on `error` (see `token`), and the numbers only pick
//! the words here. Nothing here may hold or print a token.

use super::cloud::Settings;

/// Who can mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The user, by signing in again.
    SignIn,
    /// An administrator, by consenting for the tenant.
    AdminConsent,
    /// An administrator, in some other way.
    Admin,
    /// Whoever looks after the app registration or our configuration.
    Registration,
    /// Nobody: it passes.
    Wait,
    /// We sent something wrong.
    Bug,
}

/// AADSTS codes, who can mend them, and how, as a sentence.
const ADVICE: &[(&[u32], Remedy, &str)] = &[
    (&[50076], Remedy::SignIn, "Multifactor authentication is now required: sign in again."),
    (
        &[50072, 50079],
        Remedy::SignIn,
        "The user must register for multifactor authentication: sign in and follow the page.",
    ),
    (
        &[50078],
        Remedy::SignIn,
        "The multifactor sign-in is too old for the tenant's policy: sign in again.",
    ),
    (
        &[50158],
        Remedy::SignIn,
        "Conditional Access asks for a further step: sign in again in the browser.",
    ),
    (
        &[53000],
        Remedy::Admin,
        "Conditional Access wants a compliant device: sign in from a managed device, or ask \
         an administrator to exempt this app.",
    ),
    (
        &[53001],
        Remedy::Admin,
        "Conditional Access wants a domain-joined device: sign in from one, or ask an \
         administrator to exempt this app.",
    ),
    (
        &[530003],
        Remedy::SignIn,
        "Conditional Access wants a managed device, which a device code cannot prove: sign \
         in with the browser on a managed device.",
    ),
    (
        &[53002, 53003, 530032],
        Remedy::Admin,
        "Conditional Access or a tenant policy blocks this sign-in; trying again does not \
         help. Ask an administrator to allow this app.",
    ),
    (
        &[530035],
        Remedy::Admin,
        "The tenant's security defaults block this sign-in. Ask an administrator.",
    ),
    (
        &[65001],
        Remedy::AdminConsent,
        "Nobody has consented to these permissions yet: sign in and accept them, or let an \
         administrator consent.",
    ),
    (
        &[65004],
        Remedy::SignIn,
        "The request for permissions was declined: sign in again and accept it. With \
         --profile send-only it asks for less.",
    ),
    (
        &[65002],
        Remedy::Registration,
        "This client ID belongs to Microsoft and may not ask for these permissions: use your \
         own app registration.",
    ),
    (
        &[90094, 90095],
        Remedy::AdminConsent,
        "In this tenant an administrator must consent to these permissions. With --profile \
         send-only it asks only for what users may often grant by themselves.",
    ),
    (
        &[70008, 700082],
        Remedy::SignIn,
        "The stored sign-in has expired, usually after 90 days without use: sign in again.",
    ),
    (
        &[70043],
        Remedy::SignIn,
        "The tenant's sign-in frequency policy ended the sign-in: sign in again; it will \
         recur until an administrator exempts this app.",
    ),
    (
        &[700084],
        Remedy::Registration,
        "The app registration lists http://localhost as a single-page application, which \
         limits sign-in to 24 hours: move it to the platform 'Mobile and desktop \
         applications', then sign in again.",
    ),
    (
        &[50173],
        Remedy::SignIn,
        "The sign-in was revoked, by a changed password or an administrator: sign in again.",
    ),
    (
        &[50132, 50133],
        Remedy::SignIn,
        "The sign-in ended with a changed or expired password: sign in again.",
    ),
    (&[70000], Remedy::SignIn, "Microsoft no longer knows the stored sign-in: sign in again."),
    (&[50055, 50144], Remedy::SignIn, "The password has expired: change it, then sign in again."),
    (&[50057], Remedy::Admin, "The account is disabled. Ask an administrator."),
    (
        &[50034, 51004],
        Remedy::Registration,
        "This user is not in the tenant: check the address and the setting entra.tenant.",
    ),
    (
        &[16000, 50020, 90072, 500208],
        Remedy::SignIn,
        "That account does not belong to this tenant: sign in with the work account whose \
         mailbox it is (a private browser window helps), or check entra.tenant.",
    ),
    (
        &[50053],
        Remedy::Wait,
        "The account is locked for now, or the address is distrusted: wait, or ask an \
         administrator.",
    ),
    (
        &[50105],
        Remedy::Admin,
        "The app is only for assigned users: an administrator must assign this one \
         (Enterprise applications, Users and groups).",
    ),
    (
        &[500113, 900971],
        Remedy::Registration,
        "The app registration has no redirect address: add http://localhost under 'Mobile \
         and desktop applications'.",
    ),
    (
        &[50011],
        Remedy::Registration,
        "The app registration lacks this redirect address: add exactly http://localhost \
         under 'Mobile and desktop applications'.",
    ),
    (
        &[50194],
        Remedy::Registration,
        "The app is registered for one tenant: set entra.tenant to its tenant ID.",
    ),
    (
        &[9002332, 90124, 90130],
        Remedy::Registration,
        "App and tenant setting do not fit together: set entra.tenant to your tenant ID.",
    ),
    (
        &[700011, 700016],
        Remedy::Registration,
        "This tenant does not know the app: check entra.client_id, entra.tenant and \
         entra.cloud.",
    ),
    (
        &[7000218],
        Remedy::Registration,
        "The app registration is not a public client: set 'Allow public client flows' to Yes \
         (Authentication).",
    ),
    (
        &[90002, 90038],
        Remedy::Registration,
        "There is no such tenant in this cloud: check entra.tenant and entra.cloud.",
    ),
    (
        &[650052],
        Remedy::Admin,
        "The tenant has no licence for the service asked for. Ask an administrator.",
    ),
    (
        &[650056, 650057],
        Remedy::Registration,
        "The app registration lacks the Graph permissions: add them under 'API permissions' \
         (delegated).",
    ),
    (&[54005], Remedy::SignIn, "The sign-in code was already used: start the sign-in again."),
    (&[70018], Remedy::SignIn, "The device code was not recognised: start the sign-in again."),
    (&[70019, 70020], Remedy::SignIn, "The device code has expired: start the sign-in again."),
    (&[50196], Remedy::Wait, "Microsoft saw the same request too often and asks for a pause."),
    (
        &[50033, 50087, 50134, 90006, 90012, 90024, 90033, 90055],
        Remedy::Wait,
        "Microsoft has a passing fault.",
    ),
    (
        &[
            14400, 90013, 90014, 50147, 70011, 501481, 700022, 700025, 900144, 900561, 9002313,
            500112,
        ],
        Remedy::Bug,
        "Microsoft did not understand the request. This should not happen; please report it \
         with the text above.",
    ),
];

/// What a code means here, if that is known.
pub fn advice(code: u32) -> Option<(Remedy, &'static str)> {
    let found = ADVICE.iter().find(|(codes, ..)| codes.contains(&code))?;
    Some((found.1, found.2))
}

/// The sentence for a code without one of its own, from `error` and `suberror`.
fn advice_by_error(error: &str, suberror: Option<&str>) -> (Remedy, &'static str) {
    use Remedy::*;
    match (error, suberror) {
        (_, Some("consent_required")) | ("consent_required", _) => (
            AdminConsent,
            "Consent is missing: sign in and accept the permissions, or let an administrator \
             consent.",
        ),
        (_, Some("user_password_expired")) => {
            (SignIn, "The password has expired: change it, then sign in again.")
        }
        (_, Some("additional_action")) => (
            Admin,
            "Something else must be done first, such as making the device compliant; signing \
             in again will say what.",
        ),
        ("invalid_client" | "unauthorized_client", _) => (
            Registration,
            "Microsoft does not accept the app: check entra.client_id and entra.tenant, and \
             that 'Allow public client flows' is Yes.",
        ),
        ("invalid_scope" | "invalid_resource", _) => (
            Registration,
            "Microsoft does not know the permissions asked for: check entra.cloud and the \
             app registration.",
        ),
        ("access_denied" | "authorization_declined", _) => {
            (SignIn, "The sign-in was declined: start it again when it was not meant so.")
        }
        ("expired_token" | "code_expired", _) => {
            (SignIn, "The code has expired: start the sign-in again.")
        }
        _ => (SignIn, "Sign in again."),
    }
}

/// What Entra answered, as far as words depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    pub error: &'a str,
    pub suberror: Option<&'a str>,
    /// The first AADSTS number.
    pub code: Option<u32>,
}

/// What to do, in words; with the administrator's link where that is the way.
pub fn what_to_do(said: Said<'_>, settings: &Settings, scopes: &[&str]) -> String {
    let (remedy, sentence) =
        said.code.and_then(advice).unwrap_or_else(|| advice_by_error(said.error, said.suberror));
    if remedy == Remedy::AdminConsent {
        format!("{sentence} Administrator's link: {}", settings.admin_consent_url(scopes))
    } else {
        sentence.to_owned()
    }
}

/// What will not work without a permission that was asked for and not granted.
pub fn without(scope: &str) -> &'static str {
    match scope {
        "Mail.Send" => "no mail can be sent",
        "Mail.ReadWrite" => {
            "mail goes out in one step, without a draft: large mails are refused, and a mail whose \
             outcome stays unknown is held for you to decide"
        }
        "Calendars.ReadWrite" => "invitations go out as plain mail, without a calendar entry",
        _ => "something that was asked for may not work",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        toml::from_str("client_id = \"11111111-2222-3333-4444-555555555555\"").unwrap()
    }

    fn check(error: &str, suberror: Option<&str>, code: Option<u32>, expected: &str) {
        let got = what_to_do(Said { error, suberror, code }, &settings(), &["Mail.Send"]);
        assert!(got.contains(expected), "{error} {suberror:?} {code:?}: {got}");
    }

    #[test]
    fn a_known_code_has_its_own_words() {
        check("invalid_grant", None, Some(50173), "revoked");
        check("invalid_grant", None, Some(53003), "Conditional Access");
        check("invalid_client", None, Some(7000218), "Allow public client flows");
        check("invalid_grant", Some("basic_action"), Some(50076), "Multifactor");
    }

    #[test]
    fn where_an_administrator_must_consent_the_link_is_given() {
        for code in [65001, 90094, 90095] {
            check("invalid_grant", None, Some(code), "/organizations/v2.0/adminconsent?client_id=");
        }
        check("invalid_grant", Some("consent_required"), None, "adminconsent");
    }

    #[test]
    fn an_unknown_code_is_explained_by_its_error() {
        check("invalid_client", None, Some(1), "entra.client_id");
        check("something_new", None, None, "Sign in again");
    }

    #[test]
    fn every_code_is_explained_once_and_in_a_sentence() {
        let mut seen = std::collections::HashSet::new();
        for (codes, _, text) in ADVICE {
            assert!(text.ends_with('.'), "{codes:?}: {text}");
            assert!(codes.iter().all(|code| seen.insert(code)), "{codes:?} again");
        }
    }
}
