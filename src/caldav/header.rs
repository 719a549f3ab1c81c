//! The headers that a request is made under: conditions on what is there, Depth, Prefer, Brief, Overwrite.
//! Pure.
//!
//! RFC 9110 §8.8.3, §13.1 (entity tags, If-Match, If-None-Match), RFC 6638 §8.3 (If-Schedule-Tag-Match),
//! RFC 4918 §10.2, §10.6 (Depth, Overwrite), RFC 7240 and RFC 8144 (Prefer). A condition that cannot be
//! read is an error, and never no condition.

/// Most entity tags in one header.
const TAGS_MAX: usize = 100;

/// 400: a header that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the header {header} is malformed")]
pub struct BadHeader {
    pub header: &'static str,
}

/// A condition on the state of a resource. 412 where it does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Precondition {
    kind: Kind,
    tags: Tags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One of the tags is that of the resource.
    Match,
    /// None is.
    NoneMatch,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Tags {
    /// `*`: any that is there.
    Any,
    Listed(Vec<Tag>),
}

/// RFC 9110 §8.8.3
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tag {
    weak: bool,
    /// With its quotes.
    opaque: String,
}

impl Precondition {
    /// Reads If-Match.
    pub fn if_match(value: &str) -> Result<Precondition, BadHeader> {
        Precondition::read(Kind::Match, value, "If-Match")
    }

    /// Reads If-None-Match.
    pub fn if_none_match(value: &str) -> Result<Precondition, BadHeader> {
        Precondition::read(Kind::NoneMatch, value, "If-None-Match")
    }

    /// Reads If-Schedule-Tag-Match: RFC 6638 §8.3 has one tag, and compares as If-Match does.
    pub fn if_schedule_tag_match(value: &str) -> Result<Precondition, BadHeader> {
        let header = "If-Schedule-Tag-Match";
        let read = Precondition::read(Kind::Match, value, header)?;
        match &read.tags {
            Tags::Listed(tags) if tags.len() == 1 => Ok(read),
            _ => Err(BadHeader { header }),
        }
    }

    fn read(kind: Kind, value: &str, header: &'static str) -> Result<Precondition, BadHeader> {
        let tags = match value.trim_matches([' ', '\t']) {
            "*" => Some(Tags::Any),
            value => listed(value).map(Tags::Listed),
        };
        Ok(Precondition { kind, tags: tags.ok_or(BadHeader { header })? })
    }

    /// Whether it holds for a resource with this tag, as it stands in ETag or Schedule-Tag; `None`: there
    /// is no such resource, or it has no such tag.
    pub fn holds(&self, current: Option<&str>) -> bool {
        let Some(current) = current else { return self.kind == Kind::NoneMatch };
        let (weak, opaque) = match current.strip_prefix("W/") {
            Some(opaque) => (true, opaque),
            None => (false, current),
        };
        let matched = match &self.tags {
            Tags::Any => true,
            Tags::Listed(tags) => tags.iter().any(|tag| {
                // RFC 9110 §13.1.1 compares strongly, §13.1.2 weakly.
                let strong = !tag.weak && !weak;
                tag.opaque == opaque && (strong || self.kind == Kind::NoneMatch)
            }),
        };
        matched == (self.kind == Kind::Match)
    }
}

/// RFC 9110 §5.6.1: a list, which may have empty elements.
fn listed(value: &str) -> Option<Vec<Tag>> {
    let mut tags = Vec::new();
    let mut rest = value;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return Some(tags).filter(|tags| !tags.is_empty());
        }
        let weak = rest.strip_prefix("W/");
        let quoted = weak.unwrap_or(rest);
        let end = quoted.strip_prefix('"')?.find('"')? + 2;
        let (opaque, after) = quoted.split_at_checked(end)?;
        let fit = |c: char| c == '!' || ('#'..='~').contains(&c) || !c.is_ascii();
        if !opaque.trim_matches('"').chars().all(fit) || tags.len() == TAGS_MAX {
            return None;
        }
        tags.push(Tag { weak: weak.is_some(), opaque: opaque.to_owned() });
        rest = after.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
}

