//! Large mails taken apart and sent by way of a draft, against the sandbox over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::graph::{ADELE, ALEX, ALL_SCOPES, MEGAN, Sandbox};
use mail_parser::{MessageParser, MimeHeaders};
use postbridge::account::{Account, AccountId, Address, Profile, Standing as AccountStanding};
use postbridge::clock::Clock;
use postbridge::graph::draft::Traces;
use postbridge::graph::message::{AttachmentItem, MessageAttachment, MessageBody, Standing};
use postbridge::graph::upload::{CHUNK_OCTETS, POSTED_OCTETS_MAX, Progress, Session};
use postbridge::graph::{Failure, Graph};
use postbridge::mime::content::Content;
use postbridge::mime::decode::{Decoder, whole};
use postbridge::mime::decompose::{BODY_OCTETS_MAX, Decomposed, Importance, decompose};
use postbridge::mime::outline::Reader;
use postbridge::mime::{Refusal, Stamp};
use postbridge::sandbox::world::{
    MessageFlags, SecondSend, UploadProgress, UploadWithAuthorization,
};
use postbridge::secret::Secret;
use postbridge::submission::{Envelope, ForwardPath, MailParameters};
use proptest::prelude::*;

const TAG: &str = "0190f3b2a1";

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn account() -> Account {
    Account {
        id: AccountId(uuid::Uuid::nil()),
        address: address(ADELE),
        aliases: vec![],
        send_as: vec![],
        profile: Profile::Full,
        granted: vec![],
        person: None,
        standing: AccountStanding::Ready,
    }
}

fn take_apart(mail: &str, to: &[&str]) -> Result<(Decomposed, Vec<u8>), Refusal> {
    let mail = mail.replace('\n', "\r\n").into_bytes();
    let mut reader = Reader::default();
    for piece in mail.chunks(65_536) {
        reader.push(piece)?;
    }
    let outline = reader.finish()?;
    let paths = to.iter().map(|text| ForwardPath::from(address(text))).collect();
    let envelope = Envelope::new(Some(address(ADELE)), paths, MailParameters::default()).unwrap();
    let stamp = Stamp { id: TAG.into(), accepted_at: "2026-11-23T10:00:00Z".parse().unwrap() };
    Ok((decompose(&outline, &envelope, &account(), &stamp)?, mail))
}

fn decoded(mail: &[u8], content: &Content) -> Vec<u8> {
    let index = |offset: u64| usize::try_from(offset).unwrap();
    whole(content.encoding, &mail[index(content.range.start)..index(content.range.end)])
}

fn body(mail: &mut Decomposed, octets: &[u8]) -> Result<String, Refusal> {
    let texts: Vec<Vec<u8>> =
        mail.texts.iter().map(|text| decoded(octets, &text.content)).collect();
    mail.body(&texts)
}

fn addresses(list: &[postbridge::mime::decompose::Mailbox]) -> Vec<&str> {
    list.iter().map(|one| one.address.as_str()).collect()
}

fn simple(rest: &str) -> String {
    format!("From: Adele Vance <{ADELE}>\nTo: {ALEX}\nMessage-ID: <1@client.example>\n{rest}")
}

const NEWSLETTER: &str = "Content-Type: multipart/mixed; boundary=m\n\n--m\n\
    Content-Type: multipart/related; boundary=r\n\n--r\n\
    Content-Type: multipart/alternative; boundary=a\n\n--a\n\nplain\n--a\n\
    Content-Type: text/html; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\n\
    <p>Gr=FC=DFe <img src=3D\"cid:pic%40x\"></p>\n--a\n\
    Content-Type: text/calendar\n\nBEGIN:VCALENDAR\n--a--\n--r\n\
    Content-Type: image/png; name=p.png\nContent-ID: <pic@x>\nContent-Transfer-Encoding: base64\n\n\
    aGVsbG8=\n--r\nContent-Type: image/png; name=q.png\nContent-ID: <unused@x>\n\nq\n--r--\n--m\n\
    Content-Type: message/rfc822\n\nSubject: inner\n\nx\n--m\n\
    Content-Type: text/plain\n\n-- \nfooter\n--m--\n";

