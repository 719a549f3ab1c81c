//! Where Microsoft is: the clouds, their base URLs, and the settings that choose among them. Pure.
//!
//! Microsoft Entra, "National clouds" and Microsoft Graph, "National cloud deployments". Apps are
//! registered per cloud and tokens do not cross. Nothing here may be a secret: settings are shown.

use reqwest::Url;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

/// A deployment of Microsoft 365 with its own login and Graph hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Cloud {
    /// The worldwide service; also GCC.
    #[default]
    Global,
    /// US Government L4 (GCC High).
    UsGov,
    /// US Government L5 (DoD).
    UsGovDod,
    /// Operated by 21Vianet.
    China,
}

impl Cloud {
    /// Base of the sign-in endpoints, without a trailing slash.
    pub fn login(self) -> &'static str {
        match self {
            Cloud::Global => "https://login.microsoftonline.com",
            Cloud::UsGov | Cloud::UsGovDod => "https://login.microsoftonline.us",
            Cloud::China => "https://login.partner.microsoftonline.cn",
        }
    }

    /// Base of Graph, without version and trailing slash.
    pub fn graph(self) -> &'static str {
        match self {
            Cloud::Global => "https://graph.microsoft.com",
            Cloud::UsGov => "https://graph.microsoft.us",
            Cloud::UsGovDod => "https://dod-graph.microsoft.us",
            Cloud::China => "https://microsoftgraph.chinacloudapi.cn",
        }
    }

    /// A scope as this cloud wants it: a bare name means graph.microsoft.com, so outside the global
    /// cloud a Graph permission carries its host. The OpenID scopes stay bare everywhere.
    pub fn scope(self, bare: &str) -> String {
        // A Graph permission has a dot (`Mail.Send`); `openid`, `offline_access` … have none.
        if self == Cloud::Global || !bare.contains('.') {
            bare.to_owned()
        } else {
            format!("{}/{bare}", self.graph())
        }
    }
}

/// `https://graph.microsoft.us/Mail.Send` → `Mail.Send`, as permissions are stored and shown.
pub fn bare_scope(scope: &str) -> &str {
    match scope.strip_prefix("https://") {
        Some(rest) => rest.split_once('/').map_or(scope, |(_, name)| name),
        None => scope,
    }
}

/// The `[entra]` section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Application (client) ID of the app registration: a public client, without a secret.
    pub client_id: String,
    /// `organizations`, `common`, a tenant's GUID or one of its domains.
    #[serde(default = "organizations")]
    pub tenant: String,
    #[serde(default)]
    pub cloud: Cloud,
    /// Instead of the cloud's own base URL: the sandbox, or a cloud not known here.
    #[serde(default, deserialize_with = "optional_base_url")]
    pub login_url: Option<Url>,
    /// Likewise, for Graph (without `/v1.0`).
    #[serde(default, deserialize_with = "optional_base_url")]
    pub graph_url: Option<Url>,
}

fn organizations() -> String {
    "organizations".to_owned()
}

/// A setting that cannot be meant, and what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} = {value:?}: {remedy}")]
pub struct BadSetting {
    pub key: &'static str,
    pub value: String,
    pub remedy: &'static str,
}

impl Settings {
    /// Checks what the types cannot. The caller adds file and line.
    pub fn check(&self) -> Result<(), BadSetting> {
        let bad = |key, value: &str, remedy| BadSetting { key, value: value.to_owned(), remedy };
        if Uuid::try_parse(&self.client_id).is_err() {
            return Err(bad(
                "client_id",
                &self.client_id,
                "it is the Application (client) ID of your app registration, a GUID such as \
                 11111111-2222-3333-4444-555555555555 (Entra admin center, App registrations, \
                 Overview)",
            ));
        }
        let fit = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        if self.tenant.is_empty() || self.tenant.len() > 253 || !self.tenant.chars().all(fit) {
            return Err(bad(
                "tenant",
                &self.tenant,
                "it is organizations, a tenant ID (GUID) or a domain of the tenant",
            ));
        }
        for (key, url) in [("login_url", &self.login_url), ("graph_url", &self.graph_url)] {
            if let Some(url) = url
                && let Err(remedy) = check_base_url(url)
            {
                return Err(bad(key, url.as_str(), remedy));
            }
        }
        Ok(())
    }

    /// Base of the sign-in endpoints, without a trailing slash.
    pub fn login(&self) -> String {
        base(self.login_url.as_ref(), self.cloud.login())
    }

    /// Base of Graph, without version and trailing slash.
    pub fn graph(&self) -> String {
        base(self.graph_url.as_ref(), self.cloud.graph())
    }

