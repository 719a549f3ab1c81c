//! Who gets a mail: the addresses in To, Cc and Bcc, as Exchange reads them. Pure.
//!
//! RFC 5322 §3.4 (address lists, groups, comments) and §4.4 (routes), RFC 6531 (addresses beyond
//! ASCII). Its own reader on purpose, like [`super::header`]. It must never guess: what is not an
//! address is refused with its text, as Exchange does.

/// Text in a recipient field that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not resolved")]
pub struct NotResolved(pub String);

/// Comments within comments that are followed.
const COMMENT_DEPTH_MAX: usize = 16;

/// The addresses of an unfolded address list in order, groups expanded; display names dropped.
pub fn addresses(list: &str) -> Result<Vec<String>, NotResolved> {
    let mut reader = Reader::default();
    let mut rest = list;
    while let Some(c) = rest.chars().next() {
        let length = match encoded_word_length(rest) {
            // RFC 2047 §5: an encoded word is one token of a display name, whatever is in it.
            Some(length) if !reader.is_inside() => {
                reader.shown.push('?');
                length
            }
            _ => {
                reader.take(c)?;
                c.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    reader.finish()
}

/// Where in the grammar the reader stands.
#[derive(Default)]
struct Reader {
    found: Vec<String>,
    /// The present element outside angle brackets, comments left out.
    shown: String,
    /// What stands between angle brackets, once they opened.
    angle: Option<String>,
    in_angle: bool,
    in_quotes: bool,
    in_literal: bool,
    in_group: bool,
    escaped: bool,
    comments: usize,
}

impl Reader {
    fn is_inside(&self) -> bool {
        self.in_angle || self.in_quotes || self.in_literal || self.comments > 0
    }

    fn take(&mut self, c: char) -> Result<(), NotResolved> {
        if self.comments > 0 {
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' => self.escaped = true,
                '(' if self.comments == COMMENT_DEPTH_MAX => return Err(self.refuse()),
                '(' => self.comments += 1,
                ')' => self.comments -= 1,
                _ => {}
            }
            return Ok(());
        }
        if self.in_quotes {
            match c {
                _ if self.escaped => self.escaped = false,
                '\\' => self.escaped = true,
                '"' => self.in_quotes = false,
                _ => {}
            }
            self.push(c);
            return Ok(());
        }
        match c {
            '"' => {
                self.in_quotes = true;
                self.push(c);
            }
            '(' => self.comments = 1,
            '[' | ']' => {
                self.in_literal = c == '[';
                self.push(c);
            }
            '<' if self.angle.is_some() => return Err(self.refuse()),
            '<' => {
                self.angle = Some(String::new());
                self.in_angle = true;
            }
            '>' if !self.in_angle => return Err(self.refuse()),
            '>' => self.in_angle = false,
            ',' if !self.in_angle => self.end_element()?,
            ':' if !self.is_inside() && !self.in_group && self.angle.is_none() => {
                // RFC 5322 §3.4: the name of a group is shown, never mailed.
                self.shown.clear();
                self.in_group = true;
            }
            ';' if !self.in_angle && self.in_group => {
                self.end_element()?;
                self.in_group = false;
            }
            _ => self.push(c),
        }
        Ok(())
    }

    fn push(&mut self, c: char) {
        match &mut self.angle {
            Some(angle) if self.in_angle => angle.push(c),
            _ => self.shown.push(c),
        }
    }

    fn end_element(&mut self) -> Result<(), NotResolved> {
        let shown = std::mem::take(&mut self.shown);
        let address = match self.angle.take() {
            Some(angle) => without_route(angle.trim()).to_owned(),
            // RFC 5322 §4.4: empty elements of a list are obsolete, yet allowed.
            None if shown.trim().is_empty() => return Ok(()),
            None => shown.trim().to_owned(),
        };
        if !is_address(&address) {
            let text = if address.is_empty() { shown.trim().to_owned() } else { address };
            return Err(NotResolved(text));
        }
        self.found.push(address);
        Ok(())
    }

    fn refuse(&self) -> NotResolved {
        NotResolved(format!("{}{}", self.shown, self.angle.as_deref().unwrap_or_default()))
    }

    fn finish(mut self) -> Result<Vec<String>, NotResolved> {
        if self.is_inside() {
            return Err(self.refuse());
        }
        self.end_element()?;
        Ok(self.found)
    }
}

/// RFC 5322 §4.4: `<@relay.example,@other.example:a@b.example>`.
fn without_route(angle: &str) -> &str {
    match angle.strip_prefix('@').and_then(|route| route.split_once(':')) {
        Some((_, address)) => address.trim(),
        None => angle,
    }
}

/// RFC 2047 §2: `=?charset?B|Q?text?=` at the start of `text`, without white space in it.
fn encoded_word_length(text: &str) -> Option<usize> {
    let mut parts = text.strip_prefix("=?")?.splitn(4, '?');
    let (charset, encoding, encoded, tail) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let fit = |s: &str| !s.is_empty() && !s.contains(char::is_whitespace);
    let known = matches!(encoding, "b" | "B" | "q" | "Q");
    let whole = fit(charset) && known && !encoded.contains(char::is_whitespace);
    let length = "=?".len() + charset.len() + 1 + encoding.len() + 1 + encoded.len() + "?=".len();
    (whole && tail.starts_with('=')).then_some(length)
}

/// Whether Exchange resolves the text as an SMTP address (RFC 5321 §4.1.2 in its strict form: no
/// dots at an end of the local part or side by side, no spaces outside quotes).
pub fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    is_local_part(local) && is_domain(domain)
}

fn is_local_part(local: &str) -> bool {
    if local.is_empty() || local.len() > 64 || local.contains(char::is_control) {
        return false;
    }
    let quoted = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if let Some(quoted) = quoted {
        let mut escaped = false;
        for c in quoted.chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => return false,
                _ => {}
            }
        }
        return !escaped;
    }
    let atom = |word: &str| {
        !word.is_empty()
            && word.chars().all(|c| !c.is_whitespace() && !"()<>[]:;@\\,\"".contains(c))
    };
    local.split('.').all(atom) && !local.contains('\u{fffd}')
}

