//! The address lists of To, Cc, From and their kin, read with the place of every mailbox. Pure.
//!
//! RFC 5322 §3.4 and §4.4 (obsolete routes, empty elements, white space around dots), RFC 6532 §3.2
//! (UTF-8). One pass, no recursion. What the grammar does not allow is [`Unclear`]: this file must
//! never guess where an address begins or ends.

use std::collections::BTreeSet;
use std::ops::Range;

use mail_parser::HeaderValue;
use mail_parser::parsers::MessageStream;

use crate::account::Address;

/// Comments may nest; hostile ones nest for ever.
const COMMENT_DEPTH_MAX: usize = 16;

/// The field is not an address list by RFC 5322.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unclear;

/// `Adele Vance <adele.vance@contoso.example>`: one mailbox and where its text stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// The mailbox with its name and comments, without the white space around it.
    pub span: Range<usize>,
    /// `None` for what no mail can go to: `root`, `Adele Vance`, `<>`, `a@b..c`.
    pub address: Option<Address>,
}

/// One element of an address list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    Mailbox(Mailbox),
    /// `Team: a@contoso.example, b@contoso.example;`
    Group {
        /// From the name up to the semicolon, which is in it.
        span: Range<usize>,
        /// The display name, up to the colon, which is not in it.
        name: Range<usize>,
        members: Vec<Mailbox>,
    },
}

impl Item {
    pub fn mailboxes(&self) -> &[Mailbox] {
        match self {
            Item::Mailbox(mailbox) => std::slice::from_ref(mailbox),
            Item::Group { members, .. } => members,
        }
    }
}

/// Reads the value of an address field, folds included.
pub fn scan(value: &[u8]) -> Result<Vec<Item>, Unclear> {
    let mut scanner = Scanner { value, at: 0 };
    let mut items = Vec::new();
    while let Some(element) = scanner.element()? {
        match element {
            Element::Mailbox(mailbox) => items.push(Item::Mailbox(mailbox)),
            Element::GroupName(name) => {
                let members = scanner.members()?;
                items.push(Item::Group { span: name.start..scanner.at, name, members });
            }
            Element::Semicolon => return Err(Unclear),
        }
    }
    Ok(items)
}