#[test]
fn a_mail_becomes_one_body_and_files_and_says_what_is_lost() {
    let head = simple(
        "Cc: Megan <megan.bowen@fabrikam.example>, \"Old, Boss\" <boss@fabrikam.example>\n\
         Bcc: shown@nobody.example\nReply-To: jobs@contoso.example\nX-Priority: 1 (Highest)\n\
         Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nIn-Reply-To: <0@x>\nReferences: <a@x>\n <0@x>\n\
         List-Unsubscribe: <mailto:off@contoso.example>\nDisposition-Notification-To: a@b.example\n\
         X-Mailer: m\nX-A: 1\nX-B: 2\nX-C: 3\nX-D: 4\nAuto-Submitted: auto-generated\n",
    );
    let to = [ALEX, MEGAN, "audit@contoso.example"];
    let (mut mail, octets) = take_apart(&(head + NEWSLETTER), &to).unwrap();
    let text = body(&mut mail, &octets).unwrap();
    assert_eq!(text, "<p>Grüße <img src=\"cid:pic%40x\"></p>");
    assert!(mail.is_html);
    assert_eq!((mail.subject.as_str(), mail.importance), ("Grüße", Importance::High));
    assert_eq!(addresses(&mail.to), [ALEX]);
    assert_eq!(addresses(&mail.cc), [MEGAN]);
    assert_eq!(addresses(&mail.bcc), ["audit@contoso.example"]);
    assert_eq!(mail.cc[0].name.as_deref(), Some("Megan"));
    assert_eq!(addresses(&mail.reply_to), ["jobs@contoso.example"]);
    assert_eq!(mail.from.name.as_deref(), Some("Adele Vance"));
    assert_eq!(mail.message_id, "<1@client.example>");
    assert_eq!(mail.in_reply_to.as_deref(), Some("<0@x>"));
    assert_eq!(mail.references.as_deref(), Some("<a@x> <0@x>"));
    assert_eq!(mail.list_unsubscribe.as_deref(), Some("<mailto:off@contoso.example>"));
    assert!(mail.wants_read_receipt && !mail.wants_delivery_receipt);
    // Ours says who was cut out, so it comes first; the program's name is what goes.
    let own: Vec<&str> = mail.own_fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(own, ["X-Postbridge-Cc", "X-A", "X-B", "X-C", "X-D"]);
    let files: Vec<(&str, bool)> =
        mail.attachments.iter().map(|one| (one.name.as_str(), one.is_inline)).collect();
    assert_eq!(
        files,
        [
            ("invite.ics", false),
            ("p.png", true),
            ("q.png", false),
            ("message.eml", false),
            ("attachment.txt", false)
        ]
    );
    assert_eq!(decoded(&octets, &mail.attachments[1].content), b"hello");
    for note in [
        "the plain text alternative is not carried",
        "the calendar alternative goes as an attachment",
        "a text beside the HTML body goes as an attachment",
        "fields that are not carried: X-Mailer",
        "Auto-Submitted",
    ] {
        assert!(mail.notes.iter().any(|one| one.contains(note)), "{note}: {:?}", mail.notes);
    }
}

#[test]
fn texts_that_follow_each_other_are_one_body() {
    let rest = "Content-Type: multipart/mixed; boundary=m\n\n--m\n\none\n--m\n\
        Content-Type: application/pdf; name=a.pdf\n\nx\n--m\n\ntwo\n--m--\n";
    let (mut mail, octets) = take_apart(&simple(rest), &[ALEX]).unwrap();
    assert_eq!(body(&mut mail, &octets).unwrap(), "one\r\ntwo");
    assert!(!mail.is_html);
    assert_eq!(mail.attachments.len(), 1);
}

