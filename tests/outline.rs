//! The map of a mail beside what a whole-mail reader finds: fixtures, random multiparts, and caps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use mail_parser::{Message, MessageParser, MimeHeaders, PartType};
use postbridge::mime::decode::{Encoding, whole};
use postbridge::mime::outline::{Outline, Part, Reader};
use proptest::prelude::*;

fn outline(octets: &[u8]) -> Outline {
    in_pieces(octets, 65_536)
}

fn in_pieces(octets: &[u8], size: usize) -> Outline {
    let mut reader = Reader::default();
    for piece in octets.chunks(size) {
        reader.push(piece).unwrap();
    }
    reader.finish().unwrap()
}

fn refused(octets: &[u8]) -> String {
    let mut reader = Reader::default();
    let mut pieces = octets.chunks(65_536);
    let refusal = pieces.find_map(|piece| reader.push(piece).err());
    refusal.unwrap_or_else(|| reader.finish().unwrap_err()).to_string()
}

fn body<'m>(mail: &'m [u8], part: &Part) -> &'m [u8] {
    let index = |offset: u64| usize::try_from(offset).unwrap();
    &mail[index(part.body.start)..index(part.body.end)]
}

fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

/// Holds an outline to the other reader's parts, one by one.
fn agrees(name: &str, mail: &[u8], outline: &Outline) {
    let parsed: Message<'_> = MessageParser::new().parse(mail).unwrap();
    let types: Vec<&str> = outline.parts.iter().map(|part| part.media_type.as_str()).collect();
    assert_eq!(outline.parts.len(), parsed.parts.len(), "{name}: {types:?}");
    for (ours, theirs) in outline.parts.iter().zip(&parsed.parts) {
        let is_multipart = matches!(theirs.body, PartType::Multipart(_));
        assert_eq!(ours.is_multipart, is_multipart, "{name}: {types:?}");
        let from = u64::from(theirs.offset_body);
        assert_eq!(ours.body.start, from, "{name}: {}", ours.media_type);
        let their_name = theirs.attachment_name().map(|text| text.trim().to_owned());
        assert_eq!(ours.name, their_name.filter(|text| !text.is_empty()), "{name}");
        assert_eq!(ours.content_id.as_deref(), theirs.content_id(), "{name}");
        if is_multipart {
            continue;
        }
        assert_eq!(ours.body.end, u64::from(theirs.offset_end), "{name}: {}", ours.media_type);
        if let PartType::Binary(octets) | PartType::InlineBinary(octets) = &theirs.body {
            assert_eq!(whole(ours.encoding, body(mail, ours)), octets.as_ref(), "{name}");
        }
    }
}

#[test]
fn the_parts_of_every_fixture_are_those_that_another_reader_finds() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut count = 0;
    for folder in ["mime", "invite-mail"] {
        for file in std::fs::read_dir(data.join(folder)).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "eml") {
                continue;
            }
            let name = path.file_name().unwrap().to_str().unwrap();
            let text = std::fs::read(&path).unwrap();
            // Some are stored with CRLF, some with LF.
            let lines =
                text.split(|&o| o == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            let mail = lines.collect::<Vec<_>>().join(&b"\r\n"[..]);
            let whole = outline(&mail);
            for size in [1, 2, 3, 7, 100] {
                assert_eq!(in_pieces(&mail, size), whole, "{name} in pieces of {size}");
            }
            // Their header is read by other rules than mail-parser's: `mime::header`.
            if !["scanner-headless.eml", "procmail-mbox-line.eml"].contains(&name) {
                agrees(name, &mail, &whole);
            }
            count += 1;
        }
    }
    assert!(count > 30, "{count} fixtures");
}

