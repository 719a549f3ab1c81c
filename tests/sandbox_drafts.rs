//! The sandbox's drafts over HTTP: made, looked up, edited, sent once, and what each switch makes of
//! it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::process::Command;

use common::graph::{ADELE, ALEX, ALL_SCOPES, Answer, MEGAN, Sandbox, TAG, tagged};
use postbridge::sandbox::world::{MessageFlags, MimeDraftPatch, SecondSend};
use reqwest::Method;
use serde_json::{Value, json};

fn mime(headers: &str) -> String {
    format!(
        "From: Adele <{ADELE}>\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\
         Message-ID: <1@client.example>\r\nSubject: Hello\r\n{headers}\r\n.\r\n  body \t\r\n\r\n"
    )
}

#[tokio::test]
async fn a_mime_draft_is_tagged_sent_and_arrives_octet_for_octet() {
    let sandbox = Sandbox::start().await;
    let given = mime(&format!("To: {ALEX}\r\nBcc: {MEGAN}\r\nIn-Reply-To: <0@x>\r\n"));
    let draft = sandbox.post_mime("/me/messages", &given).await;
    draft.is(201, "");
    assert_eq!(draft.headers["etag"], draft.text("@odata.etag"));
    assert_eq!(draft.text("internetMessageId"), "<1@client.example>");
    assert_eq!((draft.body["isDraft"].as_bool(), draft.text("subject")), (Some(true), "Hello"));
    let bcc = &draft.body["bccRecipients"][0]["emailAddress"]["address"];
    assert_eq!(bcc, MEGAN);
    let id = draft.text("id");
    let tag = json!({"singleValueExtendedProperties": [{"id": TAG, "value": "0a1b"}]});
    sandbox.patch(&format!("/me/messages/{id}"), &tag).await.is(200, "");
    assert_eq!(sandbox.find(&tagged("0A1B")).await, [id]);
    assert!(sandbox.ledger().await.is_empty());

    let sent = sandbox.send(id).await;
    sent.is(202, "");
    assert_eq!(
        (&sent.body, &sent.headers["content-length"]),
        (&Value::Null, &"0".parse().unwrap())
    );
    let ledger = sandbox.ledger().await;
    let recipients: Vec<&Value> = ledger.iter().map(|row| &row["recipient"]).collect();
    assert_eq!(recipients, [ALEX, MEGAN]);
    assert_eq!(ledger[0]["via"], "draft-mime");
    let expected = given.replace(&format!("Bcc: {MEGAN}\r\n"), "");
    assert_eq!(sandbox.raw(1).await, expected);
}