#[test]
fn a_text_that_does_not_say_what_it_is_written_in_is_utf_8_or_windows() {
    let (mut mail, _) = take_apart(&simple("\nx\n"), &[ALEX]).unwrap();
    assert_eq!(mail.body(&["Grüße".into()]).unwrap(), "Grüße");
    assert_eq!(mail.body(&[b"Gr\xfc\xdfe".to_vec()]).unwrap(), "Grüße");
}

#[test]
fn what_would_break_when_taken_apart_is_refused() {
    let signed = "Content-Type: multipart/signed; boundary=s; protocol=\"application/pgp-signature\"\n\n\
        --s\n\nx\n--s\nContent-Type: application/pgp-signature\n\ny\n--s--\n";
    let wrapped = format!("Content-Type: multipart/mixed; boundary=m\n\n--m\n{signed}\n--m--\n");
    let encrypted = "Content-Type: multipart/encrypted; boundary=s\n\n--s\n\nx\n--s--\n";
    let smime = "Content-Type: application/pkcs7-mime; name=smime.p7m\n\nx\n";
    for rest in [signed, &wrapped, encrypted, smime] {
        let refusal = take_apart(&simple(rest), &[ALEX]).unwrap_err();
        assert_eq!((refusal.code, refusal.enhanced), (552, [5, 3, 4]), "{rest}");
        assert!(refusal.text.contains("taking it apart would break it"), "{}", refusal.text);
    }
    let pgp = "\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nx\n";
    let (mut mail, octets) = take_apart(&simple(pgp), &[ALEX]).unwrap();
    assert_eq!(body(&mut mail, &octets).unwrap_err().enhanced, [5, 3, 4]);
}

#[test]
fn a_signed_file_or_a_nested_signed_mail_is_a_file_like_others() {
    let rest = "Content-Type: multipart/mixed; boundary=m\n\n--m\n\nx\n--m\n\
        Content-Type: application/pkcs7-mime; name=invoice.xml.p7m\n\ny\n--m\n\
        Content-Type: message/rfc822\n\nContent-Type: multipart/signed; boundary=s\n\n--s\n--m--\n";
    let (mail, _) = take_apart(&simple(rest), &[ALEX]).unwrap();
    let names: Vec<&str> = mail.attachments.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["invoice.xml.p7m", "message.eml"]);
}

#[test]
fn a_text_that_no_request_can_hold_is_refused() {
    let (mut mail, _) = take_apart(&simple("\nx\n"), &[ALEX]).unwrap();
    assert!(mail.body(&[vec![b'x'; BODY_OCTETS_MAX]]).is_ok());
    // A quote takes two octets in JSON.
    let quotes = vec![b'"'; BODY_OCTETS_MAX / 2 + 1];
    assert_eq!(mail.body(&[quotes]).unwrap_err().enhanced, [5, 3, 4]);
}

#[test]
fn nobody_outside_the_envelope_is_a_recipient_and_nobody_is_left_out() {
    let heads = [
        format!("From: {ADELE}\nTo: {ALEX}, {ALEX}\nCc: {ALEX}\n\nx"),
        format!("From: {ADELE}\nTo: Team: {ALEX}, stranger@x.example;, {MEGAN}\n\nx"),
        format!("From: {ADELE}\nTo: undisclosed-recipients:;\n\nx"),
        "toner is low\n".to_owned(),
        format!("From: {ADELE}\nResent-To: stranger@x.example\nBcc: stranger@x.example\n\nx"),
    ];
    for head in heads {
        let (mail, _) = take_apart(&head, &[ALEX, MEGAN]).unwrap();
        let mut all: Vec<&str> =
            [&mail.to, &mail.cc, &mail.bcc].iter().flat_map(|list| addresses(list)).collect();
        all.sort_unstable();
        assert_eq!(all, [ALEX, MEGAN], "{head}");
    }
}

