//! The sandbox's upload sessions over HTTP: an attachment of 3 MB and more in pieces, for mails and
//! events.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::graph::{Answer, Sandbox};
use postbridge::sandbox::world::{UploadProgress, UploadWithAuthorization};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;
const SIZE: usize = 5 * MIB;

/// An attachment of 5 MiB whose octets differ from piece to piece.
fn file() -> Vec<u8> {
    (0..SIZE).map(|at| (at / 1000 % 251) as u8).collect()
}

/// The upload URL of a new session for `path` (a message or an event).
async fn begin(sandbox: &Sandbox, path: &str) -> String {
    let item = json!({"attachmentType": "file", "name": "big.bin", "size": SIZE,
        "contentType": "application/x-big"});
    let path = format!("{path}/attachments/createUploadSession");
    let begun = sandbox.post(&path, &json!({"AttachmentItem": item})).await;
    begun.is(201, "");
    assert_eq!(begun.body["nextExpectedRanges"], json!(["0-"]));
    begun.text("uploadUrl").to_owned()
}

fn piece(sandbox: &Sandbox, url: &str, first: usize, octets: &[u8]) -> RequestBuilder {
    let last = first + octets.len() - 1;
    let range = format!("bytes {first}-{last}/{SIZE}");
    sandbox.client.put(url).header("Content-Range", range).body(octets.to_vec())
}

async fn put(sandbox: &Sandbox, url: &str, first: usize, octets: &[u8]) -> Answer {
    Answer::of(piece(sandbox, url, first, octets)).await
}

async fn bare(sandbox: &Sandbox, method: Method, url: &str) -> Answer {
    Answer::of(sandbox.client.request(method, url)).await
}

#[tokio::test]
async fn a_large_attachment_arrives_whole_in_pieces() {
    let sandbox = Sandbox::start().await;
    let message = format!("/me/messages/{}", sandbox.draft("t").await);
    let url = begin(&sandbox, &message).await;
    let file = file();
    let next = async || bare(&sandbox, Method::GET, &url).await.body;
    for (first, next_range) in [(0, "2097152"), (2 * MIB, "4194304")] {
        let taken = put(&sandbox, &url, first, &file[first..first + 2 * MIB]).await;
        taken.is(200, "");
        assert_eq!(taken.body["nextExpectedRanges"], json!([next_range]));
        assert!(taken.body["ExpirationDateTime"].is_string(), "{}", taken.body);
        assert_eq!(next().await["nextExpectedRanges"], json!([next_range]));
    }
    let last = put(&sandbox, &url, 4 * MIB, &file[4 * MIB..]).await;
    last.is(201, "");
    assert_eq!(last.body, Value::Null);
    let location = last.headers["location"].to_str().unwrap();
    let id = location.rsplit("Attachments('").next().unwrap().trim_end_matches("')");
    let shown = sandbox.get(&format!("{message}/attachments/{id}?$select=name,size")).await;
    assert_eq!((shown.text("name"), &shown.body["size"]), ("big.bin", &json!(SIZE)));
    // The session is over.
    bare(&sandbox, Method::GET, &url).await.is(404, "ErrorItemNotFound");

    let id = message.rsplit('/').next().unwrap();
    sandbox.send(id).await.is(202, "");
    let raw = sandbox.raw(1).await;
    let parsed = mail_parser::MessageParser::new().parse(raw.as_bytes()).unwrap();
    let attachment = parsed.attachment(0).unwrap();
    assert_eq!(attachment.contents(), file);
    assert!(raw.contains("application/x-big"));
}

