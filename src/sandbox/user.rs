//! Graph's user resource, and whose request it is: `/me` and `/users/{id}`.
//!
//! Source: Graph v1.0 "get a user" (default properties, `$select`), permissions reference. Only the
//! signed-in user is shown: the applications that come here ask for no directory permission.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use super::identity::{BearerProblem, Caller};
use super::odata::ODataError;
use super::world::{User, World};

/// Properties that a user resource shows without `$select`.
const DEFAULT_PROPERTIES: [&str; 11] = [
    "businessPhones",
    "displayName",
    "givenName",
    "jobTitle",
    "mail",
    "mobilePhone",
    "officeLocation",
    "preferredLanguage",
    "surname",
    "userPrincipalName",
    "id",
];

pub async fn me(
    State(world): State<Arc<World>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, ODataError> {
    let caller = caller(&world, &headers)?;
    let user = of(&world, &caller)?;
    show(&caller, user, query.as_deref())
}

pub async fn by_id(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, ODataError> {
    let caller = caller(&world, &headers)?;
    let user = named(&world, &id)?;
    if user.object_id != caller.user {
        return Err(insufficient_privileges());
    }
    show(&caller, user, query.as_deref())
}

/// Whose token it is; 401 without a good one.
pub fn caller(world: &World, headers: &HeaderMap) -> Result<Caller, ODataError> {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    world.identity.caller(authorization).map_err(|problem| {
        let status = StatusCode::UNAUTHORIZED;
        ODataError::new(status, BearerProblem::CODE, problem.to_string())
    })
}

/// The caller's own user resource.
pub fn of<'a>(world: &'a World, caller: &Caller) -> Result<&'a User, ODataError> {
    let found = world.users.iter().find(|user| user.object_id == caller.user);
    found.ok_or_else(|| not_found(&caller.user.to_string()))
}

/// A user by object id or address.
pub fn named<'a>(world: &'a World, key: &str) -> Result<&'a User, ODataError> {
    world.user(key).ok_or_else(|| not_found(key))
}

fn not_found(key: &str) -> ODataError {
    let text = format!(
        "Resource '{key}' does not exist or one of its queried reference-property objects are not \
         present."
    );
    ODataError::new(StatusCode::NOT_FOUND, "Request_ResourceNotFound", text)
}

fn insufficient_privileges() -> ODataError {
    ODataError::forbidden(
        "Authorization_RequestDenied",
        "Insufficient privileges to complete the operation.",
    )
}

fn show(caller: &Caller, user: &User, query: Option<&str>) -> Result<Json<Value>, ODataError> {
    let allowed = ["User.Read", "User.ReadWrite", "User.ReadBasic.All", "User.Read.All"];
    if !allowed.iter().any(|scope| caller.may(scope)) {
        return Err(insufficient_privileges());
    }
    let all = resource(user);
    let names = selected(query)?;
    let names: Vec<&str> = match &names {
        Some(names) => names.iter().map(String::as_str).collect(),
        None => DEFAULT_PROPERTIES.to_vec(),
    };
    let mut shown = Map::new();
    let context = match query {
        Some(_) => format!("$metadata#users({})/$entity", names.join(",")),
        None => "$metadata#users/$entity".to_owned(),
    };
    shown.insert("@odata.context".to_owned(), context.into());
    for name in names {
        let known = all.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let (known, value) = known.ok_or_else(|| no_property(name))?;
        shown.insert(known.clone(), value.clone());
    }
    Ok(Json(Value::Object(shown)))
}

fn no_property(name: &str) -> ODataError {
    let text = format!(
        "Parsing OData Select and Expand failed: Could not find a property named '{name}' on type \
         'microsoft.graph.user'."
    );
    ODataError::bad_request("RequestBroker--ParseUri", text)
}

/// The names in `$select`; other OData options are refused, because they would be ignored.
fn selected(query: Option<&str>) -> Result<Option<Vec<String>>, ODataError> {
    let mut names = None;
    let url = format!("http://localhost/?{}", query.unwrap_or_default());
    let url = reqwest::Url::parse(&url).map_err(|_| bad_query(query.unwrap_or_default()))?;
    for (name, value) in url.query_pairs() {
        match name.to_ascii_lowercase().as_str() {
            "$select" => names = Some(value.split(',').map(|n| n.trim().to_owned()).collect()),
            option if option.starts_with('$') => return Err(bad_query(option)),
            _ => {}
        }
    }
    Ok(names)
}

fn bad_query(option: &str) -> ODataError {
    let text = format!("The query specified in the URI is not valid: '{option}'.");
    ODataError::bad_request("RequestBroker--ParseUri", text)
}

fn resource(user: &User) -> Map<String, Value> {
    let (given, surname) = user.display_name.split_once(' ').unwrap_or((&user.display_name, ""));
    // Exchange marks the primary address by upper case.
    let proxies = std::iter::once(format!("SMTP:{}", user.address))
        .chain(user.aliases.iter().map(|alias| format!("smtp:{alias}")));
    let all = json!({
        "id": user.object_id,
        "businessPhones": [],
        "displayName": user.display_name,
        "givenName": given,
        "jobTitle": null,
        "mail": user.address,
        "mobilePhone": null,
        "officeLocation": null,
        "preferredLanguage": null,
        "surname": surname,
        "userPrincipalName": user.address,
        "userType": "Member",
        "accountEnabled": true,
        "proxyAddresses": proxies.collect::<Vec<String>>(),
        "otherMails": [],
    });
    match all {
        Value::Object(properties) => properties,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn select_is_read_and_other_options_are_refused() {
        let names = selected(Some("$select=id,mail&x=1")).unwrap().unwrap();
        assert_eq!(names, ["id", "mail"]);
        assert_eq!(selected(None).unwrap(), None);
        assert!(selected(Some("%24select=id")).unwrap().is_some());
        assert!(selected(Some("$expand=manager")).is_err());
    }
}