proptest! {
    #[test]
    fn recipients_are_the_envelope_whatever_the_header_names(
        named in prop::collection::vec((0_usize..3, 0_usize..6, 0_usize..4), 0..8),
        envelope in prop::collection::btree_set(0_usize..6, 1..5),
    ) {
        const PEOPLE: [&str; 6] = [
            ALEX, MEGAN, "a@x.example", "\"a b\"@x.example", "MIXED@x.example", "o'b@x.example",
        ];
        let mut head = format!("From: {ADELE}\n");
        for (field, who, form) in named {
            let (field, who) = (["To", "Cc", "Bcc"][field], PEOPLE[who]);
            let value = match form {
                0 => who.to_owned(),
                1 => format!("\"Vance, Adele\" <{who}>"),
                2 => format!("Team: {who}, {ALEX};"),
                _ => format!("=?utf-8?q?Gr=C3=BC=C3=9Fe?= <{who}>, {MEGAN}"),
            };
            head.push_str(&format!("{field}: {value}\n"));
        }
        let to: Vec<&str> = envelope.iter().map(|who| PEOPLE[*who]).collect();
        let (mail, _) = take_apart(&(head + "\nx\n"), &to).unwrap();
        let all = [&mail.to, &mail.cc, &mail.bcc];
        let mut all: Vec<String> =
            all.iter().flat_map(|list| list.iter()).map(|one| one.address.key()).collect();
        all.sort_unstable();
        let mut wanted: Vec<String> = to.iter().map(|who| address(who).key()).collect();
        wanted.sort_unstable();
        prop_assert_eq!(all, wanted);
    }
}

/// A sandbox, and our side of it.
struct Bench {
    sandbox: Sandbox,
    graph: Graph,
    token: String,
}

impl Bench {
    async fn start() -> Bench {
        let sandbox = Sandbox::start().await;
        let graph = Graph::new(&sandbox.url, Clock::default()).unwrap();
        let token = sandbox.token(ALL_SCOPES);
        Bench { sandbox, graph, token }
    }

    async fn mime_draft(&self) -> String {
        let mail = simple("\nhello\n").replace('\n', "\r\n");
        let made = self.graph.create_draft(&self.token, mail.as_bytes()).await.unwrap();
        assert_eq!(made.internet_message_id.as_deref(), Some("<1@client.example>"));
        self.graph.tag_draft(&self.token, &made.id, TAG).await.unwrap();
        made.id
    }

    async fn find(&self, id: Option<&str>) -> Standing {
        let message_id = Some("<1@client.example>");
        let begun_at = self.sandbox.world.clock.now();
        let traces = Traces { id, tag: TAG, message_id, begun_at };
        // The clock may have passed the end of the token's life.
        let token = self.sandbox.token(ALL_SCOPES);
        self.graph.find(&token, &traces).await.unwrap()
    }

    async fn begin(&self, draft: &str, item: &AttachmentItem) -> Session {
        self.graph.begin_upload(&self.token, draft, item).await.unwrap()
    }
}

#[tokio::test]
async fn a_draft_is_found_unsent_submitted_and_sent() {
    let bench = Bench::start().await;
    assert_eq!(bench.find(None).await, Standing::Nowhere);
    let id = bench.mime_draft().await;
    assert_eq!(bench.find(Some(&id)).await, Standing::Unsent);
    assert_eq!(bench.find(None).await, Standing::Unsent, "by its tag");
    bench.graph.send_draft(&bench.token, &id).await.unwrap();
    assert_eq!(bench.find(Some(&id)).await, Standing::Submitted);
    bench.sandbox.advance(3).await;
    assert_eq!(bench.find(Some(&id)).await, Standing::Sent);
    assert_eq!(bench.find(None).await, Standing::Sent);
    assert_eq!(bench.sandbox.ledger().await.len(), 1);
    // What was sent is refused to be sent again, and a 404 alone would prove nothing.
    let again = bench.graph.send_draft(&bench.token, &id).await;
    assert!(matches!(again, Err(Failure::Never { status: 404, .. })), "{again:?}");
}

