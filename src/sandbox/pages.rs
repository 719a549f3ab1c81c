//! The sign-in side's HTML: one plain shell, and what stands in it.
//!
//! Nothing is fetched from anywhere, nothing runs: the policy allows inline style only. All text
//! is escaped by the templates.

use askama::Template;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use axum::response::{Html, IntoResponse, Response};

use super::aadsts::{Ids, Refusal};
use super::world::User;

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{ title }} · Sandbox sign-in</title>
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { margin: 0; display: grid; min-height: 100vh; place-items: center; background: Canvas }
main { width: min(30rem, calc(100vw - 4rem)); padding: 1.5rem 2rem; border-radius: 8px;
  border: 1px solid color-mix(in srgb, CanvasText 20%, Canvas) }
h1 { font-size: 1.4rem; margin: .2rem 0 1rem } p { margin: .6rem 0 } small { opacity: .75 }
button, input[type=text] { font: inherit; padding: .5rem .9rem; border-radius: 6px; width: 100%;
  margin: .25rem 0; box-sizing: border-box; border: 1px solid GrayText }
button { text-align: left; cursor: pointer } button:hover, button:focus { outline: 2px solid Highlight }
label { display: block } fieldset { border: 0; padding: 0; margin: 1rem 0 }
code { overflow-wrap: anywhere }
</style></head><body><main>
<small>postbridge sandbox · not Microsoft</small>
<h1>{{ title }}</h1>
{{ body|safe }}
</main></body></html>
"#
)]
struct Shell<'a> {
    title: &'a str,
    body: &'a str,
}

/// Puts a rendered template into the shell.
fn page(status: StatusCode, title: &str, body: &impl Template) -> Response {
    let html = body.render().and_then(|body| Shell { title, body: &body }.render());
    let Ok(html) = html else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let headers = [
        // `form-action` stays open: browsers apply it to the redirect after a form, too.
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
        ),
        (CACHE_CONTROL, "no-store"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, Html(html)).into_response()
}

/// The choice that a person has: who to be, and what to grant.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<p>Application <code>{{ client_id }}</code> asks for:</p>
<form method="post">
{% if let Some(code) = user_code %}<input type="hidden" name="user_code" value="{{ code }}">{% endif %}
<fieldset>{% for scope in scopes %}
<label><input type="checkbox" name="scope" value="{{ scope }}" checked> {{ scope }}</label>{% endfor %}
</fieldset>
{% for user in users %}<button name="mailbox" value="{{ user.address }}">Sign in as <b>{{ user.address }}</b></button>
{% endfor %}<button name="action" value="decline">Decline</button>
</form>
<p><small>Untick a scope to grant less.</small></p>"#
)]
pub struct Choice<'a> {
    pub client_id: &'a str,
    pub scopes: &'a [String],
    pub users: Vec<&'a User>,
    pub user_code: Option<&'a str>,
}

impl Choice<'_> {
    pub fn show(&self) -> Response {
        page(StatusCode::OK, "Sign in", self)
    }
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<p>Enter the code that your program or device shows.</p>
{% if let Some(problem) = problem %}<p><b>{{ problem }}</b></p>{% endif %}
<form method="get"><input type="text" name="user_code" autofocus autocomplete="off" maxlength="20">
<button>Next</button></form>"#
)]
struct EnterCode<'a> {
    problem: Option<&'a str>,
}

/// The page at `/devicelogin`.
pub fn enter_code(problem: Option<&str>) -> Response {
    let status = if problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    page(status, "Enter code", &EnterCode { problem })
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<p>{{ text }}</p>{% if let Some((name, href)) = link %}<p><a href="{{ href }}">{{ name }}</a></p>{% endif %}"#
)]
struct Notice<'a> {
    text: &'a str,
    link: Option<(&'a str, &'a str)>,
}

pub fn notice(title: &str, text: &str, link: Option<(&str, &str)>) -> Response {
    page(StatusCode::OK, title, &Notice { text, link })
}

/// A refusal that must not be sent to the redirect URI, or has none to go to.
pub fn refused(refusal: &Refusal, ids: &Ids) -> Response {
    let text = refusal.description(ids);
    page(
        StatusCode::BAD_REQUEST,
        "Sorry, we're having trouble signing you in",
        &Notice { text: &text, link: None },
    )
}

/// What the user of a restricted tenant sees.
#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<p>Application <code>{{ client_id }}</code> needs permissions that only an administrator can grant:</p>
<ul>{% for scope in scopes %}<li>{{ scope }}</li>{% endfor %}</ul>
<p><a href="{{ consent_url }}">Have an admin account? Grant them for the tenant.</a></p>
<form method="post"><button name="action" value="decline">Return to the application without granting consent</button></form>
<p><small>AADSTS90094</small></p>"#
)]
pub struct NeedsApproval<'a> {
    pub client_id: &'a str,
    pub scopes: &'a [&'a str],
    pub consent_url: &'a str,
}

impl NeedsApproval<'_> {
    pub fn show(&self) -> Response {
        page(StatusCode::FORBIDDEN, "Need admin approval", self)
    }
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<p>Application <code>{{ client_id }}</code> asks, for everybody in the tenant:</p>
<ul>{% for scope in scopes %}<li>{{ scope }}</li>{% endfor %}</ul>
<form method="post"><button name="action" value="accept">Accept for the tenant</button>
<button name="action" value="decline">Decline</button></form>"#
)]
pub struct AdministratorChoice<'a> {
    pub client_id: &'a str,
    pub scopes: &'a [String],
}

impl AdministratorChoice<'_> {
    pub fn show(&self) -> Response {
        page(StatusCode::OK, "Permissions requested", self)
    }
}
