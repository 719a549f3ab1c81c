//! The directory's checks that come before any sign-in: which tenant, which application, which
//! redirect URI. Pure but for reading the world.

use jiff::Timestamp;
use reqwest::Url;
use uuid::Uuid;

use super::aadsts::Refusal;
use super::grants::Grants;
use super::scope::{self, ScopeProblem};
use super::world::{User, World};

/// The tenant that stands for personal Microsoft accounts.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// Checks the tenant segment of a URL: `common`, `organizations`, our id, or a domain of ours.
pub fn check_tenant(world: &World, tenant: &str) -> Result<(), Refusal> {
    let is = |name: &str| tenant.eq_ignore_ascii_case(name);
    if is("common") || is("organizations") || is(&world.tenant_id.to_string()) {
        return Ok(());
    }
    if is("consumers") || is(CONSUMERS) {
        // The mailboxes here are work accounts.
        return Err(Refusal::new(50020));
    }
    let domains = world.users.iter().filter_map(|user| user.address.rsplit('@').next());
    if domains.into_iter().any(is) {
        return Ok(());
    }
    let tenant: String = tenant.chars().take(100).collect();
    Err(Refusal::with(
        90002,
        format!(
            "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are \
             signing into the correct cloud. Check with your subscription administrator, this may \
             happen if there are no active subscriptions for the tenant."
        ),
    ))
}

/// Checks a client id: a registered public client. Returns it in lower case.
pub fn check_client(world: &World, client_id: &str) -> Result<String, Refusal> {
    let parsed = Uuid::parse_str(client_id).ok();
    let registered = parsed.filter(|id| {
        let policy = world.identity.policy();
        policy.client_ids.as_ref().is_none_or(|ids| ids.contains(id))
    });
    registered.map(|id| id.to_string()).ok_or_else(|| {
        let client_id: String = client_id.chars().take(100).collect();
        Refusal::with(
            700016,
            format!(
                "Application with identifier '{client_id}' was not found in the directory '{}'. This \
                 can happen if the application has not been installed by the administrator of the \
                 tenant or consented to by any user in the tenant. You may have sent your \
                 authentication request to the wrong tenant.",
                world.tenant_id
            ),
        )
    })
}

/// Checks a redirect URI of a native application and returns where the answer goes.
///
/// reply-url (Microsoft identity platform): for `http://localhost` the port is ignored, the path is
/// not; a URI without a path is answered with `/`; `127.0.0.1` and `[::1]` are not registered.
pub fn check_redirect(redirect_uri: &str) -> Result<Url, Refusal> {
    const NATIVE: &str = "https://login.microsoftonline.com/common/oauth2/nativeclient";
    let mismatch = || {
        let uri: String = redirect_uri.chars().take(200).collect();
        Refusal::with(
            50011,
            format!(
                "The redirect URI '{uri}' specified in the request does not match the redirect URIs \
                 configured for the application. Make sure the redirect URI sent in the request \
                 matches one added to your application in the Azure portal."
            ),
        )
    };
    let url = Url::parse(redirect_uri).map_err(|_| mismatch())?;
    let loopback = url.scheme() == "http"
        && url.host_str() == Some("localhost")
        && url.path() == "/"
        && url.username().is_empty()
        && url.password().is_none();
    let bare = url.query().is_none() && url.fragment().is_none();
    if bare && (loopback || url.as_str() == NATIVE) { Ok(url) } else { Err(mismatch()) }
}

/// Reads a `scope` parameter.
pub fn check_scope(text: &str) -> Result<Vec<String>, Refusal> {
    let refuse = |scope: &str| {
        Refusal::with(
            70011,
            format!(
                "The provided request must include a 'scope' input parameter. The provided value \
                 for the input parameter 'scope' is not valid. The scope {scope} is not valid."
            ),
        )
    };
    match scope::parse(text) {
        Ok(scopes) if scopes.is_empty() => Err(Refusal::missing("scope")),
        Ok(scopes) => Ok(scopes),
        Err(ScopeProblem::Unknown(scope)) => Err(refuse(&scope)),
        Err(ScopeProblem::DefaultMixed) => Err(refuse(".default beside other scopes")),
        Err(ScopeProblem::TooMany) => Err(refuse("list")),
    }
}