#[tokio::test]
async fn a_sent_mail_is_found_under_every_switch() {
    for (id_survives, tag_survives) in [(true, false), (false, true), (false, false)] {
        for flags in [MessageFlags::Flip, MessageFlags::Stay, MessageFlags::Hidden] {
            let bench = Bench::start().await;
            {
                let mut switches = bench.sandbox.world.switches();
                switches.immutable_id_survives_send = id_survives;
                switches.extended_properties_survive_send = tag_survives;
                switches.message_flags = flags;
                switches.second_send = SecondSend::SendsAgain;
            }
            let id = bench.mime_draft().await;
            assert_eq!(bench.find(Some(&id)).await, Standing::Unsent);
            bench.graph.send_draft(&bench.token, &id).await.unwrap();
            bench.sandbox.advance(3).await;
            let found = bench.find(Some(&id)).await;
            assert_eq!(found, Standing::Sent, "{id_survives} {tag_survives} {flags:?}");
        }
    }
}

#[tokio::test]
async fn a_draft_left_over_under_the_same_message_id_is_not_ours() {
    let bench = Bench::start().await;
    let mail = simple("\nhello\n").replace('\n', "\r\n");
    bench.graph.create_draft(&bench.token, mail.as_bytes()).await.unwrap();
    assert_eq!(bench.find(None).await, Standing::Nowhere);
}

#[tokio::test]
async fn a_mail_of_that_message_id_that_was_sent_long_before_is_not_ours() {
    let bench = Bench::start().await;
    let mail = simple("\nhello\n").replace('\n', "\r\n");
    let made = bench.graph.create_draft(&bench.token, mail.as_bytes()).await.unwrap();
    bench.graph.send_draft(&bench.token, &made.id).await.unwrap();
    bench.sandbox.advance(3).await;
    assert_eq!(bench.find(None).await, Standing::Sent);
    bench.sandbox.advance(3600).await;
    assert_eq!(bench.find(None).await, Standing::Nowhere);
}

#[tokio::test]
async fn a_mail_under_the_same_message_id_does_not_pass_for_ours() {
    let bench = Bench::start().await;
    let sent = bench.mime_draft().await;
    bench.graph.send_draft(&bench.token, &sent).await.unwrap();
    bench.sandbox.advance(3).await;
    let find = async |id, tag| {
        let begun_at = bench.sandbox.world.clock.now();
        let traces = Traces { id, tag, message_id: Some("<1@client.example>"), begun_at };
        bench.graph.find(&bench.token, &traces).await.unwrap()
    };
    // The client used it twice: another draft of ours went, and this one is nowhere.
    assert_eq!(find(None, "0190ffff").await, Standing::Nowhere);
    // This one is there, and did not go.
    let mail = simple("\nother\n").replace('\n', "\r\n");
    let other = bench.graph.create_draft(&bench.token, mail.as_bytes()).await.unwrap().id;
    bench.sandbox.world.switches().extended_properties_survive_send = false;
    assert_eq!(find(Some(&other), "0190ffff").await, Standing::Unsent);
}

#[tokio::test]
async fn a_deleted_draft_may_be_deleted_again() {
    let bench = Bench::start().await;
    let id = bench.mime_draft().await;
    for _ in 0..3 {
        bench.graph.delete_draft(&bench.token, &id).await.unwrap();
    }
    assert_eq!(bench.find(Some(&id)).await, Standing::Nowhere);
}

