"""MSAL for Python against the sandbox: authorization code with PKCE, device code, refresh, errors.

Usage: msal_client.py HTTPS_URL CA_FILE. Says "all is well" and exits 0, or fails an assertion.
"""

import sys
from urllib.parse import parse_qs, urlsplit

import msal
import requests
from msal.authority import Authority

BASE, CA = sys.argv[1:3]
CLIENT_ID = "5d3c1f9e-0b7a-4a58-9c3e-2f6f0a1b7c11"
ADELE, ALEX = "adele.vance@contoso.example", "alex.wilber@contoso.example"
SCOPES = ["User.Read", "Mail.Send"]

http = requests.Session()
http.verify = CA
http.trust_env = False


def application():
    """A public client with an empty cache."""
    return msal.PublicClientApplication(
        CLIENT_ID,
        authority=f"{BASE}/organizations",
        # Otherwise MSAL asks login.microsoftonline.com itself about our host.
        instance_discovery=False,
        http_client=http,
    )


def follow(flow):
    """Opens the authorize URL as a browser would; returns the fields of the redirect."""
    answer = http.get(flow["auth_uri"], allow_redirects=False)
    assert answer.status_code == 302, answer.text
    location = answer.headers["Location"]
    assert location.startswith("http://localhost:50123/?"), location
    return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}


def sandbox(path, body):
    answer = http.post(f"{BASE}/_sandbox/{path}", json=body)
    assert answer.ok, answer.text


def instance_discovery():
    endpoint = f"{BASE}/common/discovery/instance"
    authority = Authority(f"{BASE}/organizations", http, instance_discovery=endpoint)
    assert authority.token_endpoint == f"{BASE}/organizations/oauth2/v2.0/token"
    print("instance discovery:", authority.device_authorization_endpoint)


def authorization_code():
    app = application()
    flow = app.initiate_auth_code_flow(
        SCOPES, redirect_uri="http://localhost:50123", login_hint=ALEX
    )
    tokens = app.acquire_token_by_auth_code_flow(flow, follow(flow))
    assert "access_token" in tokens, tokens
    claims = tokens["id_token_claims"]
    assert claims["preferred_username"] == ALEX, claims
    assert set(SCOPES) <= set(tokens["scope"].split()), tokens["scope"]
    (account,) = app.get_accounts()
    assert account["username"] == ALEX, account
    print("authorization code with PKCE: signed in as", account["username"])
    return app, account, tokens


def refresh(app, account, tokens):
    cached = app.acquire_token_silent(SCOPES, account)
    assert cached["access_token"] == tokens["access_token"]
    fresh = app.acquire_token_silent(SCOPES, account, force_refresh=True)
    assert fresh["access_token"] != tokens["access_token"], fresh
    answer = http.get(
        f"{BASE}/v1.0/nothing", headers={"Authorization": "Bearer " + fresh["access_token"]}
    )
    assert answer.status_code == 400, answer.text
    print("refresh: a new access token")


def more_than_consented(app, account):
    more = app.acquire_token_silent_with_error(["Calendars.ReadWrite"], account)
    assert more["error"] == "invalid_grant" and 65001 in more["error_codes"], more
    assert more["classification"] == "consent_required", more
    print("more scopes than consented:", more["error_description"].splitlines()[0])


def revoked(app, account):
    sandbox("revoke", {"mailbox": account["username"]})
    gone = app.acquire_token_silent_with_error(SCOPES, account, force_refresh=True)
    assert gone["error"] == "invalid_grant" and 50173 in gone["error_codes"], gone
    print("revoked:", gone["error_description"].splitlines()[0])


def refused_by_the_administrator():
    app = application()
    sandbox("consent", {"user_may_grant": SCOPES})
    flow = app.initiate_auth_code_flow(["Mail.ReadWrite"], redirect_uri="http://localhost:50123")
    refusal = app.acquire_token_by_auth_code_flow(flow, follow(flow))
    assert refusal["error"] == "access_denied", refusal
    assert refusal["error_description"].startswith("AADSTS90094"), refusal
    sandbox("consent", {})
    print("administrator needed:", refusal["error_description"].splitlines()[0])


def device_code():
    app = application()
    flow = app.initiate_device_flow(SCOPES)
    assert "user_code" in flow, flow
    # One poll before anybody has typed the code, then one after: MSAL is told not to wait longer.
    pending = app.acquire_token_by_device_flow(flow, exit_condition=lambda _: True)
    assert pending["error"] == "authorization_pending", pending
    answer = http.post(
        flow["verification_uri"], data={"user_code": flow["user_code"], "mailbox": ADELE}
    )
    assert answer.ok, answer.text
    tokens = app.acquire_token_by_device_flow(flow)
    assert tokens["id_token_claims"]["preferred_username"] == ADELE, tokens
    print("device code: signed in as", ADELE)

    flow = app.initiate_device_flow(SCOPES)
    http.post(
        flow["verification_uri"], data={"user_code": flow["user_code"], "action": "decline"}
    )
    declined = app.acquire_token_by_device_flow(flow)
    assert declined["error"] == "authorization_declined", declined
    print("device code: declined")


def unknown_tenant():
    try:
        msal.PublicClientApplication(
            CLIENT_ID,
            authority=f"{BASE}/fabrikam.example",
            instance_discovery=False,
            http_client=http,
        ).initiate_device_flow(SCOPES)
    except ValueError as refusal:
        print("unknown tenant:", str(refusal).splitlines()[0][:80])
    else:
        raise AssertionError("an unknown tenant was taken")


instance_discovery()
app, account, tokens = authorization_code()
refresh(app, account, tokens)
more_than_consented(app, account)
revoked(app, account)
refused_by_the_administrator()
device_code()
unknown_tenant()
print("all is well")
