//! Our URLs: a closed grammar, read and written in one place. Pure.
//!
//! RFC 3986 §2.1, §3.3 (percent-encoding, path), RFC 4918 §8.3 (hrefs), RFC 6764 §5 (well-known URI). An
//! [`Href`] names a login, a calendar and an object; it is looked up, and must never become part of a
//! file's path or of SQL. A path that two readers could take for two things is refused, not repaired.

use std::borrow::Cow;
use std::fmt;

/// Longest path that is looked at, in octets, as it was sent.
pub const PATH_OCTETS_MAX: usize = 4_096;
/// Longest segment, in octets, decoded.
pub const SEGMENT_OCTETS_MAX: usize = 255;

/// A path that is one of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Href {
    pub place: Place,
    /// A collection was named without its final slash: RFC 4918 §5.2 lets a server answer for the
    /// collection all the same, or redirect to what [`Href`] is written as.
    pub without_slash: bool,
}

/// What a path names. Logins are in lower case, as accounts are looked up; all names are decoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// `/`
    Root,
    /// `/.well-known/caldav`
    WellKnown,
    /// `/dav/`: what the well-known URI leads to.
    Dav,
    /// `/dav/principals/{login}/`
    Principal { login: String },
    /// `/dav/calendars/{login}/`: RFC 4791 §6.2.1, the calendar home.
    Home { login: String },
    /// `/dav/calendars/{login}/inbox/`: RFC 6638 §2.2.
    Inbox { login: String },
    /// `/dav/calendars/{login}/outbox/`: RFC 6638 §2.1.
    Outbox { login: String },
    /// `/dav/calendars/{login}/{calendar}/`
    Calendar { login: String, calendar: String },
    /// `/dav/calendars/{login}/{calendar}/{object}`
    Object { login: String, calendar: String, object: String },
}

/// Why a path is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadHref {
    /// 400: it can be read in more than one way, or not at all.
    #[error("the path is malformed: {0}")]
    Malformed(&'static str),
    /// 404: sound, but nothing can ever be there.
    #[error("the path names nothing that is kept here")]
    Unknown,
    /// An absolute URL of another host: RFC 4918 §9.9.4 has 502 for a Destination.
    #[error("the URL is of another host")]
    Foreign,
}

impl Href {
    /// Reads the path of a request or of a DAV:href, without query and fragment. Percent-decoded once.
    pub fn parse(path: &str) -> Result<Href, BadHref> {
        if path.len() > PATH_OCTETS_MAX {
            return Err(BadHref::Malformed("it is too long"));
        }
        let path = encoded_once(path);
        let Some(below) = path.strip_prefix('/') else {
            return Err(BadHref::Malformed("it does not begin with a slash"));
        };
        if below.is_empty() {
            return Ok(Href { place: Place::Root, without_slash: false });
        }
        let (below, slash) = match below.strip_suffix('/') {
            Some(below) => (below, true),
            None => (below, false),
        };
        // All of it must be sound before any of it means something.
        let segments = below.split('/').map(segment).collect::<Result<Vec<String>, BadHref>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let place = Place::of(&segments, slash).ok_or(BadHref::Unknown)?;
        let without_slash = place.is_collection() && !slash;
        Ok(Href { place, without_slash })
    }

    /// Reads a DAV:href or a Destination header: a path, or an absolute URL of one of `hosts`.
    pub fn parse_reference(reference: &str, hosts: &[&str]) -> Result<Href, BadHref> {
        Href::parse(path_of(reference, hosts)?)
    }
}

/// The path of a URL, which must be of one of `hosts` (each `name` or `name:port`, as in a Host header).
///
/// RFC 4918 §8.3: an href is an absolute URI, or a path that begins with one slash. A query is part of
/// neither for us.
pub fn path_of<'u>(reference: &'u str, hosts: &[&str]) -> Result<&'u str, BadHref> {
    let reference = reference.trim_matches([' ', '\t', '\r', '\n']);
    // RFC 3986 §3.2: two slashes begin an authority, which some read and some do not.
    if reference.starts_with('/') {
        return match reference.starts_with("//") {
            true => Err(BadHref::Malformed("it begins with two slashes")),
            false => Ok(reference),
        };
    }
    let (scheme, rest) =
        reference.split_once("://").ok_or(BadHref::Malformed("it is neither a path nor a URL"))?;
    let default_port = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return Err(BadHref::Foreign),
    };
    let (authority, path) = rest
        .split_at_checked(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
        .unwrap_or((rest, ""));
    if authority.contains(['@', '\\', '%']) {
        return Err(BadHref::Malformed("its host is written in a way that can be misread"));
    }
    let plain = |host: &str| {
        let host = host.to_ascii_lowercase();
        host.strip_suffix(default_port).unwrap_or(&host).to_owned()
    };
    let authority = plain(authority);
    match hosts.iter().any(|host| plain(host) == authority) {
        false => Err(BadHref::Foreign),
        // RFC 3986 §6.2.3: no path is the root.
        true if path.is_empty() => Ok("/"),
        true => Ok(path),
    }
}