#[tokio::test]
async fn pieces_come_in_order_and_fit() {
    let sandbox = Sandbox::start().await;
    let message = format!("/me/messages/{}", sandbox.draft("t").await);
    let url = begin(&sandbox, &message).await;
    let file = file();
    let mib = &file[..MIB];
    let large = put(&sandbox, &url, 0, &file[..4 * MIB + 1]).await;
    large.is(413, "RequestEntityTooLarge");
    put(&sandbox, &url, MIB, mib).await.is(416, "invalidRange");
    put(&sandbox, &url, 0, mib).await.is(200, "");
    // Again, as after a lost answer; and one that overlaps.
    put(&sandbox, &url, 0, mib).await.is(416, "invalidRange");
    sandbox.world.switches().upload_out_of_order_is_416 = false;
    put(&sandbox, &url, MIB / 2, mib).await.is(400, "invalidRange");
    for range in ["bytes 0-9/10", "bytes 1048576-1048580/5242880", "1048576-2097151/5242880"] {
        let request = sandbox.client.put(&url).header("Content-Range", range).body(mib.to_vec());
        Answer::of(request).await.is(400, "ErrorInvalidRequest");
    }
    let without = sandbox.client.put(&url).body(mib.to_vec());
    Answer::of(without).await.is(400, "ErrorInvalidRequest");
    sandbox.world.switches().upload_multiple_octets = 327_680;
    put(&sandbox, &url, MIB, mib).await.is(400, "invalidRange");
    sandbox.world.switches().upload_progress = UploadProgress::CamelCase;
    let taken = put(&sandbox, &url, MIB, &file[MIB..MIB + 327_680]).await;
    assert_eq!(taken.body["nextExpectedRanges"], json!(["1376256-"]));
    assert!(taken.body["expirationDateTime"].is_string(), "{}", taken.body);
    sandbox.world.switches().upload_progress = UploadProgress::PascalCase;
    let shown = bare(&sandbox, Method::GET, &url).await;
    assert_eq!(shown.body["NextExpectedRanges"], json!(["1376256"]));
    sandbox.world.switches().upload_readable = false;
    bare(&sandbox, Method::GET, &url).await.is(405, "BadRequest");
}

#[tokio::test]
async fn the_url_is_all_the_permission_there_is() {
    let sandbox = Sandbox::start().await;
    let message = format!("/me/messages/{}", sandbox.draft("t").await);
    let url = begin(&sandbox, &message).await;
    let mib = &file()[..MIB];
    let bearer = async || {
        Answer::of(piece(&sandbox, &url, 0, mib).bearer_auth(sandbox.token(&["Mail.ReadWrite"])))
            .await
    };
    bearer().await.is(401, "InvalidAuthenticationToken");
    sandbox.world.switches().upload_with_authorization = UploadWithAuthorization::Status400;
    bearer().await.is(400, "BadRequest");
    sandbox.world.switches().upload_with_authorization = UploadWithAuthorization::Taken;
    bearer().await.is(200, "");
    let changed = url.split('?').next().unwrap();
    bare(&sandbox, Method::GET, changed).await.is(401, "InvalidAuthenticationToken");
    bare(&sandbox, Method::DELETE, &url).await.is(204, "");
    bare(&sandbox, Method::GET, &url).await.is(404, "ErrorItemNotFound");
}

#[tokio::test]
async fn a_session_expires_and_its_pieces_do_not_prolong_it() {
    let sandbox = Sandbox::start().await;
    let message = format!("/me/messages/{}", sandbox.draft("t").await);
    let url = begin(&sandbox, &message).await;
    let mib = &file()[..MIB];
    sandbox.advance(3_500).await;
    put(&sandbox, &url, 0, mib).await.is(200, "");
    sandbox.advance(100).await;
    put(&sandbox, &url, MIB, mib).await.is(404, "ErrorItemNotFound");
    bare(&sandbox, Method::GET, &url).await.is(404, "ErrorItemNotFound");
}