    /// Where an administrator consents for the whole tenant (Entra: v2 admin consent). It signs
    /// nobody in; `scopes` are bare names.
    pub fn admin_consent_url(&self, scopes: &[&str]) -> String {
        let scopes: Vec<String> = scopes.iter().map(|scope| self.cloud.scope(scope)).collect();
        let base = format!("{}/{}/v2.0/adminconsent", self.login(), self.tenant);
        let query = [
            ("client_id", self.client_id.as_str()),
            ("scope", &scopes.join(" ")),
            ("redirect_uri", "http://localhost"),
        ];
        Url::parse_with_params(&base, query).map_or(base, String::from)
    }
}

fn base(overridden: Option<&Url>, own: &str) -> String {
    overridden.map_or(own, Url::as_str).trim_end_matches('/').to_owned()
}

/// Tokens travel to these hosts: TLS, unless they stay on this machine.
fn check_base_url(url: &Url) -> Result<(), &'static str> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err("leave user name and password out of the URL");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it is a base URL: leave out everything from '?' or '#' on");
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url) => Ok(()),
        "http" => Err("plain http is for localhost only, since tokens are sent there; use https"),
        _ => Err("use an https URL"),
    }
}

pub(super) fn is_loopback(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

fn optional_base_url<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Url>, D::Error> {
    let text = Option::<String>::deserialize(input)?;
    text.map(|text| {
        let url = Url::parse(&text).map_err(|e| {
            serde::de::Error::custom(format!("{text:?} is not a URL ({e}); use https://host"))
        })?;
        check_base_url(&url)
            .map(|()| url)
            .map_err(|remedy| serde::de::Error::custom(format!("{text:?}: {remedy}")))
    })
    .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "11111111-2222-3333-4444-555555555555";

    fn settings(toml: &str) -> Result<Settings, String> {
        let text = format!("client_id = \"{ID}\"\n{toml}");
        let settings: Settings = toml::from_str(&text).map_err(|e| e.to_string())?;
        settings.check().map_err(|e| e.to_string())?;
        Ok(settings)
    }

    #[test]
    fn each_cloud_has_its_own_hosts() {
        let gov = settings("cloud = \"us-gov-dod\"").unwrap();
        assert_eq!(gov.login(), "https://login.microsoftonline.us");
        assert_eq!(gov.graph(), "https://dod-graph.microsoft.us");
        let global = settings("").unwrap();
        assert_eq!(global.tenant, "organizations");
        assert_eq!(global.graph(), "https://graph.microsoft.com");
        let sandbox = settings("login_url = \"http://127.0.0.1:8080/\"").unwrap();
        assert_eq!(sandbox.login(), "http://127.0.0.1:8080");
    }

    #[test]
    fn outside_the_global_cloud_a_permission_names_its_graph() {
        assert_eq!(Cloud::Global.scope("Mail.Send"), "Mail.Send");
        assert_eq!(Cloud::UsGov.scope("Mail.Send"), "https://graph.microsoft.us/Mail.Send");
        assert_eq!(Cloud::UsGov.scope("offline_access"), "offline_access");
        assert_eq!(bare_scope("https://graph.microsoft.us/Mail.Send"), "Mail.Send");
        assert_eq!(bare_scope("openid"), "openid");
    }

    #[test]
    fn a_setting_that_would_leak_a_token_is_refused() {
        for (toml, part) in [
            ("login_url = \"http://login.example\"", "plain http"),
            ("graph_url = \"https://u:p@graph.example\"", "leave user name"),
            ("graph_url = \"ftp://graph.example\"", "https"),
            ("graph_url = \"https://graph.example/?x\"", "base URL"),
            ("tenant = \"a/b\"", "tenant"),
            ("clinet = 1", "clinet"),
        ] {
            let error = settings(toml).unwrap_err();
            assert!(error.contains(part), "{toml}: {error}");
        }
        let bad = Settings { client_id: "postbridge".into(), ..settings("").unwrap() };
        assert_eq!(bad.check().unwrap_err().key, "client_id");
    }

    #[test]
    fn the_admin_consent_url_names_app_and_scopes() {
        let url =
            settings("tenant = \"contoso.example\"").unwrap().admin_consent_url(&["Mail.Send"]);
        assert_eq!(
            url,
            format!(
                "https://login.microsoftonline.com/contoso.example/v2.0/adminconsent?client_id={ID}\
                 &scope=Mail.Send&redirect_uri=http%3A%2F%2Flocalhost"
            )
        );
    }
}