/// Quirk(thunderbird): it encodes the path of its principal once more before it asks for what belongs to
/// it, so that `%40` comes as `%2540`; and if that is not there, it takes the server for one that tells
/// nobody of a meeting. What comes out is held to all that other paths are, and names a login at most.
fn encoded_once(path: &str) -> Cow<'_, str> {
    if !path.starts_with("/dav/principals/") || !path.contains("%25") {
        return path.into();
    }
    let mut parts = path.split("%25");
    let mut once = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_code = matches!(part.as_bytes(), [high, low, ..]
            if hex(*high).is_some() && hex(*low).is_some());
        once.push_str(if is_code { "%" } else { "%25" });
        once.push_str(part);
    }
    once.into()
}

impl Place {
    fn of(segments: &[&str], slash: bool) -> Option<Place> {
        Some(match segments {
            [".well-known", "caldav"] => Place::WellKnown,
            ["dav"] => Place::Dav,
            ["dav", "principals", login] => Place::Principal { login: lower(login)? },
            ["dav", "calendars", login] => Place::Home { login: lower(login)? },
            ["dav", "calendars", login, "inbox"] => Place::Inbox { login: lower(login)? },
            ["dav", "calendars", login, "outbox"] => Place::Outbox { login: lower(login)? },
            ["dav", "calendars", login, calendar] => {
                Place::Calendar { login: lower(login)?, calendar: (*calendar).to_owned() }
            }
            // Nothing is ever put into them.
            ["dav", "calendars", _, "inbox" | "outbox", _] => return None,
            ["dav", "calendars", login, calendar, object] if !slash => Place::Object {
                login: lower(login)?,
                calendar: (*calendar).to_owned(),
                object: (*object).to_owned(),
            },
            _ => return None,
        })
    }

    /// What has members, and a slash at the end of its path.
    pub fn is_collection(&self) -> bool {
        !matches!(self, Place::WellKnown | Place::Object { .. })
    }

    /// Whose it is.
    pub fn login(&self) -> Option<&str> {
        match self {
            Place::Root | Place::WellKnown | Place::Dav => None,
            Place::Principal { login }
            | Place::Home { login }
            | Place::Inbox { login }
            | Place::Outbox { login }
            | Place::Calendar { login, .. }
            | Place::Object { login, .. } => Some(login),
        }
    }
}

/// `None`: no login is that long. (Some letters grow.)
fn lower(login: &str) -> Option<String> {
    Some(login.to_lowercase()).filter(|login| login.len() <= SEGMENT_OCTETS_MAX)
}

/// One segment, decoded once, that means the same to every reader.
fn segment(text: &str) -> Result<String, BadHref> {
    let decoded = String::from_utf8(decoded(text)?)
        .map_err(|_| BadHref::Malformed("a segment is not UTF-8"))?;
    if decoded.is_empty() {
        return Err(BadHref::Malformed("a segment is empty"));
    }
    if decoded.len() > SEGMENT_OCTETS_MAX {
        return Err(BadHref::Malformed("a segment is too long"));
    }
    if decoded == "." || decoded == ".." {
        return Err(BadHref::Malformed("a segment leads elsewhere"));
    }
    if decoded.contains(['/', '\\']) {
        return Err(BadHref::Malformed("a segment holds a slash"));
    }
    if decoded.chars().any(char::is_control) {
        return Err(BadHref::Malformed("a segment holds a control character"));
    }
    // Somebody before or behind us may decode once more.
    if is_encoded(&decoded) {
        return Err(BadHref::Malformed("a segment is encoded twice"));
    }
    Ok(decoded)
}