/// The addresses that a second, lenient reader finds: mail-parser, lower-cased.
///
/// What we pass on must mean the same to both, so that a third reader has little room to differ.
/// Call it with what [`scan`] has read or what we wrote ourselves.
pub fn second_reading(value: &[u8]) -> BTreeSet<String> {
    let mut line = value.to_vec();
    line.extend_from_slice(b"\r\n");
    match MessageStream::new(&line).parse_address() {
        HeaderValue::Address(list) => {
            list.iter().filter_map(|mailbox| mailbox.address()).map(str::to_lowercase).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// Everything around an `@` in an unclear field that could be meant as an address, be it in a name
/// or a comment; `None` when some of it cannot be told.
pub fn candidates(value: &[u8]) -> Option<Vec<Address>> {
    let mut found: Vec<Address> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut end_of_last = 0;
    for at in memchr::memchr_iter(b'@', value) {
        let before = value.get(end_of_last..at)?;
        let after = value.get(at + 1..)?;
        let local = before.iter().rev().take_while(|octet| is_atext(**octet)).count();
        let domain = after.iter().take_while(|octet| is_atext(**octet)).count();
        let text = std::str::from_utf8(value.get(at - local..at + 1 + domain)?).ok()?;
        let address = address(text)?.ok()?;
        end_of_last = at + 1 + domain;
        if seen.insert(address.key()) {
            found.push(address);
        }
    }
    Some(found)
}

/// An address as it stands in a header; `None` when it must not be passed on at all.
fn address(text: &str) -> Option<Result<Address, crate::account::AddressError>> {
    // RFC 2047 §5 forbids an encoded word within an address; readers that decode it all the same
    // find another address there than we do.
    if text.contains("=?") { None } else { Some(Address::parse(text)) }
}

/// RFC 5322 §3.2.3 atext, the dot, and every octet beyond ASCII.
fn is_atext(octet: u8) -> bool {
    octet >= 0x80 || (octet.is_ascii_graphic() && !b"()<>[]:;@\\,\"".contains(&octet))
}

enum Element {
    Mailbox(Mailbox),
    GroupName(Range<usize>),
    /// The end of a group.
    Semicolon,
}

struct Scanner<'x> {
    value: &'x [u8],
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.value.get(self.at).copied()
    }

    fn take(&mut self, octet: u8) -> bool {
        let found = self.peek() == Some(octet);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|octet| b" \t\r\n".contains(&octet)) {
            self.at += 1;
        }
    }

    /// RFC 5322 §3.2.2: white space, folds and comments.
    fn skip_cfws(&mut self) -> Result<(), Unclear> {
        loop {
            self.skip_space();
            if self.peek() != Some(b'(') {
                return Ok(());
            }
            self.skip_comment()?;
        }
    }

    fn skip_comment(&mut self) -> Result<(), Unclear> {
        let mut depth = 0;
        while let Some(octet) = self.peek() {
            self.at += 1;
            match octet {
                b'(' if depth == COMMENT_DEPTH_MAX => return Err(Unclear),
                b'(' => depth += 1,
                b')' => depth -= 1,
                b'\\' => self.at += 1,
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err(Unclear)
    }

    /// The members of a group, whose name and colon have been read, up to its semicolon.
    fn members(&mut self) -> Result<Vec<Mailbox>, Unclear> {
        let mut members = Vec::new();
        loop {
            match self.element()? {
                Some(Element::Mailbox(mailbox)) => members.push(mailbox),
                Some(Element::Semicolon) => return Ok(members),
                // RFC 5322 §3.4: a group holds no group.
                Some(Element::GroupName(_)) | None => return Err(Unclear),
            }
        }
    }

    /// The next element of the list and the comma after it; `None` at the end.
    fn element(&mut self) -> Result<Option<Element>, Unclear> {
        // RFC 5322 §4.4: elements may be empty.
        self.skip_space();
        while self.take(b',') {
            self.skip_space();
        }
        let start = self.at;
        let words = self.words()?;
        let mut end = self.at;
        let address = match self.peek() {
            None if words.is_empty() && start == end => return Ok(None),
            Some(b';') if words.is_empty() && start == end => {
                self.at += 1;
                return Ok(Some(Element::Semicolon));
            }
            Some(b':') if !words.is_empty() => {
                self.at += 1;
                return Ok(Some(Element::GroupName(start..end)));
            }
            Some(b'@') => self.addr_spec(&words)?,
            Some(b'<') => self.angle_addr()?,
            None | Some(b',' | b';') => None,
            Some(_) => return Err(Unclear),
        };
        if end != self.at {
            self.skip_cfws()?;
            end = self.at;
        }
        match self.peek() {
            None | Some(b';') => {}
            Some(b',') => self.at += 1,
            // Quirk(devices): `a@contoso.example <a@contoso.example>`. Which one is it?
            Some(_) => return Err(Unclear),
        }
        let text = self.value.get(start..end).unwrap_or_default().trim_ascii_end();
        Ok(Some(Element::Mailbox(Mailbox { span: start..start + text.len(), address })))
    }

    /// A run of atoms and quoted strings with what separates them: a phrase, or a local part.
    fn words(&mut self) -> Result<Vec<Range<usize>>, Unclear> {
        let mut words = Vec::new();
        loop {
            self.skip_cfws()?;
            let start = self.at;
            match self.peek() {
                Some(b'"') => self.quoted_string()?,
                Some(octet) if is_atext(octet) => self.atom(),
                _ => return Ok(words),
            }
            words.push(start..self.at);
        }
    }

    fn atom(&mut self) {
        while self.peek().is_some_and(is_atext) {
            self.at += 1;
        }
    }

    fn quoted_string(&mut self) -> Result<(), Unclear> {
        self.at += 1;
        while let Some(octet) = self.peek() {
            self.at += 1;
            match octet {
                b'"' => return Ok(()),
                b'\\' => self.at += 1,
                _ => {}
            }
        }
        Err(Unclear)
    }

    /// The address whose local part are these words and whose `@` comes next.
    fn addr_spec(&mut self, local: &[Range<usize>]) -> Result<Option<Address>, Unclear> {
        let local = self.dotted(local)?;
        self.at += 1;
        let domain = self.domain()?;
        match address(&format!("{}@{domain}", unquoted(&local))) {
            Some(parsed) => Ok(parsed.ok()),
            None => Err(Unclear),
        }
    }

    fn domain(&mut self) -> Result<String, Unclear> {
        self.skip_cfws()?;
        if self.peek() == Some(b'[') {
            let rest = self.value.get(self.at..).unwrap_or_default();
            let length = memchr::memchr(b']', rest).ok_or(Unclear)? + 1;
            self.at += length;
            return text(rest.get(..length).unwrap_or_default());
        }
        let words = self.words()?;
        self.dotted(&words)
    }

    /// Words that make one local part or domain: a dot stands between any two (RFC 5322 §4.4 lets
    /// white space surround it).
    fn dotted(&self, words: &[Range<usize>]) -> Result<String, Unclear> {
        let mut joined = String::new();
        for word in words {
            let word = text(self.value.get(word.clone()).unwrap_or_default())?;
            if !joined.is_empty() && !joined.ends_with('.') && !word.starts_with('.') {
                return Err(Unclear);
            }
            joined.push_str(&word);
        }
        Ok(joined)
    }

    /// `<local@domain>`, `<@route,@route:local@domain>`, `<>` or `<root>`.
    fn angle_addr(&mut self) -> Result<Option<Address>, Unclear> {
        self.at += 1;
        self.skip_cfws()?;
        // RFC 5322 §4.4 obs-route: read and forgotten.
        let mut route = false;
        while self.take(b'@') {
            route = true;
            self.domain()?;
            while self.take(b',') {
                self.skip_cfws()?;
            }
        }
        if route && !self.take(b':') {
            return Err(Unclear);
        }
        let words = self.words()?;
        let address = if self.peek() == Some(b'@') { self.addr_spec(&words)? } else { None };
        self.skip_cfws()?;
        if self.take(b'>') { Ok(address) } else { Err(Unclear) }
    }
}

fn text(octets: &[u8]) -> Result<String, Unclear> {
    let text = std::str::from_utf8(octets).map_err(|_| Unclear)?;
    Ok(text.replace("\r\n", ""))
}

/// RFC 5321 §4.1.2: `"adele"@…` is `adele@…`; quotes stay where they are needed.
fn unquoted(local: &str) -> &str {
    match local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.is_empty() && plain.bytes().all(is_atext) => plain,
        _ => local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each as `text = address`, groups as `name{…}`.
    fn read(value: &str) -> Vec<String> {
        let show = |m: &Mailbox| {
            let text = &value[m.span.clone()];
            format!("{text} = {}", m.address.as_ref().map_or("nobody", Address::as_str))
        };
        let items = scan(value.as_bytes()).unwrap_or_else(|_| panic!("unclear: {value:?}"));
        items
            .iter()
            .map(|item| match item {
                Item::Mailbox(m) => show(m),
                Item::Group { name, members, .. } => {
                    let members: Vec<_> = members.iter().map(show).collect();
                    format!("{}{{{}}}", &value[name.clone()], members.join("|"))
                }
            })
            .collect()
    }

    #[test]
    fn mailboxes_are_found_with_their_text() {
        assert_eq!(
            read(
                " a@x.example, \"a@b, c\" <d@x.example> (hi, e@x) ,\r\n =?utf-8?q?J=2C?= F. <f@X.example>"
            ),
            [
                "a@x.example = a@x.example",
                "\"a@b, c\" <d@x.example> (hi, e@x) = d@x.example",
                "=?utf-8?q?J=2C?= F. <f@X.example> = f@x.example",
            ]
        );
        assert_eq!(
            read("(c)a@x.example(d),<b@[1.2.3.4]>,\"p q\"@x.example"),
            [
                "(c)a@x.example(d) = a@x.example",
                "<b@[1.2.3.4]> = b@[1.2.3.4]",
                "\"p q\"@x.example = \"p q\"@x.example",
            ]
        );
    }

    #[test]
    fn obsolete_syntax_is_understood() {
        assert_eq!(
            read(",, a . b (x) @ x (y). example ,, <@r.example,@s.example:c@x.example>,"),
            [
                "a . b (x) @ x (y). example = a.b@x.example",
                "<@r.example,@s.example:c@x.example> = c@x.example",
            ]
        );
        assert_eq!(read("\"adele\"@x.example"), ["\"adele\"@x.example = adele@x.example"]);
    }

    #[test]
    fn groups_hold_their_members() {
        assert_eq!(
            read("The team: a@x.example, B <b@x.example>; , c@x.example, undisclosed-recipients:;"),
            [
                "The team{a@x.example = a@x.example|B <b@x.example> = b@x.example}",
                "c@x.example = c@x.example",
                "undisclosed-recipients{}",
            ]
        );
    }

    #[test]
    fn names_without_an_address_are_nobody() {
        assert_eq!(
            read("root (Cron Daemon), Adele Vance, <>, <root>, a@b..c"),
            [
                "root (Cron Daemon) = nobody",
                "Adele Vance = nobody",
                "<> = nobody",
                "<root> = nobody",
                "a@b..c = nobody",
            ]
        );
        assert_eq!(read(""), Vec::<String>::new());
    }

    #[test]
    fn what_the_grammar_forbids_is_unclear() {
        for value in [
            "a@x.example <b@x.example>",
            "a@x.example b@x.example",
            "a@x.example; b@x.example",
            "a@b@x.example",
            "a b@x.example",
            "<a@x.example",
            "a@x.example>",
            "\"open <a@x.example>",
            "(open <a@x.example>",
            "team: a@x.example",
            "team: other: a@x.example;;",
            "=?utf-8?q?a=40x=2Eexample=2C?=@y.example",
            "a\\@x.example",
            ": a@x.example;",
        ] {
            assert_eq!(scan(value.as_bytes()), Err(Unclear), "{value:?}");
        }
    }

    #[test]
    fn nested_comments_end_somewhere() {
        let nested = |n: usize| format!("{}x{} a@x.example", "(".repeat(n), ")".repeat(n));
        assert!(scan(nested(COMMENT_DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(scan(nested(COMMENT_DEPTH_MAX + 1).as_bytes()), Err(Unclear));
        assert_eq!(scan(nested(100_000).as_bytes()), Err(Unclear));
    }

    #[test]
    fn candidates_are_all_that_looks_like_an_address() {
        let found = |value: &str| {
            candidates(value.as_bytes())
                .map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(found("a@x.example <A@x.example>"), Some(vec!["a@x.example".into()]));
        assert_eq!(
            found("a@x.example; (b@x.example)"),
            Some(vec!["a@x.example".into(), "b@x.example".into()])
        );
        assert_eq!(found("nobody"), Some(vec![]));
        assert_eq!(found("\"a b\"@x.example <"), None);
        assert_eq!(found("a@b@x.example"), None);
        assert_eq!(found("=?x?=@x.example <"), None);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig {
            cases: 1000, failure_persistence: None, ..Default::default()
        })]

        #[test]
        fn both_readers_find_the_same_in_what_clients_usually_write(
            list in proptest::collection::vec(
                ("[a-zA-Z0-9+_'.-]{1,12}@[a-z0-9]{1,8}\\.example", 0..6usize), 0..8,
            ),
            comma in "( |\r\n )?,( |\r\n\t|\r\n )?",
        ) {
            let written: Vec<String> = list.iter().map(|(a, form)| match form {
                0 => a.clone(),
                1 => format!("<{a}>"),
                2 => format!("\"Vance, A. (x@y.example)\" <{a}>"),
                3 => format!("=?utf-8?q?J=C3=BC=2C?= <{a}>"),
                4 => format!("{a} (Adele, x@y.example)"),
                _ => format!("The team: {a}, <{a}>;"),
            }).collect();
            let value = written.join(&comma);
            let items = scan(value.as_bytes()).unwrap();
            let found: BTreeSet<String> = items
                .iter()
                .flat_map(Item::mailboxes)
                .map(|m| m.address.as_ref().unwrap().key())
                .collect();
            let expected: BTreeSet<String> = list.iter().map(|(a, _)| a.to_lowercase()).collect();
            assert_eq!(found, expected);
            assert_eq!(second_reading(value.as_bytes()), expected);
        }
    }
}