/// RFC 4918 §10.2
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    Zero,
    One,
    Infinity,
}

/// The header Depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DepthHeader {
    pub depth: Depth,
    /// `1,noroot`: Microsoft's way to leave the resource itself out.
    pub without_root: bool,
}

impl DepthHeader {
    /// Reads Depth. What its absence means depends on the method.
    pub fn parse(value: &str) -> Result<DepthHeader, BadHeader> {
        let bad = BadHeader { header: "Depth" };
        let (depth, more) = value.split_once(',').map_or((value, None), |(d, m)| (d, Some(m)));
        let depth = match depth.trim() {
            "0" => Depth::Zero,
            "1" => Depth::One,
            depth if depth.eq_ignore_ascii_case("infinity") => Depth::Infinity,
            _ => return Err(bad),
        };
        match more.map(str::trim) {
            None => Ok(DepthHeader { depth, without_root: false }),
            Some(more) if more.eq_ignore_ascii_case("noroot") && depth != Depth::Zero => {
                Ok(DepthHeader { depth, without_root: true })
            }
            Some(_) => Err(bad),
        }
    }
}

/// What a client would rather have. RFC 7240 §2: what is not known is left out, and nothing is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Preferences {
    /// RFC 8144 §2.1: without what was not found. RFC 4918's ancestor of it is the header Brief.
    pub minimal: bool,
    /// RFC 8144 §3: what was stored comes back with the answer to a PUT.
    pub representation: bool,
    /// RFC 8144 §4: without the resource itself.
    pub without_root: bool,
}

impl Preferences {
    /// Reads Prefer (several of them joined by commas) and Brief.
    pub fn parse(prefer: Option<&str>, brief: Option<&str>) -> Preferences {
        let mut preferences = Preferences {
            minimal: brief.is_some_and(|brief| brief.trim().eq_ignore_ascii_case("t")),
            ..Preferences::default()
        };
        for preference in prefer.unwrap_or_default().split(',') {
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let value = value.trim().trim_matches('"').to_ascii_lowercase();
            match (name.trim().to_ascii_lowercase().as_str(), value.as_str()) {
                // RFC 7240 §2: the first one counts, and these two are one preference.
                ("return", "minimal") if !preferences.representation => preferences.minimal = true,
                // Quirk(apple-10.9): as a draft had it.
                ("return-minimal", "") => preferences.minimal = true,
                ("return", "representation") if !preferences.minimal => {
                    preferences.representation = true;
                }
                ("depth-noroot", _) => preferences.without_root = true,
                _ => {}
            }
        }
        preferences
    }
}

