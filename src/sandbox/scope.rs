//! OAuth scopes as Entra's v2.0 endpoints read them. Pure.
//!
//! A bare name means Microsoft Graph: `User.Read` is `https://graph.microsoft.com/User.Read`
//! (scopes-oidc, Microsoft identity platform). Names compare without case.

/// What this directory knows; anything else is AADSTS70011, so that a misspelt scope is seen here.
const KNOWN: &[&str] = &[
    "openid",
    "profile",
    "email",
    "offline_access",
    ".default",
    "User.Read",
    "User.ReadBasic.All",
    "Mail.ReadBasic",
    "Mail.Read",
    "Mail.Read.Shared",
    "Mail.ReadWrite",
    "Mail.ReadWrite.Shared",
    "Mail.Send",
    "Mail.Send.Shared",
    "MailboxSettings.Read",
    "MailboxSettings.ReadWrite",
    "Calendars.Read",
    "Calendars.ReadBasic",
    "Calendars.Read.Shared",
    "Calendars.ReadWrite",
    "Calendars.ReadWrite.Shared",
    "Contacts.Read",
    "Contacts.ReadWrite",
];

const GRAPH: &str = "https://graph.microsoft.com/";

/// A request names at most this many.
const COUNT_MAX: usize = 50;

/// Why a `scope` parameter is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeProblem {
    /// Not a scope of OpenID Connect or of Microsoft Graph.
    Unknown(String),
    /// `.default` stands beside named scopes (AADSTS70011 as well).
    DefaultMixed,
    TooMany,
}

/// Parses a space-separated list into canonical names, in the order given, each once.
pub fn parse(text: &str) -> Result<Vec<String>, ScopeProblem> {
    let mut scopes: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let bare = match word.get(..GRAPH.len()) {
            Some(prefix) if prefix.eq_ignore_ascii_case(GRAPH) => &word[GRAPH.len()..],
            _ => word,
        };
        let known = KNOWN.iter().find(|name| name.eq_ignore_ascii_case(bare));
        let name = known.ok_or_else(|| ScopeProblem::Unknown(word.chars().take(200).collect()))?;
        if !scopes.iter().any(|scope| scope == name) {
            scopes.push((*name).to_owned());
        }
        if scopes.len() > COUNT_MAX {
            return Err(ScopeProblem::TooMany);
        }
    }
    let resource_scopes = scopes.iter().filter(|scope| !is_openid(scope)).count();
    if resource_scopes > 1 && contains(&scopes, ".default") {
        return Err(ScopeProblem::DefaultMixed);
    }
    Ok(scopes)
}

/// Whether the scope belongs to OpenID Connect: no consent policy holds it back.
pub fn is_openid(scope: &str) -> bool {
    ["openid", "profile", "email", "offline_access"].iter().any(|s| s.eq_ignore_ascii_case(scope))
}

pub fn contains(scopes: &[String], name: &str) -> bool {
    scopes.iter().any(|scope| scope.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_and_its_graph_url_are_one_scope() {
        let got = parse("user.read https://graph.microsoft.com/User.Read openid").unwrap();
        assert_eq!(got, ["User.Read", "openid"]);
    }

    #[test]
    fn a_misspelt_scope_is_refused_by_name() {
        assert_eq!(parse("Mail.Sned"), Err(ScopeProblem::Unknown("Mail.Sned".into())));
        assert_eq!(parse("https://gräph/x"), Err(ScopeProblem::Unknown("https://gräph/x".into())));
        assert_eq!(parse(".default Mail.Send"), Err(ScopeProblem::DefaultMixed));
        assert!(parse(".default offline_access").is_ok());
    }
}