/// A part of a mail, to be written down.
#[derive(Debug, Clone)]
enum Tree {
    Leaf(&'static str, String),
    Multipart(&'static str, Vec<Tree>),
}

fn tree() -> impl Strategy<Value = Tree> {
    let kind = prop::sample::select(vec![
        "Content-Type: text/plain\r\n",
        "Content-Type: text/html; charset=utf-8\r\n",
        "Content-Type: image/png; name=\"a b.png\"\r\nContent-ID: <pic@x>\r\n",
        "Content-Type: application/pdf\r\nContent-Disposition: attachment;\r\n filename*=utf-8''gr%C3%BC%C3%9Fe.pdf\r\n",
        "Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=x\r\n",
        "",
    ]);
    let text = "([a-z -]{0,20}(\r\n)?){0,6}";
    let leaf = (kind, text).prop_map(|(head, text)| Tree::Leaf(head, text));
    leaf.prop_recursive(5, 40, 5, |inner| {
        let kind = prop::sample::select(vec!["mixed", "alternative", "related", "report"]);
        (kind, prop::collection::vec(inner, 1..5))
            .prop_map(|(kind, parts)| Tree::Multipart(kind, parts))
    })
}

fn write(tree: &Tree, count: &mut u32, output: &mut String) {
    match tree {
        Tree::Leaf(head, text) => {
            // mail-parser takes dashes and a boundary for a delimiter wherever they stand.
            output.push_str(&format!("{head}\r\n{}", text.replace("--", "- -")));
        }
        Tree::Multipart(kind, parts) => {
            *count += 1;
            let boundary = format!("=_{count}_=");
            output.push_str(&format!(
                "Content-Type: multipart/{kind};\r\n\tboundary=\"{boundary}\"\r\n\r\npreamble"
            ));
            for part in parts {
                output.push_str(&format!("\r\n--{boundary}\r\n"));
                write(part, count, output);
            }
            output.push_str(&format!("\r\n--{boundary}--\r\nepilogue"));
        }
    }
}

proptest! {
    #[test]
    fn the_parts_of_random_multiparts_are_those_that_another_reader_finds(
        tree in tree(),
        size in 1_usize..60,
    ) {
        let mut mail = "From: a@contoso.example\r\nMIME-Version: 1.0\r\n".to_owned();
        write(&tree, &mut 0, &mut mail);
        let mail = mail.into_bytes();
        let whole = outline(&mail);
        prop_assert_eq!(&in_pieces(&mail, size), &whole);
        agrees("random", &mail, &whole);
    }

    #[test]
    fn no_octets_make_it_panic_and_ranges_stay_in_the_mail(
        octets in prop::collection::vec(prop::sample::select(
            b"--b\r\n\r\nContent-Type: multipart/mixed; boundary=b\r\n--".to_vec()), 0..400),
        size in 1_usize..40,
    ) {
        let mail = [&b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"[..], &octets].concat();
        let mut reader = Reader::default();
        let fine = mail.chunks(size).all(|piece| reader.push(piece).is_ok());
        if fine && let Ok(outline) = reader.finish() {
            for part in &outline.parts {
                prop_assert!(part.body.start <= part.body.end, "{:?}", part);
                prop_assert!(part.body.end <= outline.octets, "{:?}", part);
            }
        }
    }
}

#[test]
fn an_outer_delimiter_ends_inner_multiparts_that_were_not_closed() {
    let mail = crlf(
        "Content-Type: multipart/mixed; boundary=out\n\n--out\n\
         Content-Type: multipart/alternative; boundary=in\n\n--in\n\none\n--out\n\ntwo\n--out--\n",
    );
    let outline = outline(&mail);
    let texts: Vec<&[u8]> =
        outline.parts.iter().filter(|p| !p.is_multipart).map(|p| body(&mail, p)).collect();
    assert_eq!(texts, [b"one", b"two"]);
    assert_eq!(outline.parts[3].parent, Some(0));
}

#[test]
fn where_one_boundary_begins_with_another_the_whole_line_decides() {
    let mail = crlf(
        "Content-Type: multipart/mixed; boundary=abc-1\n\n--abc-1\n\
         Content-Type: multipart/alternative; boundary=abc\n\n--abc\n\none\n--abc--\n\
         --abc-1\n\ntwo\n--abc-1--\n",
    );
    let outline = outline(&mail);
    let parents: Vec<Option<usize>> = outline.parts.iter().map(|part| part.parent).collect();
    assert_eq!(parents, [None, Some(0), Some(1), Some(0)]);
    assert_eq!(body(&mail, &outline.parts[3]), b"two");
}

#[test]
fn a_boundary_within_a_line_or_in_an_epilogue_is_text() {
    let mail = crlf(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nsee --b there\n--b--\n--b\n\nlate\n",
    );
    let outline = outline(&mail);
    assert_eq!(outline.parts.len(), 2);
    assert_eq!(body(&mail, &outline.parts[1]), b"see --b there");
}

#[test]
fn a_multipart_without_any_delimiter_is_a_leaf() {
    let outline = outline(&crlf("Content-Type: multipart/mixed; boundary=b\n\nplain\n"));
    assert_eq!(outline.parts.len(), 1);
    assert!(!outline.parts[0].is_multipart);
}

#[test]
fn a_nested_mail_is_one_part() {
    let mail = crlf(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n\
         Subject: inner\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nx\n--c--\n--b--\n",
    );
    let outline = outline(&mail);
    assert_eq!(outline.parts.len(), 2);
    assert!(body(&mail, &outline.parts[1]).ends_with(b"--c--"));
    assert_eq!(outline.parts[1].encoding, Encoding::Identity);
}

#[test]
fn the_caps_are_refusals_with_a_reason() {
    let mixed = "Content-Type: multipart/mixed; boundary=b\n\n";
    assert!(
        refused(&crlf(&(mixed.to_owned() + &"--b\n\nx\n".repeat(1_001)))).contains("1000 parts")
    );
    let deep: String = (0..60)
        .map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}.\n\n--b{n}.\n"))
        .collect();
    assert!(refused(&crlf(&deep)).contains("50 multiparts"));
    let long = format!("Content-Type: multipart/mixed; boundary={}\n\nx", "b".repeat(71));
    assert!(refused(&crlf(&long)).contains("70 characters"));
    let fat = format!("{mixed}--b\nX: {}\n\nx\n--b--\n", "y".repeat(65 * 1024));
    assert_eq!(refused(&crlf(&fat)), "552 5.3.4 the header of a part is too large");
    let fat = format!("X: {}\n\nx\n", "y".repeat(257 * 1024));
    assert_eq!(refused(&crlf(&fat)), "552 5.3.4 the header is too large");
}