#[tokio::test]
async fn a_json_draft_carries_what_mapi_properties_and_attachments_say() {
    let sandbox = Sandbox::start().await;
    let body = json!({
        "subject": "Grüße",
        "body": {"contentType": "HTML", "content": "<img src=\"cid:pic\">"},
        "toRecipients": [{"emailAddress": {"address": ALEX, "name": "Alex"}}],
        "internetMessageId": "<own@client.example>",
        "internetMessageHeaders": [{"name": "X-Tag", "value": "7"}],
        "singleValueExtendedProperties": [
            {"id": "String 0x1042", "value": "<0@x>"}, {"id": "String 0x1039", "value": "<0@x>"},
            {"id": "String 0x1035", "value": "<own@client.example>"}],
        "attachments": [{"@odata.type": "#microsoft.graph.fileAttachment", "name": "a.txt",
            "contentType": "text/plain", "contentBytes": "aGVsbG8="}],
    });
    let draft = sandbox.post("/me/messages", &body).await;
    draft.is(201, "");
    assert!(draft.body.get("singleValueExtendedProperties").is_none(), "{}", draft.body);
    assert!(draft.body.get("internetMessageHeaders").is_none(), "{}", draft.body);
    assert_eq!(draft.body["hasAttachments"], true);
    let one = format!("/me/messages/{}", draft.text("id"));
    let inline = json!({"@odata.type": "#microsoft.graph.fileAttachment", "name": "p.png",
        "contentType": "image/png", "contentBytes": "aGk=", "isInline": true, "contentId": "pic"});
    let attached = sandbox.post(&format!("{one}/attachments"), &inline).await;
    attached.is(201, "");
    let doomed = json!({"@odata.type": "#microsoft.graph.fileAttachment", "name": "x",
        "contentBytes": "aGk="});
    let doomed = sandbox.post(&format!("{one}/attachments"), &doomed).await;
    let doomed = format!("{one}/attachments/{}", doomed.text("id"));
    sandbox.delete(&doomed).await.is(204, "");
    sandbox.delete(&doomed).await.is(404, "ErrorItemNotFound");
    let listed = sandbox.get(&format!("{one}/attachments?$select=name,size")).await;
    let names: Vec<&Value> =
        listed.body["value"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["a.txt", "p.png"]);
    assert!(listed.body["value"][0].get("contentBytes").is_none());
    let expanded =
        sandbox.get(&format!("{one}?$select=internetMessageHeaders&$expand=attachments")).await;
    assert_eq!(expanded.body["attachments"][0]["contentBytes"], "aGVsbG8=");
    assert_eq!(expanded.body["internetMessageHeaders"][0]["name"], "X-Tag");

    sandbox.send(draft.text("id")).await.is(202, "");
    assert_eq!(sandbox.ledger().await[0]["via"], "draft-json");
    let raw = sandbox.raw(1).await;
    for part in [
        "Message-ID: <own@client.example>\r\n",
        "In-Reply-To: <0@x>\r\n",
        "References: <0@x>\r\n",
        "X-Tag: 7\r\n",
        "Content-ID: <pic>\r\n",
        "multipart/related",
        "filename=\"a.txt\"",
    ] {
        assert_eq!(raw.matches(part).count(), 1, "{part} in {raw}");
    }
}

#[tokio::test]
async fn a_draft_that_was_sent_lies_in_drafts_until_transport_took_it() {
    let sandbox = Sandbox::start().await;
    let id = sandbox.draft("t1").await;
    let default = sandbox.get(&format!("/me/messages/{id}")).await.text("id").to_owned();
    assert_ne!(default, id);
    let in_drafts = |is_draft: bool, flags: &str| (is_draft, flags.to_owned(), "Drafts".to_owned());
    assert_eq!(sandbox.state(&id).await, in_drafts(true, "9"));
    sandbox.send(&id).await.is(202, "");
    assert_eq!(sandbox.state(&id).await, in_drafts(true, "5"));
    sandbox.world.switches().message_flags = MessageFlags::Stay;
    sandbox.world.switches().submitted_is_draft = false;
    assert_eq!(sandbox.state(&id).await, in_drafts(false, "9"));
    sandbox.world.switches().message_flags = MessageFlags::Hidden;
    assert_eq!(sandbox.state(&id).await, in_drafts(false, ""));
    sandbox.world.switches().message_flags = MessageFlags::Flip;
    sandbox.advance(3).await;
    assert_eq!(sandbox.state(&id).await, (false, "1".to_owned(), "Sent Items".to_owned()));
    // The move gave it another id of the default form.
    sandbox.get(&format!("/me/messages/{default}")).await.is(404, "ErrorItemNotFound");
    assert_eq!(sandbox.find(&tagged("t1")).await, [id]);
    assert_eq!(sandbox.ledger().await.len(), 2);
    let adele = sandbox.world.users[0].object_id;
    assert_eq!(sandbox.world.mail.mailbox(adele).sent_items, [1]);
}

#[tokio::test]
async fn a_second_send_does_what_the_switch_says() {
    let sandbox = Sandbox::start().await;
    for (second_send, status, code, copies) in [
        (SecondSend::NotFound, 404, "ErrorItemNotFound", 2),
        (SecondSend::Refused, 400, "ErrorInvalidRequest", 2),
        (SecondSend::Ignored, 202, "", 2),
        (SecondSend::SendsAgain, 202, "", 6),
    ] {
        sandbox.world.switches().second_send = second_send;
        let before = sandbox.ledger().await.len();
        let id = sandbox.draft("t").await;
        sandbox.send(&id).await.is(202, "");
        // On its way, and when it is in Sent Items.
        sandbox.send(&id).await.is(status, code);
        sandbox.advance(3).await;
        sandbox.send(&id).await.is(status, code);
        assert_eq!(sandbox.ledger().await.len() - before, copies, "{second_send:?}");
    }
}

