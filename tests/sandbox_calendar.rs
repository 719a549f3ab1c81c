//! The sandbox's Graph calendar over HTTP: what is taken, what is refused and how, who is mailed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::process::Command;
use std::sync::Arc;

use postbridge::graph::online_meeting::with_join_part;
use postbridge::graph::resource::{ContentType, Event, ItemBody};
use postbridge::sandbox;
use postbridge::sandbox::grants::Grant;
use postbridge::sandbox::world::{DuplicateTransactionStatus, ShortMonths, World};
use reqwest::{Client, Method};
use serde_json::{Value, json};

const ADELE: &str = "adele.vance@contoso.example";
const ALEX: &str = "alex.wilber@contoso.example";
const GUEST: &str = "megan.bowen@fabrikam.example";
const EVENTS: &str = "/v1.0/me/events";
const UID: &str = "String {66f5a359-4659-4830-9070-00047ec6ac6e} Name BridgeUid";

struct Sandbox {
    world: Arc<World>,
    url: String,
    client: Client,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: u16,
    applied: String,
    body: Value,
}

impl Answer {
    #[track_caller]
    fn is(self, status: u16, code: &str) -> Answer {
        let got = self.body["error"]["code"].as_str().unwrap_or_default();
        assert_eq!((self.status, got), (status, code), "{}", self.body);
        self
    }

    fn id(&self) -> String {
        self.body["id"].as_str().unwrap().to_owned()
    }
}

impl Sandbox {
    async fn start() -> Sandbox {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let world = Arc::new(World::new(&[ADELE, ALEX].map(str::to_owned), 1));
        let app = sandbox::router(Arc::clone(&world));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Sandbox { world, url, client: Client::builder().no_proxy().build().unwrap() }
    }

    fn token(&self, who: &str, scopes: &[&str]) -> String {
        let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let user = self.world.user(who).unwrap().object_id;
        let grant = Grant { user, client_id: "app".into(), scopes: scopes.clone(), nonce: None };
        let now = self.world.clock.now();
        self.world.identity.grants().issue(now, &grant, &scopes).access_token
    }