#[tokio::test]
async fn a_large_mail_arrives_with_everything_that_graph_can_carry() {
    let bench = Bench::start().await;
    bench.sandbox.world.switches().upload_multiple_octets = 320 * 1024;
    let big: Vec<u8> = (0..7_000_001_u32).map(|at| (at / 1000 % 251) as u8).collect();
    let encoded = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(&big)
    };
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    let part = format!(
        "--m\nContent-Type: application/x-big; name=big.bin\n\
         Content-Transfer-Encoding: base64\n\n{}\n--m--\n",
        lines.join("\n")
    );
    let rest = NEWSLETTER.replace("--m--\n", &part);
    let head = simple("Subject: Big\nIn-Reply-To: <0@x>\nReferences: <0@x>\nX-Tag: 7\n");
    let (mut mail, octets) = take_apart(&(head + &rest), &[ALEX, MEGAN]).unwrap();
    let text = body(&mut mail, &octets).unwrap();

    let message = MessageBody::new(&mail, text, TAG);
    let made = bench.graph.create_json_draft(&bench.token, &message).await.unwrap();
    for attachment in &mail.attachments {
        let range = attachment.content.range.clone();
        let file = {
            // As from a spool: in pieces.
            let mut decoder = Decoder::new(attachment.content.encoding);
            let mut file = Vec::new();
            let index = |offset: u64| usize::try_from(offset).unwrap();
            octets[index(range.start)..index(range.end)]
                .chunks(65_536)
                .for_each(|piece| decoder.push(piece, &mut file));
            decoder.finish(&mut file);
            file
        };
        let size = u64::try_from(file.len()).unwrap();
        if size < POSTED_OCTETS_MAX {
            let small = MessageAttachment::new(attachment, &file);
            bench.graph.attach_to_draft(&bench.token, &made.id, &small).await.unwrap();
            continue;
        }
        let item = AttachmentItem::new(attachment, size);
        let session = bench.begin(&made.id, &item).await;
        let mut first = 0;
        let mut last = Progress::Expects(0);
        for piece in file.chunks(CHUNK_OCTETS) {
            assert_eq!(last, Progress::Expects(first));
            last = bench.graph.upload(&session, first, size, piece.to_vec()).await.unwrap();
            first += u64::try_from(piece.len()).unwrap();
        }
        assert_eq!(last, Progress::Attached);
    }
    let hanging = bench.graph.draft_attachments(&bench.token, &made.id).await.unwrap();
    assert_eq!(hanging.len(), mail.attachments.len());
    bench.graph.send_draft(&bench.token, &made.id).await.unwrap();

    let ledger = bench.sandbox.ledger().await;
    let recipients: Vec<&str> =
        ledger.iter().map(|row| row["recipient"].as_str().unwrap()).collect();
    assert_eq!(recipients, [ALEX, MEGAN]);
    assert_eq!(ledger[0]["via"], "draft-json");
    let raw = bench.sandbox.raw(1).await;
    let parsed = MessageParser::new().parse(raw.as_bytes()).unwrap();
    assert_eq!(parsed.message_id(), Some("1@client.example"));
    assert_eq!(parsed.in_reply_to().as_text(), Some("0@x"));
    assert_eq!(parsed.subject(), Some("Big"));
    assert!(parsed.body_html(0).unwrap().contains("Grüße"));
    assert!(raw.contains("X-Tag: 7\r\n") && !raw.contains(&format!("Bcc: {MEGAN}")));
    let named =
        |name: &str| parsed.parts.iter().find(|part| part.attachment_name() == Some(name)).unwrap();
    assert!(named("big.bin").contents() == big, "the large file is another one");
    let shown = parsed.parts.iter().find(|part| part.content_id() == Some("pic@x")).unwrap();
    assert_eq!(shown.contents(), b"hello");
}

fn large_file() -> (AttachmentItem, Vec<u8>, u64) {
    let rest = "Content-Type: application/pdf; name=big.pdf\n\nx";
    let (mail, _) = take_apart(&simple(rest), &[ALEX]).unwrap();
    let size = CHUNK_OCTETS * 2 + 5;
    let file = (0..size).map(|at| (at % 251) as u8).collect();
    let size = u64::try_from(size).unwrap();
    (AttachmentItem::new(&mail.attachments[0], size), file, size)
}