#[tokio::test]
async fn what_survives_a_send_is_switched() {
    let sandbox = Sandbox::start().await;
    {
        let mut switches = sandbox.world.switches();
        switches.immutable_id_survives_send = false;
        switches.extended_properties_survive_send = false;
        switches.sent_items_delay_ms = 0;
    }
    let id = sandbox.draft("t1").await;
    let shown = sandbox.look(&format!("/me/messages/{id}")).await;
    let message_id = shown.text("internetMessageId").to_owned();
    sandbox.send(&id).await.is(202, "");
    sandbox.look(&format!("/me/messages/{id}")).await.is(404, "ErrorItemNotFound");
    assert!(sandbox.find(&tagged("t1")).await.is_empty());
    let found = sandbox.find(&format!("internetMessageId eq '{message_id}'")).await;
    assert_eq!(found.len(), 1);
    assert_eq!(sandbox.state(&found[0]).await.2, "Sent Items");
}

#[tokio::test]
async fn a_message_id_that_may_not_be_kept_is_not_found() {
    let sandbox = Sandbox::start().await;
    sandbox.world.switches().keep_message_id = false;
    let draft = sandbox.post_mime("/me/messages", mime(&format!("To: {ALEX}\r\n"))).await;
    assert_ne!(draft.text("internetMessageId"), "<1@client.example>");
    assert!(sandbox.find("internetMessageId eq '<1@client.example>'").await.is_empty());
    sandbox.send(draft.text("id")).await.is(202, "");
    assert_eq!(sandbox.ledger().await[0]["message_id"], draft.text("internetMessageId"));
}

#[tokio::test]
async fn a_mail_to_oneself_is_found_twice() {
    let sandbox = Sandbox::start().await;
    let draft = sandbox.post_mime("/me/messages", mime(&format!("To: {ADELE}\r\n"))).await;
    sandbox.send(draft.text("id")).await.is(202, "");
    let filter = "internetMessageId eq '<1@client.example>'";
    assert_eq!(sandbox.find(filter).await.len(), 2);
    assert_eq!(sandbox.find(&format!("{filter} and isDraft eq false")).await.len(), 1);
}

#[tokio::test]
async fn a_list_comes_in_pages_and_in_order() {
    let sandbox = Sandbox::start().await;
    let mut made = Vec::new();
    for number in 0..12 {
        made.push(sandbox.draft(&format!("t{}", number % 2)).await);
    }
    let first = sandbox.look("/me/mailFolders/drafts/messages?$count=true").await;
    assert_eq!(first.body["@odata.count"], 12);
    let values = first.body["value"].as_array().unwrap();
    assert_eq!((values.len(), values[0]["id"].as_str().unwrap()), (10, made[11].as_str()));
    let next = sandbox.look(first.text("@odata.nextLink")).await;
    assert_eq!(next.body["value"].as_array().unwrap().len(), 2);
    assert!(next.body.get("@odata.nextLink").is_none());
    assert_eq!(sandbox.find(&format!("{}&$top=1", tagged("t1"))).await, [made[11].clone()]);
    let sent = sandbox.look("/me/mailFolders/SentItems/messages").await;
    assert_eq!(sent.body["value"], json!([]));
    for (query, code) in [
        ("$filter=subject eq 'x'", "ErrorInvalidUrlQueryFilter"),
        ("$top=1001", "RequestBroker--ParseUri"),
        ("$search=x", "RequestBroker--ParseUri"),
        ("$select=shoeSize", "RequestBroker--ParseUri"),
        ("$filter=isDraft eq true&$orderby=sentDateTime", "InefficientFilter"),
    ] {
        sandbox.get(&format!("/me/messages?{query}")).await.is(400, code);
    }
}