/// RFC 4918 §10.6: whether COPY and MOVE may replace what is there. Absent means yes.
pub fn overwrite(value: Option<&str>) -> Result<bool, BadHeader> {
    match value.map(str::trim) {
        None => Ok(true),
        Some(value) if value.eq_ignore_ascii_case("t") => Ok(true),
        Some(value) if value.eq_ignore_ascii_case("f") => Ok(false),
        Some(_) => Err(BadHeader { header: "Overwrite" }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Read by if_match, by if_none_match; whether each holds for `"a"`, and for nothing.
    #[track_caller]
    fn check(value: &str, matches: (bool, bool), none_matches: (bool, bool)) {
        let holds = |read: Result<Precondition, BadHeader>| {
            let read = read.unwrap();
            (read.holds(Some("\"a\"")), read.holds(None))
        };
        assert_eq!(holds(Precondition::if_match(value)), matches, "If-Match: {value}");
        assert_eq!(
            holds(Precondition::if_none_match(value)),
            none_matches,
            "If-None-Match: {value}"
        );
    }

    #[test]
    fn a_condition_holds_as_rfc_9110_says() {
        check("*", (true, false), (false, true));
        check("\"a\"", (true, false), (false, true));
        check(" \"b\" , \"a\" ", (true, false), (false, true));
        check(",,\"a\",", (true, false), (false, true));
        check("\"b\"", (false, false), (true, true));
        check("\"A\"", (false, false), (true, true));
        // A comma within, and nothing.
        check("\"a,b\",\"\"", (false, false), (true, true));
        // Weak: enough to say that it is the same, not enough to change it.
        check("W/\"a\"", (false, false), (false, true));
        let strong = Precondition::if_match("\"a\"").unwrap();
        assert!(!strong.holds(Some("W/\"a\"")));
    }

    #[test]
    fn a_condition_that_cannot_be_read_is_an_error() {
        let many = "\"a\",".repeat(TAGS_MAX + 1);
        for value in [
            "",
            " ",
            ",",
            "a",
            "\"a",
            "a\"",
            "'a'",
            "\"a\" \"b\"",
            "\"a\"b",
            "w/\"a\"",
            "W/a",
            "*, \"a\"",
            "\"a b\"",
            "\"a\u{1}\"",
            "**",
            &many,
        ] {
            assert!(Precondition::if_match(value).is_err(), "{value}");
            assert!(Precondition::if_none_match(value).is_err(), "{value}");
        }
    }

    #[test]
    fn a_schedule_tag_is_one() {
        let read = Precondition::if_schedule_tag_match("\"7\"").unwrap();
        assert!(read.holds(Some("\"7\"")) && !read.holds(Some("\"8\"")) && !read.holds(None));
        for value in ["*", "\"7\",\"8\"", "7"] {
            assert!(Precondition::if_schedule_tag_match(value).is_err(), "{value}");
        }
    }

    #[test]
    fn depth_is_one_of_three() {
        let of = |value| DepthHeader::parse(value).map(|read| (read.depth, read.without_root));
        assert_eq!(of("0"), Ok((Depth::Zero, false)));
        assert_eq!(of(" 1 "), Ok((Depth::One, false)));
        assert_eq!(of("Infinity"), Ok((Depth::Infinity, false)));
        assert_eq!(of("1,noroot"), Ok((Depth::One, true)));
        assert_eq!(of("infinity, NoRoot"), Ok((Depth::Infinity, true)));
        for bad in ["", "2", "-1", "00", "infinite", "0,noroot", "1,root", "1,noroot,x"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn preferences_are_understood_as_far_as_they_are_known() {
        let of = |prefer, brief| Preferences::parse(prefer, brief);
        let none = Preferences::default();
        let minimal = Preferences { minimal: true, ..none };
        assert_eq!(of(None, None), none);
        assert_eq!(of(Some("return=minimal"), None), minimal);
        assert_eq!(of(Some("respond-async, Return=\"Minimal\"; foo=\"bar\""), None), minimal);
        assert_eq!(of(Some("return-minimal"), Some("f")), minimal);
        assert_eq!(of(None, Some("T")), minimal);
        let both = Preferences { representation: true, without_root: true, ..none };
        assert_eq!(of(Some("return=representation, depth-noroot"), None), both);
        assert_eq!(of(Some("return=minimal,return=representation"), None), minimal);
        assert_eq!(of(Some("handling=lenient, wait=10, ,=,;"), Some("x")), none);
    }

    #[test]
    fn overwrite_is_true_unless_it_is_said() {
        assert_eq!(overwrite(None), Ok(true));
        assert_eq!(overwrite(Some("T")), Ok(true));
        assert_eq!(overwrite(Some(" f ")), Ok(false));
        assert!(overwrite(Some("no")).is_err());
    }

    proptest! {
        #[test]
        fn any_value_is_answered(value in "[W/\"*, a-c\u{e4}\t;=]{0,40}") {
            if let Ok(read) = Precondition::if_match(&value) {
                prop_assert!(!read.holds(None));
            }
            if let Ok(read) = Precondition::if_none_match(&value) {
                prop_assert!(read.holds(None));
            }
            let _ = Precondition::if_schedule_tag_match(&value);
            let _ = DepthHeader::parse(&value);
            let _ = Preferences::parse(Some(&value), Some(&value));
            let _ = overwrite(Some(&value));
        }
    }
}