/// The scopes that this user may not grant alone; empty when consent is his to give.
pub fn needs_administrator<'a>(
    world: &World,
    grants: &Grants,
    client_id: &str,
    scopes: &'a [String],
) -> Vec<&'a str> {
    let policy = world.identity.policy();
    let Some(own) = &policy.user_may_grant else { return Vec::new() };
    scopes
        .iter()
        .map(String::as_str)
        .filter(|name| !scope::is_openid(name) && !scope::contains(own, name))
        .filter(|name| !grants.tenant_has_consent(client_id, name))
        .collect()
}

/// The refusal that sends a user to the administrator, with the way there.
pub fn administrator_refusal(origin: &str, client_id: &str, scopes: &[&str]) -> Refusal {
    Refusal::with(
        90094,
        format!(
            "The grant requires administrator permission for '{}'. An administrator can give it at \
             {}",
            scopes.join(" "),
            admin_consent_url(origin, client_id, scopes)
        ),
    )
}

/// `{login}/organizations/v2.0/adminconsent?…`
pub fn admin_consent_url(origin: &str, client_id: &str, scopes: &[&str]) -> String {
    let scopes = scopes.join("%20");
    format!("{origin}/organizations/v2.0/adminconsent?client_id={client_id}&scope={scopes}")
}

/// The user that a `login_hint` or a form names.
pub fn find_user<'a>(world: &'a World, name: &str) -> Result<&'a User, Refusal> {
    world.user(name).ok_or_else(|| {
        let name: String = name.chars().take(200).collect();
        Refusal::with(
            50034,
            format!(
                "The user account {name} does not exist in the {} directory. To sign into this \
                 application, the account must be added to the directory.",
                world.tenant_id
            ),
        )
    })
}

/// Entra's `sub` is pairwise: another one for each application.
pub fn subject(user: &User, client_id: &str) -> String {
    Uuid::new_v5(&user.object_id, client_id.as_bytes()).simple().to_string()
}

/// Claims of an id_token (id-token-claims-reference), an hour long.
pub fn id_token_claims(
    world: &World,
    user: &User,
    grant: &super::grants::Grant,
    issuer: &str,
    now: Timestamp,
) -> serde_json::Value {
    let tenant = world.tenant_id;
    let issued = now.as_second();
    let mut claims = serde_json::json!({
        "aud": grant.client_id,
        "iss": issuer,
        "iat": issued,
        "nbf": issued,
        "exp": issued + super::grants::ACCESS_LIFE.as_secs(),
        "sub": subject(user, &grant.client_id),
        "tid": tenant,
        "uti": Uuid::new_v4().simple().to_string(),
        "ver": "2.0",
    });
    if let Some(fields) = claims.as_object_mut() {
        if scope::contains(&grant.scopes, "profile") {
            fields.insert("oid".into(), user.object_id.to_string().into());
            fields.insert("name".into(), user.display_name.clone().into());
            fields.insert("preferred_username".into(), user.address.clone().into());
        }
        if scope::contains(&grant.scopes, "email") {
            fields.insert("email".into(), user.address.clone().into());
        }
        if let Some(nonce) = &grant.nonce {
            fields.insert("nonce".into(), nonce.clone().into());
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_localhost_is_ignored_and_its_path_is_not() {
        for good in ["http://localhost", "http://localhost:50123", "http://localhost:1/"] {
            assert!(check_redirect(good).is_ok(), "{good}");
        }
        for bad in [
            "http://localhost:50123/callback",
            "http://127.0.0.1:50123",
            "http://[::1]:50123",
            "https://localhost:50123",
            "http://localhost.contoso.example",
            "http://user@localhost",
            "http://localhost/?x=1",
            "",
        ] {
            assert_eq!(check_redirect(bad).unwrap_err().code, 50011, "{bad}");
        }
    }
}