#[tokio::test]
async fn only_a_draft_can_be_edited_and_only_with_the_current_etag() {
    let sandbox = Sandbox::start().await;
    let id = sandbox.draft("t").await;
    let one = format!("/me/messages/{id}");
    let etag = sandbox.look(&one).await.text("@odata.etag").to_owned();
    let patched = async |etag: &str, body: &Value| {
        Answer::of(sandbox.request(Method::PATCH, &one).header("If-Match", etag).json(body)).await
    };
    let subject = json!({"subject": "Changed", "isRead": false});
    let changed = patched(&etag, &subject).await;
    changed.is(200, "");
    assert_eq!((changed.text("subject"), &changed.body["isRead"]), ("Changed", &json!(false)));
    assert_ne!(changed.text("@odata.etag"), etag);
    patched(&etag, &subject).await.is(412, "ErrorIrresolvableConflict");
    let stale = sandbox.request(Method::DELETE, &one).header("If-Match", &etag);
    Answer::of(stale).await.is(412, "ErrorIrresolvableConflict");
    for (body, code) in [
        (json!({"sentDateTime": "x"}), "UnableToDeserializePostBody"),
        (json!({"internetMessageHeaders": []}), "UnableToDeserializePostBody"),
        (
            json!({"toRecipients": [{"emailAddress": {"address": "a..b@c"}}]}),
            "ErrorInvalidRecipients",
        ),
    ] {
        sandbox.patch(&one, &body).await.is(400, code);
    }
    sandbox.send(&id).await.is(202, "");
    sandbox.patch(&one, &subject).await.is(400, "ErrorInvalidPropertyUpdateSentMessage");
    sandbox.patch(&one, &json!({"isRead": true})).await.is(200, "");
    let file = json!({"@odata.type": "#microsoft.graph.fileAttachment", "name": "x",
        "contentBytes": "aGk="});
    let attached = sandbox.post(&format!("{one}/attachments"), &file).await;
    attached.is(400, "ErrorInvalidPropertyUpdateSentMessage");
}

#[tokio::test]
async fn a_mime_draft_stays_as_it_is_unless_the_switches_let_it_be_serialised_anew() {
    let sandbox = Sandbox::start().await;
    let given = mime(&format!("To: {ALEX}\r\nX-Tag: 7\r\n"));
    let draft = sandbox.post_mime("/me/messages", &given).await;
    let one = format!("/me/messages/{}", draft.text("id"));
    let bcc = json!({"bccRecipients": [{"emailAddress": {"address": MEGAN}}]});
    let file = json!({"@odata.type": "#microsoft.graph.fileAttachment", "name": "x.txt",
        "contentBytes": "aGk="});
    sandbox.patch(&one, &bcc).await.is(400, "ErrorInvalidRequest");
    sandbox.post(&format!("{one}/attachments"), &file).await.is(400, "ErrorInvalidRequest");
    let value = sandbox.request(Method::GET, &format!("{one}/$value")).send().await.unwrap();
    assert_eq!(value.text().await.unwrap(), given);
    // Another reading: the header takes it, and the rest stays octet for octet.
    sandbox.world.switches().mime_draft_patch = MimeDraftPatch::KeepsMime;
    let kept = sandbox.post_mime("/me/messages", &given).await;
    let other = format!("/me/messages/{}", kept.text("id"));
    sandbox.patch(&other, &bcc).await.is(200, "");
    let body = json!({"body": {"contentType": "text", "content": "x"}});
    sandbox.patch(&other, &body).await.is(400, "ErrorInvalidRequest");
    let value = sandbox.request(Method::GET, &format!("{other}/$value")).send().await.unwrap();
    let expected = given.replacen("\r\n\r\n", &format!("\r\nBcc: <{MEGAN}>\r\n\r\n"), 1);
    assert_eq!(value.text().await.unwrap(), expected);
    {
        let mut switches = sandbox.world.switches();
        switches.mime_draft_patch = MimeDraftPatch::Reserialised;
        switches.mime_draft_takes_attachments = true;
    }
    sandbox.patch(&one, &bcc).await.is(200, "");
    sandbox.post(&format!("{one}/attachments"), &file).await.is(201, "");
    sandbox.send(draft.text("id")).await.is(202, "");
    let ledger = sandbox.ledger().await;
    assert_eq!((ledger.len(), &ledger[1]["recipient"]), (2, &json!(MEGAN)));
    let raw = sandbox.raw(1).await;
    assert!(raw.contains("X-Tag: 7\r\n") && raw.contains("filename=\"x.txt\""), "{raw}");
    assert!(raw.contains("Message-ID: <1@client.example>\r\n"), "{raw}");
}