fn decoded(text: &str) -> Result<Vec<u8>, BadHref> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [octet, after @ ..] = rest {
        (octets, rest) = match (octet, after) {
            (b'%', [high, low, beyond @ ..])
                if let (Some(high), Some(low)) = (hex(*high), hex(*low)) =>
            {
                octets.push(high * 16 + low);
                (octets, beyond)
            }
            (b'%', _) => return Err(BadHref::Malformed("a % encodes nothing")),
            // Not part of a path: whoever left them in did not read the request line.
            (b'?' | b'#', _) => return Err(BadHref::Malformed("it holds a query or a fragment")),
            _ => {
                octets.push(*octet);
                (octets, after)
            }
        };
    }
    Ok(octets)
}

fn is_encoded(text: &str) -> bool {
    text.as_bytes().windows(3).any(|three| match three {
        [b'%', high, low] => hex(*high).is_some() && hex(*low).is_some(),
        _ => false,
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok())
}

impl fmt::Display for Place {
    /// The one way in which it is written: with its slash, all but unreserved characters encoded.
    ///
    /// `@` is written `%40`: so do the servers that Apple's programs and Thunderbird are tried with most
    /// (Google, Nextcloud and all of sabre/dav, Radicale). Thunderbird decodes what it compares; Apple's
    /// programs compare an href with the one that they were given, so what counts is that all of ours
    /// look alike. Parentheses stay, as with sabre/dav.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Root => "/",
            Place::WellKnown => "/.well-known/caldav",
            Place::Dav => "/dav/",
            Place::Principal { .. } => "/dav/principals/",
            _ => "/dav/calendars/",
        })?;
        if let Some(login) = self.login() {
            write!(f, "{}/", Encoded(login))?;
        }
        match self {
            Place::Inbox { .. } => f.write_str("inbox/"),
            Place::Outbox { .. } => f.write_str("outbox/"),
            Place::Calendar { calendar, .. } => write!(f, "{}/", Encoded(calendar)),
            Place::Object { calendar, object, .. } => {
                write!(f, "{}/{}", Encoded(calendar), Encoded(object))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Href {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

/// A segment as it stands in a path.
struct Encoded<'s>(&'s str);

impl fmt::Display for Encoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for octet in self.0.bytes() {
            match octet {
                b'-' | b'.' | b'_' | b'~' | b'(' | b')' => write!(f, "{}", char::from(octet))?,
                _ if octet.is_ascii_alphanumeric() => write!(f, "{}", char::from(octet))?,
                _ => write!(f, "%{octet:02X}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOSTS: [&str; 2] = ["127.0.0.1:1080", "localhost:1080"];

    fn adele() -> String {
        "adele.vance@contoso.example".to_owned()
    }

    fn object(name: &str) -> Place {
        Place::Object { login: adele(), calendar: "work".to_owned(), object: name.to_owned() }
    }

    #[track_caller]
    fn check(path: &str, expected: Place, canonical: &str) {
        let href = Href::parse(path).unwrap();
        assert_eq!(href.place, expected, "{path}");
        assert_eq!(href.to_string(), canonical, "{path}");
        let again = Href::parse(canonical).unwrap();
        assert_eq!((again.place, again.without_slash), (expected, false), "{path}");
    }

    #[test]
    fn every_place_is_read_and_written_back_in_one_way() {
        check("/", Place::Root, "/");
        check("/.well-known/caldav", Place::WellKnown, "/.well-known/caldav");
        check("/.well-known/caldav/", Place::WellKnown, "/.well-known/caldav");
        check("/dav", Place::Dav, "/dav/");
        let principal = Place::Principal { login: adele() };
        let written = "/dav/principals/adele.vance%40contoso.example/";
        check("/dav/principals/adele.vance@contoso.example", principal.clone(), written);
        check("/dav/principals/Adele.Vance%40Contoso.example/", principal, written);
        let home = "/dav/calendars/adele.vance%40contoso.example/";
        let at = |rest: &str| format!("/dav/calendars/adele.vance@contoso.example/{rest}");
        check(&at(""), Place::Home { login: adele() }, home);
        check(&at("inbox"), Place::Inbox { login: adele() }, &format!("{home}inbox/"));
        check(&at("%6Futbox/"), Place::Outbox { login: adele() }, &format!("{home}outbox/"));
        let calendar = Place::Calendar { login: adele(), calendar: "work".to_owned() };
        check(&at("work/"), calendar, &format!("{home}work/"));
        check(&at("work/1.ics"), object("1.ics"), &format!("{home}work/1.ics"));
        let name = "Gespräch (1) 100%.ics";
        let written = format!("{home}work/Gespr%C3%A4ch%20(1)%20100%25.ics");
        check(&at("work/Gespräch (1) 100%25.ics"), object(name), &written);
        check(&at("work/Gespr%c3%a4ch%20%281%29%20100%25.ics"), object(name), &written);
        check(&at("work/..."), object("..."), &format!("{home}work/..."));
        check(
            &at("work/a+b;c=d,e:f"),
            object("a+b;c=d,e:f"),
            &format!("{home}work/a%2Bb%3Bc%3Dd%2Ce%3Af"),
        );
    }

    #[test]
    fn the_path_of_a_principal_may_be_encoded_once_more_and_no_other() {
        let principal = Place::Principal { login: "adele+x@contoso.example".to_owned() };
        let read = Href::parse("/dav/principals/adele%252Bx%2540contoso.example/");
        assert_eq!(read.map(|href| href.place), Ok(principal));
        let percent = Place::Principal { login: "100%".to_owned() };
        assert_eq!(Href::parse("/dav/principals/100%25/").map(|href| href.place), Ok(percent));
        for path in [
            "/dav/principals/adele%252540contoso.example/",
            "/dav/principals/%252e%252e/",
            "/dav/principals/a%252fb/",
            "/dav/principals/a%250d/",
            "/dav/calendars/adele%2540contoso.example/",
        ] {
            let refused = Href::parse(path);
            assert!(matches!(refused, Err(BadHref::Malformed(_))), "{path}: {refused:?}");
        }
    }

    #[test]
    fn a_collection_without_its_slash_is_the_collection_and_says_so() {
        for (path, without) in [
            ("/dav", true),
            ("/dav/", false),
            ("/dav/calendars/a@b.example", true),
            ("/dav/calendars/a@b.example/", false),
            ("/dav/calendars/a@b.example/work", true),
            ("/dav/calendars/a@b.example/work/1.ics", false),
            ("/", false),
        ] {
            assert_eq!(Href::parse(path).unwrap().without_slash, without, "{path}");
        }
    }

    #[test]
    fn a_path_that_can_be_read_in_two_ways_is_refused() {
        let long = "a".repeat(256);
        let longer = format!("/dav/{}", "a/".repeat(3_000));
        let hostile = [
            "",
            "dav/",
            "*",
            "//",
            "//dav/",
            "/dav//principals/a/",
            "/dav/principals//",
            "/dav/calendars/a//1.ics",
            "/dav/calendars/a/b/1.ics//",
            "/dav/.",
            "/dav/..",
            "/dav/../etc/passwd",
            "/dav/calendars/a/../b/c/1.ics",
            "/dav/calendars/a/./c/1.ics",
            "/dav/calendars/a/%2e%2e/b/1.ics",
            "/dav/calendars/a/%2E./b/1.ics",
            "/dav/calendars/a/.%2e/1.ics",
            "/dav/calendars/a/b/%2e",
            "/dav/calendars/a/b/..%2f..%2fetc%2fpasswd",
            "/dav/calendars/a/b%2f1.ics",
            "/dav/calendars/a/b%2F1.ics",
            "/dav/calendars/a%2Fb/c",
            "/dav/calendars/a/b/1%5c2.ics",
            "/dav/calendars/a/b/1\\2.ics",
            "/dav/calendars/a/b/..\\..\\1.ics",
            "/dav/calendars/a/b/1.ics%00",
            "/dav/calendars/a/b/1.ics\0.txt",
            "/dav/calendars/a/b/%0d%0aX-Header:%201",
            "/dav/calendars/a/b/1\r\n2",
            "/dav/calendars/a/b/%1b[2J",
            "/dav/calendars/a/b/%7f",
            "/dav/calendars/a/b/%c2%85",
            "/dav/calendars/a/b/%",
            "/dav/calendars/a/b/%2",
            "/dav/calendars/a/b/%zz",
            "/dav/calendars/a/b/%u002f",
            "/dav/calendars/a/b/%ff",
            "/dav/calendars/a/b/%c3",
            // The slash in two octets and in three, the dot in two.
            "/dav/calendars/a/b/%c0%af",
            "/dav/calendars/a/b/%e0%80%af",
            "/dav/calendars/a/b/%c0%ae%c0%ae",
            // Half of a surrogate pair.
            "/dav/calendars/a/b/%ed%a0%80",
            "/dav/calendars/a/b/%252e%252e",
            "/dav/calendars/a/b/1%2520.ics",
            "/dav/calendars/a/b/%25252f",
            "/dav/calendars/a/b/1.ics?export",
            "/dav/calendars/a/b/1.ics#top",
            "http://127.0.0.1:1080/dav/",
            &format!("/dav/calendars/a/b/{long}"),
            &format!("/dav/calendars/{long}/b/1.ics"),
            &longer,
        ];
        assert!(hostile.len() >= 40);
        for path in hostile {
            let refused = Href::parse(path);
            assert!(matches!(refused, Err(BadHref::Malformed(_))), "{path:?}: {refused:?}");
        }
    }

    #[test]
    fn a_sound_path_that_is_none_of_ours_names_nothing() {
        for path in [
            "/favicon.ico",
            "/DAV/",
            "/.well-known/carddav",
            "/.well-known/",
            "/dav/principals/",
            "/dav/calendars",
            "/dav/principals/a/b",
            "/dav/addressbooks/a/",
            "/dav/calendars/a/inbox/1.ics",
            "/dav/calendars/a/outbox/1.ics",
            "/dav/calendars/a/b/1.ics/",
            "/dav/calendars/a/b/c/1.ics",
        ] {
            assert_eq!(Href::parse(path), Err(BadHref::Unknown), "{path}");
        }
    }

    #[test]
    fn an_absolute_url_is_its_path_when_its_host_is_ours() {
        for (reference, expected) in [
            ("/dav/", Ok("/dav/")),
            (" /dav/\n", Ok("/dav/")),
            ("http://127.0.0.1:1080/dav/", Ok("/dav/")),
            ("HTTP://LOCALHOST:1080/dav/", Ok("/dav/")),
            ("http://localhost:1080", Ok("/")),
            ("http://localhost/dav/", Err(BadHref::Foreign)),
            ("http://localhost:1081/dav/", Err(BadHref::Foreign)),
            ("http://evil.example/dav/", Err(BadHref::Foreign)),
            ("http://localhost:1080.evil.example/dav/", Err(BadHref::Foreign)),
            ("ftp://localhost:1080/dav/", Err(BadHref::Foreign)),
        ] {
            assert_eq!(path_of(reference, &HOSTS), expected, "{reference}");
        }
        for malformed in [
            "",
            "dav/",
            "//127.0.0.1:1080/dav/",
            "http:/dav/",
            "javascript:alert(1)",
            "http://localhost:1080@evil.example/dav/",
            "http://adele@localhost:1080/dav/",
            "http://localhost:1080\\@evil.example/",
            "http://local%68ost:1080/dav/",
        ] {
            let read = path_of(malformed, &HOSTS);
            assert!(matches!(read, Err(BadHref::Malformed(_))), "{malformed}: {read:?}");
        }
        assert_eq!(path_of("http://localhost:80/dav/", &["localhost"]), Ok("/dav/"));
        assert_eq!(path_of("https://[::1]/dav/", &["[::1]:443"]), Ok("/dav/"));
        let dots = Href::parse_reference("http://localhost:1080/dav/../x", &HOSTS);
        assert!(matches!(dots, Err(BadHref::Malformed(_))));
        let query = Href::parse_reference("http://localhost:1080?x", &HOSTS);
        assert!(matches!(query, Err(BadHref::Malformed(_))), "{query:?}");
    }

    proptest! {
        #[test]
        fn any_path_is_answered_and_what_is_read_is_read_again(path in ".{0,300}") {
            let _ = path_of(&path, &HOSTS);
            if let Ok(href) = Href::parse(&path) {
                prop_assert_eq!(Href::parse(&href.to_string()).map(|again| again.place), Ok(href.place));
            }
        }

        #[test]
        fn any_name_is_refused_or_comes_back_as_it_was(
            name in "(\\PC|[%./ @:]|%[0-9a-f]{2}){1,40}",
        ) {
            let place = object(&name);
            match Href::parse(&place.to_string()) {
                Ok(href) => {
                    prop_assert_eq!(&href.place, &place);
                    let path = href.to_string();
                    prop_assert!(path.bytes().all(|octet| octet.is_ascii_graphic()), "{}", path);
                }
                Err(refused) => prop_assert!(matches!(refused, BadHref::Malformed(_)), "{}", name),
            }
        }
    }
}