#[tokio::test]
async fn an_upload_goes_on_where_the_session_stands_however_that_is_spelt() {
    for form in [UploadProgress::Documented, UploadProgress::CamelCase, UploadProgress::PascalCase]
    {
        for status_416 in [true, false] {
            let bench = Bench::start().await;
            bench.sandbox.world.switches().upload_progress = form;
            bench.sandbox.world.switches().upload_out_of_order_is_416 = status_416;
            bench.sandbox.world.switches().upload_with_authorization =
                UploadWithAuthorization::Status400;
            let draft = bench.mime_like_json_draft().await;
            let (item, file, size) = large_file();
            let session = bench.begin(&draft, &item).await;
            let chunk = u64::try_from(CHUNK_OCTETS).unwrap();
            let graph = &bench.graph;
            let put = async |first: u64, piece: &[u8]| {
                graph.upload(&session, first, size, piece.to_vec()).await.unwrap()
            };
            assert_eq!(graph.upload_progress(&session).await.unwrap(), Progress::Expects(0));
            let first = &file[..CHUNK_OCTETS];
            assert_eq!(put(0, first).await, Progress::Expects(chunk));
            // Its answer was lost, or so we thought: the piece is not taken twice.
            assert_eq!(put(0, first).await, Progress::OutOfStep);
            // Started anew, with nothing but the URL.
            let session = Session { url: Secret::new(session.url.expose().to_owned()) };
            assert_eq!(graph.upload_progress(&session).await.unwrap(), Progress::Expects(chunk));
            let second = &file[CHUNK_OCTETS..CHUNK_OCTETS * 2];
            assert_eq!(put(chunk, second).await, Progress::Expects(chunk * 2));
            assert_eq!(put(chunk * 2, &file[CHUNK_OCTETS * 2..]).await, Progress::Attached);
            assert_eq!(graph.upload_progress(&session).await.unwrap(), Progress::NotThere);
            let hanging = graph.draft_attachments(&bench.token, &draft).await.unwrap();
            assert_eq!(hanging[0].name.as_deref(), Some("big.pdf"));
        }
    }
}

impl Bench {
    async fn mime_like_json_draft(&self) -> String {
        let (mut mail, octets) = take_apart(&simple("\nhello\n"), &[ALEX]).unwrap();
        let text = body(&mut mail, &octets).unwrap();
        let message = MessageBody::new(&mail, text, TAG);
        self.graph.create_json_draft(&self.token, &message).await.unwrap().id
    }
}

#[tokio::test]
async fn a_session_that_expired_cannot_be_asked_or_was_cancelled_is_not_there() {
    let bench = Bench::start().await;
    let draft = bench.mime_like_json_draft().await;
    assert_eq!(bench.find(Some(&draft)).await, Standing::Unsent, "tagged at its creation");
    let (item, file, size) = large_file();
    let session = bench.begin(&draft, &item).await;
    bench.sandbox.world.switches().upload_readable = false;
    let graph = &bench.graph;
    assert_eq!(graph.upload_progress(&session).await.unwrap(), Progress::NotThere);
    bench.sandbox.world.switches().upload_readable = true;
    bench.sandbox.advance(24 * 3600).await;
    let late = graph.upload(&session, 0, size, file[..CHUNK_OCTETS].to_vec()).await.unwrap();
    assert_eq!(late, Progress::NotThere);
    let token = bench.sandbox.token(ALL_SCOPES);
    let session = graph.begin_upload(&token, &draft, &item).await.unwrap();
    graph.cancel_upload(&session).await.unwrap();
    graph.cancel_upload(&session).await.unwrap();
    assert_eq!(graph.upload_progress(&session).await.unwrap(), Progress::NotThere);
}

#[tokio::test]
async fn a_failed_upload_does_not_tell_its_url_and_none_is_sent_in_clear() {
    let bench = Bench::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    let session = Session { url: Secret::new(format!("http://{closed}/x?authtoken=canary")) };
    let failure = bench.graph.upload_progress(&session).await.unwrap_err();
    assert!(matches!(failure, Failure::Later { .. }));
    assert!(!format!("{failure:?}").contains("canary"), "{failure:?}");
    for url in ["http://outlook.office.example/x?authtoken=canary", "no URL: canary"] {
        let session = Session { url: Secret::new(url.into()) };
        let failure = bench.graph.upload(&session, 0, 1, vec![0]).await.unwrap_err();
        assert!(!format!("{failure:?}").contains("canary"), "{failure:?}");
    }
}