#[tokio::test]
async fn a_draft_that_is_wrong_is_refused_when_it_is_made_or_when_it_is_sent() {
    let sandbox = Sandbox::start().await;
    let code = "ErrorMimeContentInvalidBase64String";
    let request =
        sandbox.request(Method::POST, "/me/messages").header("Content-Type", "text/plain");
    Answer::of(request.body("%%%")).await.is(400, code);
    sandbox.post_mime("/me/messages", "a\nb").await.is(400, code);
    let limit = sandbox.world.switches().mime_octets_max;
    let large = sandbox.post_mime("/me/messages", "a".repeat(limit + 1)).await;
    large.is(413, "RequestEntityTooLarge");
    let large = json!({"body": {"contentType": "text", "content": "a".repeat(4 << 20)}});
    sandbox.post("/me/messages", &large).await.is(400, "BadRequest");
    for (body, code) in [
        (json!({"unknown": 1}), "UnableToDeserializePostBody"),
        (json!({"isDraft": true}), "UnableToDeserializePostBody"),
        (
            json!({"internetMessageHeaders": [{"name": "List-Id", "value": "x"}]}),
            "InvalidInternetMessageHeader",
        ),
        (
            json!({"internetMessageHeaders": vec![json!({"name": "x-a", "value": "x"}); 6]}),
            "InvalidInternetMessageHeaderCollection",
        ),
        (
            json!({"toRecipients": [{"emailAddress": {"address": "nobody"}}]}),
            "ErrorInvalidRecipients",
        ),
    ] {
        sandbox.post("/me/messages", &body).await.is(400, code);
    }
    let draft = sandbox.post("/me/messages", &json!({"subject": "for nobody"})).await;
    draft.is(201, "");
    sandbox.send(draft.text("id")).await.is(400, "ErrorInvalidRecipients");
    let from = json!({"emailAddress": {"address": ALEX}});
    let to = json!([{"emailAddress": {"address": ALEX}}]);
    let draft = sandbox.post("/me/messages", &json!({"from": from, "toRecipients": to})).await;
    sandbox.send(draft.text("id")).await.is(403, "ErrorSendAsDenied");
    sandbox.world.switches().message_octets_max = 1_000;
    let id = sandbox.draft("large").await;
    sandbox.send(&id).await.is(400, "ErrorMessageSizeExceeded");
    sandbox.send("made-up").await.is(400, "ErrorInvalidIdMalformed");
    assert!(sandbox.ledger().await.is_empty());
}

#[tokio::test]
async fn mime_is_not_taken_in_a_folder_unless_the_switch_says_so() {
    let sandbox = Sandbox::start().await;
    let given = mime(&format!("To: {ALEX}\r\n"));
    let path = "/me/mailFolders/drafts/messages";
    sandbox.post_mime(path, &given).await.is(400, "UnableToDeserializePostBody");
    sandbox.world.switches().mime_in_folder = true;
    sandbox.post_mime(path, &given).await.is(201, "");
}