    async fn ask(
        &self,
        who: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<String>,
    ) -> Answer {
        let token = self.token(who, &["Calendars.ReadWrite"]);
        let mut request =
            self.client.request(method, format!("{}{path}", self.url)).bearer_auth(token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let applied = response.headers().get("preference-applied");
        let applied = applied.map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        let text = response.text().await.unwrap();
        Answer { status, applied, body: serde_json::from_str(&text).unwrap_or_default() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(ADELE, Method::GET, path, &[], None).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(ADELE, Method::POST, path, &[], Some(body.to_string())).await
    }

    async fn create(&self, body: &Value) -> Answer {
        self.post(EVENTS, body).await
    }

    async fn patch(&self, id: &str, body: Value) -> Answer {
        self.ask(ADELE, Method::PATCH, &format!("{EVENTS}/{id}"), &[], Some(body.to_string())).await
    }

    async fn delete(&self, id: &str) -> Answer {
        self.ask(ADELE, Method::DELETE, &format!("{EVENTS}/{id}"), &[], None).await
    }

    /// `kind attendee`, and the occurrence; since the last time.
    fn mailed(&self, seen: &mut usize) -> Vec<String> {
        let all = serde_json::to_value(self.world.ledger.invitations()).unwrap();
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let row = |row: &Value| {
            let who = text(row, "attendee");
            let who = who.split('.').next().unwrap_or_default().to_owned();
            let occurrence = text(row, "occurrence");
            format!("{} {who} {occurrence}", text(row, "kind")).trim().to_owned()
        };
        let all: Vec<String> = all.as_array().unwrap().iter().map(row).collect();
        let new = all[*seen..].to_vec();
        *seen = all.len();
        new
    }

    /// The ids of a series' instances in November and December, and their starts.
    async fn instances(&self, id: &str) -> Vec<(String, String, String)> {
        let window = "startDateTime=2026-11-01T00:00:00Z&endDateTime=2027-01-01T00:00:00Z";
        let answer = self.get(&format!("{EVENTS}/{id}/instances?{window}&$top=100")).await;
        let answer = answer.is(200, "");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let instance = |event: &Value| {
            (text(&event["id"]), text(&event["start"]["dateTime"]), text(&event["type"]))
        };
        answer.body["value"].as_array().unwrap().iter().map(instance).collect()
    }
}

fn at(time: &str) -> Value {
    json!({"dateTime": time, "timeZone": "W. Europe Standard Time"})
}

fn people(addresses: &[&str]) -> Value {
    let one = |a: &&str| json!({"emailAddress": {"address": a, "name": "N"}, "type": "required"});
    addresses.iter().map(one).collect()
}

fn event(attendees: &[&str]) -> Value {
    json!({"subject": "Interview", "start": at("2026-12-01T09:00:00"),
        "end": at("2026-12-01T10:00:00"), "attendees": people(attendees)})
}

/// Mondays, four times from November 23.
fn series(attendees: &[&str]) -> Value {
    let mut event = event(attendees);
    event["start"] = at("2026-11-23T09:00:00");
    event["end"] = at("2026-11-23T10:00:00");
    event["recurrence"] = json!({
        "pattern": {"type": "weekly", "interval": 1, "daysOfWeek": ["Monday"],
            "firstDayOfWeek": "monday"},
        "range": {"type": "numbered", "startDate": "2026-11-23", "numberOfOccurrences": 4},
    });
    event
}

#[tokio::test]
async fn a_meeting_is_created_updated_and_cancelled_and_each_mail_stands_in_the_ledger() {
    let sandbox = Sandbox::start().await;
    let mut seen = 0;
    let created = sandbox.create(&event(&[ALEX, GUEST])).await.is(201, "");
    let id = created.id();
    assert_eq!(sandbox.mailed(&mut seen), ["request alex", "request megan"]);
    let body = &created.body;
    assert_eq!(
        body["start"],
        json!({"dateTime": "2026-12-01T08:00:00.0000000", "timeZone": "UTC"})
    );
    assert_eq!(body["originalStartTimeZone"], "W. Europe Standard Time");
    assert_eq!(body["responseStatus"]["response"], "organizer");
    assert_eq!(body["attendees"][0]["status"]["response"], "none");
    assert!(body["iCalUId"].as_str().unwrap().starts_with("040000008200E00074C5B7101A82E008"));

    let moved = json!({"start": at("2026-12-01T09:30:00")});
    let updated = sandbox.patch(&id, moved).await.is(200, "");
    assert_ne!(updated.body["changeKey"], body["changeKey"]);
    assert_eq!(updated.body["iCalUId"], body["iCalUId"]);
    assert_eq!(sandbox.mailed(&mut seen), ["update alex", "update megan"]);

    let cancel = format!("{EVENTS}/{id}/cancel");
    sandbox.post(&cancel, &json!({"Comment": "Sorry"})).await.is(202, "");
    assert_eq!(sandbox.mailed(&mut seen), ["cancel alex", "cancel megan"]);
    sandbox.post(&cancel, &json!({})).await.is(404, "ErrorItemNotFound");
    sandbox.get(&format!("{EVENTS}/{id}")).await.is(404, "ErrorItemNotFound");

    let ledger: Value = sandbox.get("/_sandbox/ledger").await.body;
    let row = &ledger["invitations"][0];
    assert_eq!(row["seq"], 1);
    assert_eq!((&row["mailbox"], &row["organizer"]), (&json!(ADELE), &json!(ADELE)));
    assert_eq!((&row["attendee"], &row["subject"]), (&json!(ALEX), &json!("Interview")));
    assert_eq!(row["start"], "2026-12-01T08:00:00Z");
    assert_eq!((&row["ical_uid"], &row["occurrence"]), (&body["iCalUId"], &Value::Null));
}

#[tokio::test]
async fn only_attendees_in_an_update_reach_only_those_who_come_and_go() {
    let sandbox = Sandbox::start().await;
    let mut seen = 0;
    let id = sandbox.create(&event(&[ALEX])).await.id();
    sandbox.mailed(&mut seen);
    sandbox.patch(&id, json!({"attendees": people(&[ALEX, GUEST])})).await.is(200, "");
    assert_eq!(sandbox.mailed(&mut seen), ["request megan"]);
    sandbox.patch(&id, json!({"attendees": people(&[GUEST])})).await.is(200, "");
    assert_eq!(sandbox.mailed(&mut seen), ["cancel alex"]);
    // Nothing changes, and all are mailed: a switch.
    sandbox.patch(&id, json!({"subject": "Interview"})).await.is(200, "");
    assert_eq!(sandbox.mailed(&mut seen), ["update megan"]);
    sandbox.world.switches().no_op_update_mails = false;
    sandbox.patch(&id, json!({"subject": "Interview"})).await.is(200, "");
    assert_eq!(sandbox.mailed(&mut seen), Vec::<String>::new());
}

#[tokio::test]
async fn an_event_without_attendees_mails_nobody_and_its_cancel_is_a_switch() {
    let sandbox = Sandbox::start().await;
    // The organizer is no attendee of his own meeting.
    let id = sandbox.create(&event(&[ADELE])).await.id();
    sandbox.patch(&id, json!({"attendees": []})).await.is(200, "");
    let cancel = format!("{EVENTS}/{id}/cancel");
    sandbox.post(&cancel, &json!({})).await.is(400, "ErrorInvalidRequest");
    sandbox.world.switches().cancel_without_attendees_refused = false;
    sandbox.post(&cancel, &json!({})).await.is(202, "");
    assert_eq!(sandbox.mailed(&mut 0), Vec::<String>::new());
}

#[tokio::test]
async fn a_body_that_graph_would_not_take_is_refused_with_its_code() {
    let sandbox = Sandbox::start().await;
    let shape = "UnableToDeserializePostBody";
    let value = "ErrorPropertyValidationFailure";
    let with = |pointer: &str, value: Value| {
        let mut body = series(&[]);
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        body.pointer_mut(parent).unwrap()[name] = value;
        body
    };
    let rome = json!({"dateTime": "2026-11-23T09:00:00", "timeZone": "Europe/Rome"});
    for (pointer, given, code) in [
        ("/uid", json!("x"), shape),
        ("/iCalUId", json!("x"), shape),
        ("/attachments", json!([]), shape),
        ("/showAs", json!("away"), shape),
        ("/start", rome, "TimeZoneNotSupportedException"),
        ("/start", Value::Null, value),
        ("/end", at("2026-11-23T08:00:00"), value),
        ("/isAllDay", json!(true), "ErrorInvalidRequest"),
        ("/attendees", people(&["nobody"]), value),
        ("/recurrence/range/startDate", json!("2026-11-24"), value),
        ("/recurrence/range/startDate", json!("2026-11-23T09:00:00"), shape),
        ("/recurrence/range/numberOfOccurrences", json!(0), value),
        ("/recurrence/pattern/interval", json!(0), value),
        ("/recurrence/pattern/daysOfWeek", json!([]), value),
        ("/recurrence/pattern/dayOfMonth", json!(3), value),
        ("/recurrence/pattern/type", json!("hourly"), shape),
        ("/recurrence/pattern/byDay", json!("1MO"), shape),
    ] {
        let answer = sandbox.create(&with(pointer, given)).await;
        let got = answer.body["error"]["code"].as_str().unwrap_or("taken");
        assert_eq!((answer.status, got), (400, code), "{pointer}: {}", answer.body);
    }
    let folded = with("/showAs", json!("OOF"));
    assert_eq!(sandbox.create(&folded).await.is(201, "").body["showAs"], "oof");
    let id = sandbox.create(&event(&[])).await.id();
    sandbox.patch(&id, json!({"transactionId": "x"})).await.is(400, value);
    let path = format!("{EVENTS}/nonsense");
    sandbox.get(&path).await.is(400, "ErrorInvalidIdMalformed");
}

#[tokio::test]
async fn the_pattern_comes_before_the_range() {
    let sandbox = Sandbox::start().await;
    let body = series(&[]).to_string();
    // Built in this order: serde_json's own is alphabetical.
    let range = r#""range":{"numberOfOccurrences":4,"startDate":"2026-11-23","type":"numbered"}"#;
    assert!(body.contains(range), "{body}");
    let turned = body
        .replace(&format!(",{range}"), "")
        .replace("\"recurrence\":{", &format!("\"recurrence\":{{{range},"));
    let post = |body: String| sandbox.ask(ADELE, Method::POST, EVENTS, &[], Some(body));
    post(turned.clone()).await.is(400, "UnableToDeserializePostBody");
    sandbox.world.switches().pattern_before_range = false;
    post(turned).await.is(201, "");
}

#[tokio::test]
async fn a_transaction_id_makes_one_event() {
    let sandbox = Sandbox::start().await;
    let mut body = event(&[GUEST]);
    body["transactionId"] = json!("t1");
    let id = sandbox.create(&body).await.is(201, "").id();
    assert_eq!(sandbox.create(&body).await.is(201, "").id(), id);
    assert_eq!(sandbox.mailed(&mut 0), ["request megan"]);
    let duplicate = "ErrorDuplicateTransactionId";
    body["subject"] = json!("Another");
    let refused = sandbox.create(&body).await.is(400, duplicate);
    assert_eq!(refused.body["error"]["@event.existingEventId"], json!(id));
    {
        let mut switches = sandbox.world.switches();
        switches.duplicate_transaction = DuplicateTransactionStatus::Status409;
        switches.duplicate_transaction_names_event = false;
    }
    let refused = sandbox.create(&body).await.is(409, duplicate);
    assert_eq!(refused.body["error"].get("@event.existingEventId"), None);
    sandbox.delete(&id).await.is(204, "");
    sandbox.create(&body).await.is(409, duplicate);
    sandbox.world.switches().transaction_taken_after_deletion = false;
    assert_ne!(sandbox.create(&body).await.is(201, "").id(), id);
}

#[tokio::test]
async fn a_stale_etag_is_a_conflict_that_changes_nothing() {
    let sandbox = Sandbox::start().await;
    let created = sandbox.create(&event(&[GUEST])).await;
    let path = format!("{EVENTS}/{}", created.id());
    let stale = created.body["@odata.etag"].as_str().unwrap().to_owned();
    sandbox.patch(&created.id(), json!({"subject": "New"})).await.is(200, "");
    let mut seen = 0;
    sandbox.mailed(&mut seen);
    let code = "ErrorIrresolvableConflict";
    let headers = [("If-Match", stale.as_str())];
    let body = json!({"subject": "Old"}).to_string();
    sandbox.ask(ADELE, Method::PATCH, &path, &headers, Some(body)).await.is(412, code);
    sandbox.ask(ADELE, Method::DELETE, &path, &headers, None).await.is(412, code);
    assert_eq!(sandbox.get(&path).await.body["subject"], "New");
    assert_eq!(sandbox.mailed(&mut seen), Vec::<String>::new());
    sandbox.ask(ADELE, Method::DELETE, &path, &[("If-Match", "*")], None).await.is(204, "");
}

#[tokio::test]
async fn an_event_is_found_by_its_ical_uid_and_its_extended_property() {
    let sandbox = Sandbox::start().await;
    let mut body = event(&[]);
    body["singleValueExtendedProperties"] = json!([{"id": UID, "value": "abc"}]);
    let created = sandbox.create(&body).await.is(201, "");
    assert_eq!(created.body.get("singleValueExtendedProperties"), None);
    sandbox.create(&event(&[])).await.is(201, "");
    let uid = created.body["iCalUId"].as_str().unwrap();
    let extended =
        format!("singleValueExtendedProperties/Any(ep: ep/id eq '{UID}' and ep/value eq 'ABC')");
    for filter in [format!("iCalUId eq '{uid}'"), extended] {
        let found = sandbox.get(&format!("{EVENTS}?$filter={filter}&$select=id")).await.is(200, "");
        let found = found.body["value"].as_array().unwrap().clone();
        assert_eq!(found.len(), 1, "{filter}");
        assert_eq!(found[0]["id"], created.body["id"]);
        assert_eq!(found[0].get("subject"), None);
    }
    let path = format!(
        "{EVENTS}/{}?$expand=singleValueExtendedProperties($filter=id eq '{UID}')",
        created.id()
    );
    let found = sandbox.get(&path).await.is(200, "");
    let property = &found.body["singleValueExtendedProperties"][0];
    assert_eq!(property, &json!({"id": UID, "value": "abc"}));
    let page = sandbox.get(&format!("{EVENTS}?$top=1")).await.is(200, "");
    let next = page.body["@odata.nextLink"].as_str().unwrap().replace(&sandbox.url, "");
    let second = sandbox.get(&next).await.is(200, "");
    assert_eq!(second.body["value"].as_array().unwrap().len(), 1);
    assert_eq!(second.body.get("@odata.nextLink"), None);
    let other = format!("{EVENTS}?$filter=contains(subject,'x')");
    sandbox.get(&other).await.is(400, "ErrorInvalidUrlQueryFilter");
}

#[tokio::test]
async fn answers_are_in_the_zone_body_and_id_form_that_the_client_prefers() {
    let sandbox = Sandbox::start().await;
    let mut body = event(&[]);
    body["body"] = json!({"contentType": "HTML", "content": "<p>Hi</p>"});
    let id = sandbox.create(&body).await.id();
    let path = format!("{EVENTS}/{id}");
    let prefer = r#"outlook.timezone="Tokyo Standard Time", IdType="ImmutableId", outlook.body-content-type="text""#;
    let shown = sandbox.ask(ADELE, Method::GET, &path, &[("Prefer", prefer)], None).await;
    let start =
        json!({"dateTime": "2026-12-01T17:00:00.0000000", "timeZone": "Tokyo Standard Time"});
    assert_eq!(shown.body["start"], start);
    assert_eq!(shown.body["body"], json!({"contentType": "text", "content": "Hi"}));
    assert!(shown.applied.contains("Tokyo"), "{}", shown.applied);
    let immutable = shown.id();
    assert_ne!(immutable, id);
    assert_eq!(sandbox.get(&format!("{EVENTS}/{immutable}")).await.id(), id);
    let bad = [("Prefer", "outlook.timezone=\"Europe/Rome\"")];
    let refused = sandbox.ask(ADELE, Method::GET, &path, &bad, None).await;
    refused.is(400, "TimeZoneNotSupportedException");
}

#[tokio::test]
async fn one_occurrence_is_moved_and_one_cancelled() {
    let sandbox = Sandbox::start().await;
    let mut seen = 0;
    let id = sandbox.create(&series(&[GUEST])).await.is(201, "").id();
    assert_eq!(sandbox.mailed(&mut seen), ["request megan"]);
    let all = sandbox.instances(&id).await;
    let starts: Vec<&str> = all.iter().map(|(_, start, _)| &start[..16]).collect();
    let mondays = ["2026-11-23T08:00", "2026-11-30T08:00", "2026-12-07T08:00", "2026-12-14T08:00"];
    assert_eq!(starts, mondays);

    let crossing = json!({"start": at("2026-12-07T09:00:00"), "end": at("2026-12-07T10:00:00")});
    let refused = sandbox.patch(&all[1].0, crossing).await;
    refused.is(400, "ErrorOccurrenceCrossingBoundary");
    let tuesday = json!({"start": at("2026-12-01T11:00:00"), "end": at("2026-12-01T12:00:00")});
    let moved = sandbox.patch(&all[1].0, tuesday).await.is(200, "");
    assert_eq!(moved.body["type"], "exception");
    assert_eq!(moved.body["originalStart"], "2026-11-30T08:00:00Z");
    assert_eq!(moved.body["seriesMasterId"], json!(id));
    assert_eq!(sandbox.mailed(&mut seen), ["update megan 2026-11-30T08:00:00Z"]);
    sandbox.post(&format!("{EVENTS}/{}/cancel", all[2].0), &json!({})).await.is(202, "");
    assert_eq!(sandbox.mailed(&mut seen), ["cancel megan 2026-12-07T08:00:00Z"]);
    sandbox.delete(&all[2].0).await.is(404, "ErrorItemNotFound");
    let left = sandbox.instances(&id).await;
    let kinds: Vec<&str> = left.iter().map(|(_, _, kind)| kind.as_str()).collect();
    assert_eq!(kinds, ["occurrence", "exception", "occurrence"]);
    assert_eq!(left[1].0, all[1].0, "an occurrence keeps its id");

    let select =
        "$select=subject,cancelledOccurrences,exceptionOccurrences&$expand=exceptionOccurrences";
    let master = sandbox.get(&format!("{EVENTS}/{id}?{select}")).await.is(200, "").body;
    let cancelled = master["cancelledOccurrences"][0].as_str().unwrap();
    assert!(cancelled.ends_with(".2026-12-07"), "{cancelled}");
    assert_eq!(master["exceptionOccurrences"][0]["id"], json!(all[1].0));

    // One mail for the series, one for the instance that was modified.
    sandbox.patch(&id, json!({"subject": "Second interview"})).await.is(200, "");
    let both = ["update megan", "update megan 2026-11-30T08:00:00Z"];
    assert_eq!(sandbox.mailed(&mut seen), both);
    // A new recurrence has no exceptions.
    let mut recurrence = series(&[])["recurrence"].clone();
    recurrence["range"]["numberOfOccurrences"] = json!(5);
    sandbox.patch(&id, json!({"recurrence": recurrence})).await.is(200, "");
    assert_eq!(sandbox.mailed(&mut seen), ["update megan"]);
    let all = sandbox.instances(&id).await;
    assert!(all.len() == 5 && all.iter().all(|(_, _, kind)| kind == "occurrence"), "{all:?}");
    sandbox.delete(&id).await.is(204, "");
    assert_eq!(sandbox.mailed(&mut seen), ["cancel megan"]);
}

#[tokio::test]
async fn a_calendar_view_holds_singles_and_occurrences_and_lists_hold_masters() {
    let sandbox = Sandbox::start().await;
    sandbox.create(&series(&[])).await.is(201, "");
    sandbox.create(&event(&[])).await.is(201, "");
    let mut day = event(&[]);
    day["isAllDay"] = json!(true);
    day["start"] = at("2026-12-02T00:00:00");
    day["end"] = at("2026-12-03T00:00:00");
    let day = sandbox.create(&day).await.is(201, "");
    assert_eq!(day.body["start"]["dateTime"], "2026-12-02T00:00:00.0000000");
    let window = "startDateTime=2026-11-30T00:00:00Z&endDateTime=2026-12-08T00:00:00Z";
    let view = sandbox.get(&format!("/v1.0/me/calendarView?{window}")).await.is(200, "");
    let kinds: Vec<&Value> =
        view.body["value"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["occurrence", "singleInstance", "singleInstance", "occurrence"]);
    sandbox.get("/v1.0/me/calendarView").await.is(400, "ErrorInvalidParameter");
    let list = sandbox.get(EVENTS).await.body;
    assert_eq!(list["value"].as_array().unwrap().len(), 3);
    let adele = sandbox.world.user(ADELE).unwrap().object_id;
    let (from, to) =
        ("2026-12-07T00:00:00Z".parse().unwrap(), "2026-12-08T00:00:00Z".parse().unwrap());
    let instances = sandbox.world.calendar.instances(adele, from, to, ShortMonths::LastDay);
    assert_eq!(instances.len(), 1);
    assert_eq!(instances[0].start, "2026-12-07T08:00:00Z".parse().unwrap());
}

#[tokio::test]
async fn an_attendee_with_a_mailbox_gets_a_copy_and_answers_it() {
    let sandbox = Sandbox::start().await;
    let created = sandbox.create(&event(&[ALEX])).await;
    let as_alex = |method: Method, path: String, body: Option<Value>| {
        let sandbox = &sandbox;
        async move { sandbox.ask(ALEX, method, &path, &[], body.map(|b| b.to_string())).await }
    };
    let copies = as_alex(Method::GET, EVENTS.to_owned(), None).await.body;
    let copy = copies["value"][0].clone();
    assert_eq!(copy["iCalUId"], created.body["iCalUId"]);
    assert_ne!(copy["id"], created.body["id"]);
    assert_eq!((&copy["isOrganizer"], &copy["showAs"]), (&json!(false), &json!("tentative")));
    assert_eq!(copy["organizer"]["emailAddress"]["address"], ADELE);
    assert_eq!(copy["responseStatus"]["response"], "notResponded");
    let path = format!("{EVENTS}/{}", copy["id"].as_str().unwrap());
    // Ids are of one mailbox.
    sandbox.get(&path).await.is(404, "ErrorItemNotFound");
    let refused = as_alex(Method::POST, format!("{path}/cancel"), Some(json!({}))).await;
    refused.is(400, "ErrorInvalidRequest");
    let own = format!("{EVENTS}/{}", created.id());
    sandbox.post(&format!("{own}/accept"), &json!({})).await.is(400, "ErrorInvalidRequest");

    let silent = json!({"comment": "yes", "sendResponse": false});
    as_alex(Method::POST, format!("{path}/accept"), Some(silent)).await.is(202, "");
    let status = |body: &Value| body["attendees"][0]["status"]["response"].clone();
    assert_eq!(status(&sandbox.get(&own).await.body), "none");
    as_alex(Method::POST, format!("{path}/accept"), None).await.is(202, "");
    assert_eq!(status(&sandbox.get(&own).await.body), "accepted");
    let copy = as_alex(Method::GET, path.clone(), None).await.body;
    assert_eq!(copy["responseStatus"]["response"], "accepted");

    sandbox.patch(&created.id(), json!({"subject": "Later"})).await.is(200, "");
    let copy = as_alex(Method::GET, path.clone(), None).await.body;
    assert_eq!((&copy["subject"], &copy["showAs"]), (&json!("Later"), &json!("busy")));
    sandbox.delete(&created.id()).await.is(204, "");
    assert_eq!(as_alex(Method::GET, path.clone(), None).await.body["isCancelled"], true);
    as_alex(Method::DELETE, path, None).await.is(204, "");
    assert_eq!(sandbox.world.ledger.invitations().len(), 3);
}

#[tokio::test]
async fn a_decline_reaches_the_organizer_and_clears_the_copy() {
    let sandbox = Sandbox::start().await;
    let created = sandbox.create(&event(&[ALEX])).await;
    let copies = sandbox.ask(ALEX, Method::GET, EVENTS, &[], None).await.body;
    let path = format!("{EVENTS}/{}/decline", copies["value"][0]["id"].as_str().unwrap());
    let slot = json!({"start": at("2026-12-02T09:00:00"), "end": at("2026-12-02T10:00:00")});
    let body = Some(json!({"proposedNewTime": slot}).to_string());
    sandbox.ask(ALEX, Method::POST, &path, &[], body).await.is(202, "");
    let own = sandbox.get(&format!("{EVENTS}/{}", created.id())).await.body;
    assert_eq!(own["attendees"][0]["status"]["response"], "declined");
    assert_eq!(own["attendees"][0]["proposedNewTime"], slot);
    let copies = sandbox.ask(ALEX, Method::GET, EVENTS, &[], None).await.body;
    assert_eq!(copies["value"], json!([]));
}

#[tokio::test]
async fn a_file_is_attached_without_a_mail_and_too_large_a_one_is_refused() {
    let sandbox = Sandbox::start().await;
    let id = sandbox.create(&event(&[])).await.id();
    let path = format!("{EVENTS}/{id}/attachments");
    let file = |bytes: &str| {
        json!({"@odata.type": "#microsoft.graph.fileAttachment", "name": "cv.txt",
            "contentType": "text/plain", "contentBytes": bytes})
    };
    let attached = sandbox.post(&path, &file("aGk=")).await.is(201, "");
    assert_eq!(
        (&attached.body["size"], &attached.body["contentBytes"]),
        (&json!(2), &json!("aGk="))
    );
    let one = sandbox.get(&format!("{path}/{}", attached.id())).await.is(200, "");
    assert_eq!(one.body["name"], "cv.txt");
    assert_eq!(sandbox.get(&format!("{EVENTS}/{id}")).await.body["hasAttachments"], true);
    let large = "AAAA".repeat(1024 * 1024);
    sandbox.post(&path, &file(&large)).await.is(400, "BadRequest");
    sandbox.post(&path, &file(&large[..4 * 1024 * 1024 - 400])).await.is(201, "");
    sandbox.post(&path, &file("?")).await.is(400, "UnableToDeserializePostBody");
    let session = format!("{path}/createUploadSession");
    sandbox.post(&session, &json!({})).await.is(400, "ErrorPropertyValidationFailure");
}

#[tokio::test]
async fn calendars_are_made_and_events_live_in_one_of_them() {
    let sandbox = Sandbox::start().await;
    let made = sandbox.post("/v1.0/me/calendars", &json!({"name": "Hiring"})).await.is(201, "");
    let events = format!("/v1.0/me/calendars/{}/events", made.id());
    let id = sandbox.post(&events, &event(&[])).await.is(201, "").id();
    sandbox.get(&format!("{events}/{id}")).await.is(200, "");
    sandbox.get(&format!("{EVENTS}/{id}")).await.is(200, "");
    sandbox.get(&format!("/v1.0/me/calendar/events/{id}")).await.is(200, "");
    let other = sandbox.post("/v1.0/me/calendars", &json!({"name": "Other"})).await.id();
    let path = format!("/v1.0/me/calendars/{other}/events/{id}");
    sandbox.get(&path).await.is(404, "ErrorItemNotFound");
    let all = sandbox.get(&format!("/v1.0/users/{ADELE}/calendars")).await.is(200, "").body;
    assert_eq!(all["value"].as_array().unwrap().len(), 3);
    assert_eq!(sandbox.get("/v1.0/me/calendar").await.body["isDefaultCalendar"], true);
    sandbox.get(&format!("/v1.0/users/{ALEX}/events")).await.is(403, "ErrorAccessDenied");
}

#[tokio::test]
async fn the_zones_of_the_mailbox_can_be_asked_for() {
    let sandbox = Sandbox::start().await;
    let path = "/v1.0/me/outlook/supportedTimeZones";
    let iana = "(TimeZoneStandard=microsoft.graph.timeZoneStandard'Iana')";
    for (suffix, count) in [("", 140), ("()", 140), (iana, 99)] {
        let zones = sandbox.get(&format!("{path}{suffix}")).await.is(200, "").body;
        assert_eq!(zones["value"].as_array().unwrap().len(), count);
    }
}

#[tokio::test]
async fn without_the_scope_there_is_no_calendar() {
    let sandbox = Sandbox::start().await;
    for (scopes, reads, writes) in [
        (&["Mail.Send"], 403, 403),
        (&["Calendars.Read"], 200, 403),
        (&["Calendars.ReadWrite"], 200, 201),
    ] {
        let url = format!("{}{EVENTS}", sandbox.url);
        let token = sandbox.token(ADELE, scopes);
        let read = sandbox.client.get(&url).bearer_auth(&token).send().await.unwrap();
        assert_eq!(read.status().as_u16(), reads);
        let write = sandbox.client.post(&url).bearer_auth(&token).json(&event(&[]));
        assert_eq!(write.send().await.unwrap().status().as_u16(), writes);
    }
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_has_had_its_effect_once() {
    let sandbox = Sandbox::start().await;
    let rule = json!({"method": "POST", "route": EVENTS, "nth": [1], "do": "cut_after"});
    let script = json!({"faults": [rule]});
    let set = sandbox.client.post(format!("{}/_sandbox/faults", sandbox.url)).json(&script);
    let set = set.send().await.unwrap();
    assert_eq!(set.status().as_u16(), 204, "{}", set.text().await.unwrap());
    let mut body = event(&[GUEST]);
    body["transactionId"] = json!("t1");
    let token = sandbox.token(ADELE, &["Calendars.ReadWrite"]);
    let url = format!("{}{EVENTS}", sandbox.url);
    let _ = sandbox.client.post(url).bearer_auth(token).json(&body).send().await;
    sandbox.create(&body).await.is(201, "");
    assert_eq!(sandbox.mailed(&mut 0), ["request megan"]);
}

#[tokio::test]
async fn the_official_python_sdk_creates_updates_and_cancels_an_event() {
    let python = std::env::var("POSTBRIDGE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let known = Command::new(&python).args(["-c", "import msgraph"]).output();
    if !known.is_ok_and(|output| output.status.success()) {
        return common::skip(&format!("{python} has no msgraph-sdk"));
    }
    let sandbox = Sandbox::start().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/msgraph_calendar_client.py");
    let mut command = Command::new(python);
    let token = sandbox.token(ADELE, &["User.Read", "Calendars.ReadWrite"]);
    command.args([script, &sandbox.url, &token, GUEST]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = [
        "request megan",
        "update megan",
        "update megan 2026-12-08T08:00:00Z",
        "cancel megan 2026-12-15T08:00:00Z",
        "cancel megan",
    ];
    assert_eq!(sandbox.mailed(&mut 0), expected);
}

#[tokio::test]
async fn the_page_shows_calendars_and_answers_from_nowhere_else() {
    let sandbox = Sandbox::start().await;
    let evil = "<script>alert(1)</script>";
    let mut body = event(&[ALEX]);
    body["subject"] = json!(evil);
    let created = sandbox.create(&body).await.is(201, "");
    let page = |client: Client, url: String| async move {
        client.get(url).send().await.unwrap().text().await.unwrap()
    };
    let html = page(sandbox.client.clone(), sandbox.url.clone()).await;
    assert!(html.contains("Request to ") && !html.contains("<script"), "{html}");
    let action = html.split("formaction=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert!(action.ends_with("/accept"), "{action}");
    let press = |site: &'static str| {
        let url = format!("{}{action}", sandbox.url);
        sandbox.client.post(url).header("sec-fetch-site", site).send()
    };
    assert_eq!(press("cross-site").await.unwrap().status().as_u16(), 403);
    let status = |body: &Value| body["attendees"][0]["status"]["response"].clone();
    let path = format!("{EVENTS}/{}", created.id());
    assert_eq!(status(&sandbox.get(&path).await.body), "none");
    assert_eq!(press("same-origin").await.unwrap().status().as_u16(), 200);
    assert_eq!(status(&sandbox.get(&path).await.body), "accepted");
    let html = page(sandbox.client.clone(), sandbox.url.clone()).await;
    assert!(html.contains(&format!("{ALEX}: accepted")), "{html}");
}

#[tokio::test]
async fn a_copy_of_a_series_follows_it_occurrence_by_occurrence() {
    let sandbox = Sandbox::start().await;
    let id = sandbox.create(&series(&[ALEX])).await.is(201, "").id();
    let all = sandbox.instances(&id).await;
    let tuesday = json!({"start": at("2026-12-01T11:00:00"), "end": at("2026-12-01T12:00:00")});
    sandbox.patch(&all[1].0, tuesday).await.is(200, "");
    sandbox.delete(&all[2].0).await.is(204, "");
    let alex = sandbox.world.user(ALEX).unwrap().object_id;
    let (from, to) =
        ("2026-11-01T00:00:00Z".parse().unwrap(), "2027-01-01T00:00:00Z".parse().unwrap());
    let starts = || -> Vec<String> {
        let found = sandbox.world.calendar.instances(alex, from, to, ShortMonths::LastDay);
        found.iter().map(|one| one.start.to_string()).collect()
    };
    let expected = ["2026-11-23T08:00:00Z", "2026-12-01T10:00:00Z", "2026-12-14T08:00:00Z"];
    assert_eq!(starts(), expected);
    // The cancellation of the moved one speaks of where it was last.
    sandbox.delete(&all[1].0).await.is(204, "");
    let rows = sandbox.world.ledger.invitations();
    let last = &rows.last().unwrap().invitation;
    assert_eq!(last.start, "2026-12-01T10:00:00Z".parse().unwrap());
    assert_eq!(last.occurrence, Some("2026-11-30T08:00:00Z".parse().unwrap()));

    // Who declined the series is not brought back by the end of one occurrence.
    let copies = sandbox.ask(ALEX, Method::GET, EVENTS, &[], None).await.body;
    let path = format!("{EVENTS}/{}/decline", copies["value"][0]["id"].as_str().unwrap());
    sandbox.ask(ALEX, Method::POST, &path, &[], None).await.is(202, "");
    sandbox.delete(&all[3].0).await.is(204, "");
    assert_eq!(starts(), Vec::<String>::new());
}

#[tokio::test]
async fn whether_a_changed_series_keeps_its_exceptions_is_a_switch() {
    let sandbox = Sandbox::start().await;
    for keeps in [false, true] {
        sandbox.world.switches().series_change_keeps_exceptions = keeps;
        let id = sandbox.create(&series(&[])).await.is(201, "").id();
        let all = sandbox.instances(&id).await;
        let tuesday = json!({"start": at("2026-12-01T11:00:00"), "end": at("2026-12-01T12:00:00")});
        sandbox.patch(&all[1].0, tuesday).await.is(200, "");
        sandbox.delete(&all[2].0).await.is(204, "");
        sandbox.patch(&all[3].0, json!({"subject": "Last"})).await.is(200, "");
        // Two hours later, and one Monday less: what became of the fourth goes with it.
        let mut body = series(&[]);
        body["start"] = at("2026-11-23T11:00:00");
        body["end"] = at("2026-11-23T12:00:00");
        body["recurrence"]["range"]["numberOfOccurrences"] = json!(3);
        sandbox.patch(&id, body).await.is(200, "");
        let left = sandbox.instances(&id).await;
        let left: Vec<(&str, &str)> =
            left.iter().map(|(_, start, kind)| (&start[..16], kind.as_str())).collect();
        let expected = match keeps {
            true => vec![("2026-11-23T10:00", "occurrence"), ("2026-12-01T10:00", "exception")],
            false => vec![
                ("2026-11-23T10:00", "occurrence"),
                ("2026-11-30T10:00", "occurrence"),
                ("2026-12-07T10:00", "occurrence"),
            ],
        };
        assert_eq!(left, expected);
        sandbox.delete(&id).await.is(204, "");
    }
}

#[tokio::test]
async fn an_exception_that_was_kept_is_found_even_before_its_earlier_neighbours() {
    let sandbox = Sandbox::start().await;
    sandbox.world.switches().series_change_keeps_exceptions = true;
    let id = sandbox.create(&series(&[])).await.is(201, "").id();
    let all = sandbox.instances(&id).await;
    let tuesday = json!({"start": at("2026-12-01T11:00:00"), "end": at("2026-12-01T12:00:00")});
    sandbox.patch(&all[2].0, tuesday).await.is(200, "");
    let mut daily = series(&[])["recurrence"].clone();
    daily["pattern"] = json!({"type": "daily", "interval": 1});
    daily["range"]["numberOfOccurrences"] = json!(30);
    sandbox.patch(&id, json!({"recurrence": daily})).await.is(200, "");
    let window = "startDateTime=2026-12-01T09:30:00Z&endDateTime=2026-12-02T00:00:00Z";
    let found = sandbox.get(&format!("{EVENTS}/{id}/instances?{window}")).await.is(200, "").body;
    assert_eq!(found["value"].as_array().unwrap().len(), 1);
    assert_eq!(found["value"][0]["originalStart"], "2026-12-07T08:00:00Z");
}

#[tokio::test]
async fn whether_an_exception_has_another_id_is_a_switch() {
    let sandbox = Sandbox::start().await;
    sandbox.world.switches().exception_gets_another_id = true;
    let id = sandbox.create(&series(&[])).await.is(201, "").id();
    let old = sandbox.instances(&id).await.swap_remove(1).0;
    let exception = sandbox.patch(&old, json!({"subject": "Other"})).await.is(200, "");
    assert_eq!(exception.body["type"], "exception");
    let new = exception.id();
    assert_ne!(new, old);
    sandbox.get(&format!("{EVENTS}/{old}")).await.is(404, "ErrorItemNotFound");
    sandbox.patch(&old, json!({"subject": "Lost"})).await.is(404, "ErrorItemNotFound");
    sandbox.delete(&old).await.is(404, "ErrorItemNotFound");
    assert_eq!(sandbox.instances(&id).await[1].0, new);
    // Once is enough.
    assert_eq!(sandbox.patch(&new, json!({"subject": "Third"})).await.is(200, "").id(), new);
    let path = format!("{EVENTS}/{id}?$expand=exceptionOccurrences");
    assert_eq!(sandbox.get(&path).await.body["exceptionOccurrences"][0]["id"], json!(new));
    let other = sandbox.instances(&id).await.swap_remove(2).0;
    sandbox.get(&format!("{EVENTS}/{other}")).await.is(200, "");
    sandbox.delete(&new).await.is(204, "");
    sandbox.get(&format!("{EVENTS}/{new}")).await.is(404, "ErrorItemNotFound");
    assert_eq!(sandbox.instances(&id).await.len(), 3);
}

#[tokio::test]
async fn what_became_of_single_occurrences_is_shown_by_a_get_of_one_master_only() {
    let sandbox = Sandbox::start().await;
    let id = sandbox.create(&series(&[])).await.is(201, "").id();
    let all = sandbox.instances(&id).await;
    sandbox.patch(&all[1].0, json!({"subject": "Other"})).await.is(200, "");
    sandbox.delete(&all[2].0).await.is(204, "");
    let ask = "$select=id,cancelledOccurrences&$expand=exceptionOccurrences";
    let master = sandbox.get(&format!("{EVENTS}/{id}?{ask}")).await.is(200, "").body;
    let names: Vec<&String> = master.as_object().unwrap().keys().collect();
    let expected =
        ["@odata.context", "@odata.etag", "cancelledOccurrences", "exceptionOccurrences", "id"];
    assert_eq!(names, expected);
    let cancelled = master["cancelledOccurrences"].as_array().unwrap();
    assert!(cancelled.len() == 1 && cancelled[0].as_str().unwrap().ends_with(".2026-12-07"));
    let exceptions = master["exceptionOccurrences"].as_array().unwrap();
    assert_eq!(exceptions.len(), 1);
    assert_eq!(exceptions[0]["originalStart"], "2026-11-30T08:00:00Z");
    assert_eq!(exceptions[0]["type"], "exception");

    // Neither unasked, nor by half of what it takes, nor of anything else.
    let single = sandbox.create(&event(&[])).await.id();
    let half = format!("{EVENTS}/{id}?$select=exceptionOccurrences");
    for path in [
        format!("{EVENTS}/{id}"),
        half,
        format!("{EVENTS}/{single}?{ask}"),
        format!("{EVENTS}/{}?{ask}", all[1].0),
    ] {
        let shown = sandbox.get(&path).await.is(200, "").body;
        assert_eq!(shown.get("exceptionOccurrences"), None, "{path}");
        assert_eq!(shown.get("cancelledOccurrences"), None, "{path}");
    }
    let window = "startDateTime=2026-11-01T00:00:00Z&endDateTime=2027-01-01T00:00:00Z";
    for ask in ["$select=cancelledOccurrences", "$expand=exceptionOccurrences"] {
        for path in [
            format!("{EVENTS}?{ask}"),
            format!("{EVENTS}/{id}/instances?{window}&{ask}"),
            format!("/v1.0/me/calendarView?{window}&{ask}"),
        ] {
            sandbox.get(&path).await.is(400, "RequestBroker--ParseUri");
        }
        let refused = sandbox.patch(&format!("{id}?{ask}"), json!({"subject": "New"})).await;
        refused.is(400, "RequestBroker--ParseUri");
    }
    assert_eq!(sandbox.get(&format!("{EVENTS}/{id}")).await.body["subject"], "Interview");
}

#[tokio::test]
async fn a_moved_occurrence_is_found_only_where_it_is_now() {
    let sandbox = Sandbox::start().await;
    let id = sandbox.create(&series(&[])).await.is(201, "").id();
    let all = sandbox.instances(&id).await;
    let thursday = json!({"start": at("2026-12-03T11:00:00"), "end": at("2026-12-03T12:00:00")});
    sandbox.patch(&all[1].0, thursday).await.is(200, "");
    for (day, expected) in [("2026-11-30", 0), ("2026-12-03", 1)] {
        let window = format!("startDateTime={day}T00:00:00Z&endDateTime={day}T23:59:59Z");
        for path in
            [format!("{EVENTS}/{id}/instances?{window}"), format!("/v1.0/me/calendarView?{window}")]
        {
            let found = sandbox.get(&path).await.is(200, "").body;
            let found = found["value"].as_array().unwrap();
            assert_eq!(found.len(), expected, "{path}");
            assert!(found.iter().all(|one| one["originalStart"] == "2026-11-30T08:00:00Z"));
        }
    }
}

#[tokio::test]
async fn an_occurrence_keeps_each_extended_property_that_it_was_given() {
    let sandbox = Sandbox::start().await;
    let mark = UID.replace("BridgeUid", "Mark");
    let expand = |id: &str| format!("$expand=singleValueExtendedProperties($filter=id eq '{id}')");
    let id = sandbox.create(&series(&[])).await.is(201, "").id();
    let one = sandbox.instances(&id).await.swap_remove(1).0;
    let with = |id: &str, value: &str| json!({"singleValueExtendedProperties": [{"id": id, "value": value}]});
    let answer = sandbox.patch(&format!("{one}?{}", expand(UID)), with(UID, "a")).await.is(200, "");
    let expected = json!([{"id": UID, "value": "a"}]);
    assert_eq!(answer.body["singleValueExtendedProperties"], expected);
    let answer = sandbox.patch(&one, with(&mark, "b")).await.is(200, "");
    assert_eq!(answer.body.get("singleValueExtendedProperties"), None);
    sandbox.patch(&one, with(&mark, "c")).await.is(200, "");
    for (name, value) in [(UID, "a"), (mark.as_str(), "c")] {
        let shown = sandbox.get(&format!("{EVENTS}/{one}?{}", expand(name))).await.is(200, "");
        let expected = json!([{"id": name, "value": value}]);
        assert_eq!(shown.body["singleValueExtendedProperties"], expected);
    }
    let master = sandbox.get(&format!("{EVENTS}/{id}?{}", expand(UID))).await.is(200, "");
    assert_eq!(master.body.get("singleValueExtendedProperties"), None);
}

#[tokio::test]
async fn an_online_meeting_lives_as_long_as_its_body_names_the_link() {
    let sandbox = Sandbox::start().await;
    let mut body = series(&[]);
    body["isOnlineMeeting"] = json!(true);
    body["onlineMeetingProvider"] = json!("teamsForBusiness");
    body["body"] = json!({"contentType": "html", "content": "<html><body><p>Hi</p></body></html>"});
    let created = sandbox.create(&body).await.is(201, "").body;
    let url = created["onlineMeeting"]["joinUrl"].as_str().unwrap();
    let html = created["body"]["content"].as_str().unwrap();
    let line = "_".repeat(80);
    let [before, join, after] = html.split(&line).collect::<Vec<&str>>()[..] else {
        panic!("{html}")
    };
    assert!(before.contains("<p>Hi</p>") && after.ends_with("</body></html>"), "{html}");
    assert!(join.contains("Join") && join.contains(&format!("href=\"{url}\"")), "{html}");

    let id = created["id"].as_str().unwrap();
    let content = |content: &str| json!({"body": {"contentType": "html", "content": content}});
    // As the bridge replaces a body.
    let shown: Event = serde_json::from_value(created.clone()).unwrap();
    let url = shown.online_meeting.and_then(|meeting| meeting.join_url).unwrap();
    let new = ItemBody { content_type: ContentType::Text, content: "Hello".to_owned() };
    let kept = with_join_part(&new, &shown.body.unwrap(), &url).unwrap();
    let updated = sandbox.patch(id, json!({"body": kept})).await.is(200, "").body;
    assert_eq!(updated["isOnlineMeeting"], true);
    assert_eq!(updated["body"]["content"], json!(kept.content));

    // Of one occurrence, and then of all.
    let one = sandbox.instances(id).await.swap_remove(1).0;
    let ended = sandbox.patch(&one, content("<p>On site</p>")).await.is(200, "").body;
    assert_eq!((&ended["isOnlineMeeting"], &ended["onlineMeeting"]), (&json!(false), &Value::Null));
    assert_eq!(ended["body"]["content"], "<p>On site</p>");
    assert_eq!(sandbox.get(&format!("{EVENTS}/{id}")).await.body["isOnlineMeeting"], true);
    let ended = sandbox.patch(id, content("<p>On site</p>")).await.is(200, "").body;
    assert_eq!((&ended["isOnlineMeeting"], &ended["onlineMeeting"]), (&json!(false), &Value::Null));

    // What becomes a meeting with a new body has no link yet that it could lose.
    let id = sandbox.create(&event(&[])).await.id();
    let mut body = content("<p>Online</p>");
    body["isOnlineMeeting"] = json!(true);
    let became = sandbox.patch(&id, body).await.is(200, "").body;
    assert_eq!(became["isOnlineMeeting"], true);
    assert!(became["body"]["content"].as_str().unwrap().contains("Join"), "{became}");
}

#[tokio::test]
async fn after_a_reset_no_old_id_names_a_new_event() {
    let sandbox = Sandbox::start().await;
    let old = sandbox.create(&event(&[GUEST])).await.is(201, "").id();
    sandbox.client.post(format!("{}/_sandbox/reset", sandbox.url)).send().await.unwrap();
    sandbox.create(&event(&[])).await.is(201, "");
    sandbox.get(&format!("{EVENTS}/{old}")).await.is(404, "ErrorItemNotFound");
    assert!(sandbox.world.ledger.invitations().is_empty());
}