fn is_domain(domain: &str) -> bool {
    if domain.is_empty() || domain.len() > 255 {
        return false;
    }
    if let Some(literal) = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return !literal.is_empty()
            && literal.chars().all(|c| c.is_ascii_alphanumeric() || ".:-".contains(c));
    }
    domain.split('.').all(|label| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, expected: &[&str]) {
        let got = addresses(list);
        let got: Result<Vec<&str>, _> =
            got.as_ref().map(|found| found.iter().map(String::as_str).collect());
        assert_eq!(got, Ok(expected.to_vec()), "{list:?}");
    }

    fn refused(list: &str, text: &str) {
        assert_eq!(addresses(list), Err(NotResolved(text.to_owned())), "{list:?}");
    }

    #[test]
    fn names_quotes_comments_and_routes_are_not_addresses() {
        check("a@b.example", &["a@b.example"]);
        check("\"Vance, Adele <x@y>\" <a@b.example>, c@d.example", &["a@b.example", "c@d.example"]);
        check("a@b.example (Adele (of sales)), <c@d.example>", &["a@b.example", "c@d.example"]);
        check("Adele <@relay.example,@x.example:a@b.example>", &["a@b.example"]);
        check(
            "\"a b@c\"@b.example, x@[IPv6:2001:db8::1]",
            &["\"a b@c\"@b.example", "x@[IPv6:2001:db8::1]"],
        );
        check("jürgen@bücher.example", &["jürgen@bücher.example"]);
        check(", a@b.example,, ", &["a@b.example"]);
        check("", &[]);
    }

    #[test]
    fn an_encoded_word_is_one_name_even_with_a_comma_in_it() {
        check("=?utf-8?Q?Vance,_Ad=C3=A8le?= <a@b.example>", &["a@b.example"]);
        check("=?utf-8?B?VmFuY2U=?= =?utf-8?b?LA==?= <a@b.example>", &["a@b.example"]);
    }

    #[test]
    fn groups_are_expanded() {
        check("undisclosed-recipients:;", &[]);
        check(
            "Team: a@b.example, C <c@d.example>;, e@f.example",
            &["a@b.example", "c@d.example", "e@f.example"],
        );
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_text() {
        refused("adele", "adele");
        refused("a.@b.example", "a.@b.example");
        refused("a..b@c.example", "a..b@c.example");
        refused("a@b.example; c@d.example", "a@b.example; c@d.example");
        refused("a b@c.example", "a b@c.example");
        refused("Adele <>", "Adele");
        refused("Adele <a@b.example", "Adele a@b.example");
        refused("\"Adele <a@b.example>", "\"Adele <a@b.example>");
        refused("a@b..example", "a@b..example");
    }
}