#[tokio::test]
async fn what_is_too_small_or_too_large_for_a_session_is_refused() {
    let sandbox = Sandbox::start().await;
    let message = format!("/me/messages/{}", sandbox.draft("t").await);
    let begin = async |size: usize| {
        let item = json!({"attachmentType": "file", "name": "a", "size": size});
        let path = format!("{message}/attachments/createUploadSession");
        sandbox.post(&path, &json!({"AttachmentItem": item})).await
    };
    begin(3 * MIB - 1).await.is(400, "ErrorAttachmentSizeShouldNotBeLessThanMinimumSize");
    begin(3 * MIB).await.is(201, "");
    begin(36 * MIB).await.is(400, "ErrorMessageSizeExceeded");
    sandbox.world.switches().message_octets_max = 151 * MIB;
    begin(150 * MIB).await.is(201, "");
    begin(150 * MIB + 1).await.is(400, "ErrorMessageSizeExceeded");
    let large = "AAAA".repeat(MIB);
    let file = json!({"@odata.type": "#microsoft.graph.fileAttachment", "name": "a",
        "contentBytes": large});
    let attachments = format!("{message}/attachments");
    sandbox.post(&attachments, &file).await.is(400, "BadRequest");
    sandbox.send(message.rsplit('/').next().unwrap()).await.is(202, "");
    begin(3 * MIB).await.is(400, "ErrorInvalidPropertyUpdateSentMessage");
}

#[tokio::test]
async fn an_upload_to_a_draft_that_is_gone_goes_nowhere() {
    let sandbox = Sandbox::start().await;
    let id = sandbox.draft("t").await;
    let message = format!("/me/messages/{id}");
    let url = begin(&sandbox, &message).await;
    let file = file();
    put(&sandbox, &url, 0, &file[..4 * MIB]).await.is(200, "");
    sandbox.send(&id).await.is(202, "");
    let last = put(&sandbox, &url, 4 * MIB, &file[4 * MIB..]).await;
    last.is(400, "ErrorInvalidPropertyUpdateSentMessage");
    assert!(!sandbox.raw(1).await.contains("big.bin"));
}

#[tokio::test]
async fn too_many_octets_in_five_minutes_are_throttled() {
    let sandbox = Sandbox::start().await;
    let message = format!("/me/messages/{}", sandbox.draft("t").await);
    let url = begin(&sandbox, &message).await;
    let file = file();
    sandbox.world.switches().uploaded_octets_max = 4 * MIB;
    put(&sandbox, &url, 0, &file[..3 * MIB]).await.is(200, "");
    let throttled = put(&sandbox, &url, 3 * MIB, &file[3 * MIB..]).await;
    throttled.is(429, "ApplicationThrottled");
    let wait: u32 = throttled.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((200..=300).contains(&wait), "{wait}");
    let ledger = sandbox.get(&format!("{}/_sandbox/ledger", sandbox.url)).await;
    assert_eq!(ledger.body["throttled"][0]["limit"], "MailboxUpload");
    // Other requests of the application are not in its way.
    sandbox.get(&message).await.is(200, "");
    sandbox.advance(wait).await;
    put(&sandbox, &url, 3 * MIB, &file[3 * MIB..]).await.is(201, "");
}

#[tokio::test]
async fn an_event_takes_a_large_attachment_as_well() {
    let sandbox = Sandbox::start().await;
    let token = sandbox.token(&["Calendars.ReadWrite"]);
    let post = async |path: &str, body: &Value| {
        let url = format!("{}/v1.0{path}", sandbox.url);
        Answer::of(sandbox.client.post(url).bearer_auth(&token).json(body)).await
    };
    let at = |time: &str| json!({"dateTime": format!("2026-12-01T{time}"), "timeZone": "UTC"});
    let event = json!({"subject": "x", "start": at("10:00:00"), "end": at("11:00:00")});
    let made = post("/me/events", &event).await;
    made.is(201, "");
    let event = format!("/me/events/{}", made.text("id"));
    let item = json!({"attachmentType": "file", "name": "big.bin", "size": SIZE});
    let path = format!("{event}/attachments/createUploadSession");
    let begun = post(&path, &json!({"attachmentItem": item})).await;
    begun.is(201, "");
    let (url, file) = (begun.text("uploadUrl"), file());
    put(&sandbox, url, 0, &file[..4 * MIB]).await.is(200, "");
    let last = put(&sandbox, url, 4 * MIB, &file[4 * MIB..]).await;
    last.is(201, "");
    assert!(last.headers["location"].to_str().unwrap().contains("/Events('"));
    let shown = sandbox.client.get(format!("{}/v1.0{event}/attachments", sandbox.url));
    let shown = Answer::of(shown.bearer_auth(&token)).await;
    assert_eq!(shown.body["value"][0]["size"], SIZE);
}