#[tokio::test]
async fn a_hidden_folder_holds_drafts_and_is_listed_to_who_asks_for_it() {
    let sandbox = Sandbox::start().await;
    let made =
        sandbox.post("/me/mailFolders", &json!({"displayName": "Bridge", "isHidden": true})).await;
    made.is(201, "");
    let folder = format!("/me/mailFolders/{}", made.text("id"));
    let names = async |query: &str| {
        let listed = sandbox.get(&format!("/me/mailFolders{query}")).await;
        let values = listed.body["value"].as_array().unwrap().clone();
        values.iter().map(|one| one["displayName"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let well_known = ["Inbox", "Drafts", "Sent Items", "Deleted Items", "Outbox"];
    assert_eq!(names("").await, well_known);
    assert!(names("?includeHiddenFolders=true").await.contains(&"Bridge".to_owned()));
    let again = sandbox.post("/me/mailFolders", &json!({"displayName": "bridge"})).await;
    again.is(409, "ErrorFolderExists");
    let body = json!({"toRecipients": [{"emailAddress": {"address": ALEX}}]});
    let draft = sandbox.post(&format!("{folder}/messages"), &body).await;
    draft.is(201, "");
    assert_eq!(draft.text("parentFolderId"), made.text("id"));
    assert_eq!(sandbox.get(&folder).await.body["totalItemCount"], 1);
    let elsewhere = format!("/me/mailFolders/drafts/messages/{}", draft.text("id"));
    sandbox.get(&elsewhere).await.is(404, "ErrorItemNotFound");
    sandbox.send(draft.text("id")).await.is(202, "");
    sandbox.advance(3).await;
    assert_eq!(sandbox.get(&folder).await.body["totalItemCount"], 0);
    sandbox.patch(&folder, &json!({"displayName": "Other"})).await.is(200, "");
    sandbox
        .patch(&folder, &json!({"isHidden": false}))
        .await
        .is(400, "UnableToDeserializePostBody");
    sandbox.delete(&folder).await.is(204, "");
    sandbox.get(&folder).await.is(404, "ErrorItemNotFound");
    sandbox.delete("/me/mailFolders/inbox").await.is(400, "ErrorDeleteDistinguishedFolder");
    sandbox.get("/me/mailFolders/nowhere").await.is(400, "ErrorInvalidIdMalformed");
}

#[tokio::test]
async fn a_deleted_draft_is_in_deleted_items_until_it_is_deleted_there() {
    let sandbox = Sandbox::start().await;
    let id = sandbox.draft("t").await;
    let one = format!("/me/messages/{id}");
    sandbox.delete(&one).await.is(204, "");
    assert_eq!(sandbox.state(&id).await, (true, "9".to_owned(), "Deleted Items".to_owned()));
    assert_eq!(sandbox.find(&tagged("t")).await, std::slice::from_ref(&id));
    sandbox.delete(&one).await.is(204, "");
    sandbox.delete(&one).await.is(404, "ErrorItemNotFound");
    // What is on its way when it is deleted does not come back.
    let id = sandbox.draft("u").await;
    sandbox.send(&id).await.is(202, "");
    sandbox.delete(&format!("/me/messages/{id}")).await.is(204, "");
    sandbox.advance(3).await;
    assert_eq!(sandbox.state(&id).await.2, "Deleted Items");
    assert_eq!(sandbox.ledger().await.len(), 2);
}

#[tokio::test]
async fn no_copy_is_kept_of_a_draft_that_says_so() {
    let sandbox = Sandbox::start().await;
    let id = sandbox.draft("t").await;
    let flag =
        json!({"singleValueExtendedProperties": [{"id": "Boolean 0x0E01", "value": "true"}]});
    sandbox.patch(&format!("/me/messages/{id}"), &flag).await.is(200, "");
    sandbox.send(&id).await.is(202, "");
    sandbox.advance(3).await;
    sandbox.look(&format!("/me/messages/{id}")).await.is(404, "ErrorItemNotFound");
    assert_eq!(sandbox.ledger().await.len(), 2);
}

#[tokio::test]
async fn drafts_need_their_own_permission() {
    let sandbox = Sandbox::start().await;
    let id = sandbox.draft("t").await;
    let with = async |scopes: &[&str], method: Method, path: &str| {
        let url = format!("{}/v1.0{path}", sandbox.url);
        let request = sandbox.client.request(method, url).bearer_auth(sandbox.token(scopes));
        Answer::of(request.json(&json!({}))).await
    };
    let one = format!("/me/messages/{id}");
    for (method, path) in [
        (Method::POST, "/me/messages"),
        (Method::GET, "/me/messages"),
        (Method::GET, "/me/mailFolders"),
        (Method::PATCH, one.as_str()),
        (Method::DELETE, one.as_str()),
    ] {
        with(&["Mail.Send"], method, path).await.is(403, "ErrorAccessDenied");
    }
    let send = format!("{one}/send");
    Answer::of(sandbox.request(Method::POST, &send)).await.is(411, "BadRequest");
    with(&["Mail.ReadWrite"], Method::POST, &send).await.is(403, "ErrorAccessDenied");
    with(&["Mail.Read"], Method::GET, &one).await.is(200, "");
    let of_alex = format!("/users/{ALEX}/messages");
    with(ALL_SCOPES, Method::GET, &of_alex).await.is(403, "ErrorAccessDenied");
    let of_adele = format!("/users/{ADELE}/messages");
    with(ALL_SCOPES, Method::GET, &of_adele).await.is(200, "");
    with(&["Mail.Send"], Method::POST, &send).await.is(202, "");
}

#[tokio::test]
async fn a_send_that_was_answered_504_may_happen_later() {
    let sandbox = Sandbox::start().await;
    let id = sandbox.draft("t").await;
    let late = json!({"answer_then_act": {"after_seconds": 60,
        "answer": {"status": 504, "code": "UnknownError"}}});
    let script =
        json!({"faults": [{"method": "POST", "route": "/*/send", "nth": [1], "do": late}]});
    sandbox.post(&format!("{}/_sandbox/faults", sandbox.url), &script).await.is(204, "");
    sandbox.send(&id).await.is(504, "UnknownError");
    sandbox.advance(50).await;
    assert_eq!(sandbox.state(&id).await, (true, "9".to_owned(), "Drafts".to_owned()));
    assert!(sandbox.ledger().await.is_empty());
    sandbox.advance(10).await;
    assert_eq!(sandbox.ledger().await.len(), 2);
    assert_eq!(sandbox.state(&id).await, (true, "5".to_owned(), "Drafts".to_owned()));
    // The same draft is the fence: a second send of it is refused.
    sandbox.send(&id).await.is(404, "ErrorItemNotFound");
    assert_eq!(sandbox.ledger().await.len(), 2);
}

#[tokio::test]
async fn the_page_shows_a_hostile_draft_and_that_it_is_on_its_way() {
    let sandbox = Sandbox::start().await;
    let to = json!([{"emailAddress": {"address": ALEX}}]);
    let body = json!({"subject": "<script>alert(1)</script>", "toRecipients": to});
    let draft = sandbox.post("/me/messages", &body).await;
    let page =
        async || sandbox.client.get(&sandbox.url).send().await.unwrap().text().await.unwrap();
    let html = page().await;
    assert!(!html.contains("<script") && html.contains("alert(1)"), "{html}");
    assert!(html.contains("(draft)") && html.contains(ALEX), "{html}");
    sandbox.send(draft.text("id")).await.is(202, "");
    assert!(page().await.contains("(sent, on its way)"));
    sandbox.advance(3).await;
    assert!(!page().await.contains("on its way"));
}

#[tokio::test]
async fn the_official_python_sdk_makes_fills_finds_and_sends_a_draft() {
    let python = std::env::var("POSTBRIDGE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let known = Command::new(&python).args(["-c", "import msgraph"]).output();
    if !known.is_ok_and(|output| output.status.success()) {
        return common::skip(&format!("{python} has no msgraph-sdk"));
    }
    let sandbox = Sandbox::start().await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/msgraph_drafts_client.py");
    let mut command = Command::new(python);
    command.args(["-B", script, &sandbox.url, &sandbox.token(ALL_SCOPES), ALEX]);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ledger = sandbox.ledger().await;
    assert_eq!((ledger.len(), &ledger[0]["via"]), (1, &json!("draft-json")));
    assert_eq!(ledger[0]["subject"], "Larger");
    let raw = sandbox.raw(1).await;
    assert!(raw.contains("filename=\"big.bin\"") && raw.contains("filename=\"small.txt\""));
}
