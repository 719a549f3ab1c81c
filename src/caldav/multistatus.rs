//! DAV:multistatus, written response by response. Pure.
//!
//! RFC 4918 §13, §14.16, §14.22 (properties are grouped by status); RFC 5689 §5 (the answer to an extended
//! MKCOL); RFC 6578 §3.4 (the token at the end). No more than one response is held at a time: the server
//! drains what is written while it writes on.

use std::fmt::Display;

use super::condition::Condition;
use super::markup::{Fragment, Writer};
use super::xml::Name;

const MULTISTATUS: Name = Name::dav("multistatus");

/// A 207 that is being written.
#[derive(Debug)]
pub struct Multistatus {
    writer: Writer,
}

impl Multistatus {
    pub fn begin() -> Multistatus {
        let mut writer = Writer::new();
        writer.begin(&MULTISTATUS);
        Multistatus { writer }
    }

    /// One resource and its properties.
    pub fn respond(&mut self, href: impl Display, put: impl FnOnce(&mut Properties)) {
        response(&mut self.writer, href, put);
    }

    /// One resource of which there is nothing to say but this: 404 for what is gone (RFC 6578 §3.5.2), 507
    /// for the collection itself when not all of it is told (§3.6).
    pub fn status(&mut self, href: impl Display, status: u16, condition: Option<&Condition>) {
        self.writer.element(&Name::dav("response"), |writer| {
            writer.href(&href.to_string());
            write_status(writer, status);
            write_error(writer, condition);
        });
    }

    /// What has been written since the last time, to be sent on.
    pub fn drain(&mut self) -> Vec<u8> {
        self.writer.take()
    }

    /// The rest of it.
    pub fn end(mut self, sync_token: Option<&str>) -> Vec<u8> {
        if let Some(token) = sync_token {
            self.writer.text_element(&Name::dav("sync-token"), token);
        }
        self.writer.end(&MULTISTATUS);
        self.writer.take()
    }
}

/// DAV:response, also as it stands within a property (RFC 3253 §3.8).
pub fn response(writer: &mut Writer, href: impl Display, put: impl FnOnce(&mut Properties)) {
    let mut properties = Properties::default();
    put(&mut properties);
    writer.element(&Name::dav("response"), |writer| {
        writer.href(&href.to_string());
        properties.write(writer, true);
    });
}

/// What is said of the properties of one resource.
#[derive(Debug, Default)]
pub struct Properties {
    found: Writer,
    others: Vec<Group>,
}

/// Properties of one status but 200.
#[derive(Debug)]
struct Group {
    status: u16,
    condition: Option<Condition>,
    names: Vec<Name>,
}

impl Properties {
    /// A property and its value. 200.
    pub fn put(&mut self, name: &Name, write: impl FnOnce(&mut Writer)) {
        self.found.element(name, write);
    }

    /// A property whose value is text.
    pub fn put_text(&mut self, name: &Name, text: &str) {
        self.found.text_element(name, text);
    }

    /// A property whose value is one DAV:href.
    pub fn put_href(&mut self, name: &Name, href: impl Display) {
        self.found.element(name, |writer| writer.href(&href.to_string()));
    }

    /// A dead property as it was kept.
    pub fn put_fragment(&mut self, fragment: &Fragment) {
        self.found.fragment(fragment);
    }

    /// The name alone: DAV:propname, and what PROPPATCH has set or removed.
    pub fn put_name(&mut self, name: &Name) {
        self.found.empty(name);
    }

    /// 404.
    pub fn missing(&mut self, name: &Name) {
        self.other(name, 404, None);
    }

    /// Another status: 403 with the reason, 424 for what was not done because of another (RFC 4918 §9.2).
    pub fn other(&mut self, name: &Name, status: u16, condition: Option<Condition>) {
        let same = |group: &&mut Group| group.status == status && group.condition == condition;
        match self.others.iter_mut().find(same) {
            Some(group) => group.names.push(name.clone()),
            None => self.others.push(Group { status, condition, names: vec![name.clone()] }),
        }
    }

    /// `in_response`: RFC 4918 §14.24 wants at least one propstat there, also where a client asked to be
    /// spared those of 404 (RFC 8144 §2.1).
    fn write(self, writer: &mut Writer, in_response: bool) {
        let nothing = self.found.is_empty() && self.others.is_empty();
        if !self.found.is_empty() || (nothing && in_response) {
            writer.element(&Name::dav("propstat"), |writer| {
                writer.element(&Name::dav("prop"), |writer| writer.append(self.found));
                write_status(writer, 200);
            });
        }
        for group in self.others {
            writer.element(&Name::dav("propstat"), |writer| {
                writer.element(&Name::dav("prop"), |writer| {
                    group.names.iter().for_each(|name| writer.empty(name));
                });
                write_status(writer, group.status);
                write_error(writer, group.condition.as_ref());
            });
        }
    }
}

/// The body that answers MKCALENDAR (RFC 4791 §9.4, `C:mkcalendar-response`) or an extended MKCOL
/// (RFC 5689 §5.2, `D:mkcol-response`) whose properties were not all set.
pub fn creation(root: &Name, put: impl FnOnce(&mut Properties)) -> Vec<u8> {
    let mut properties = Properties::default();
    put(&mut properties);
    Writer::document(root, |writer| properties.write(writer, false))
}

fn write_status(writer: &mut Writer, status: u16) {
    let reason = match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        423 => "Locked",
        424 => "Failed Dependency",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        507 => "Insufficient Storage",
        // RFC 9112 §4: it may be empty.
        _ => "",
    };
    writer.text_element(&Name::dav("status"), &format!("HTTP/1.1 {status} {reason}"));
}

fn write_error(writer: &mut Writer, condition: Option<&Condition>) {
    if let Some(condition) = condition {
        writer.element(&Name::dav("error"), |writer| condition.write(writer));
    }
}

#[cfg(test)]
mod tests {
    use super::super::href::Place;
    use super::super::xml::{self, Element};
    use super::*;

    fn read(octets: &[u8]) -> Element {
        xml::read(octets, octets.len()).unwrap()
    }

    /// `href: status {names}…`, a line for each response.
    fn summary(octets: &[u8]) -> Vec<String> {
        let of = |element: &Element, name| {
            element.child(&Name::dav(name)).map(Element::text).unwrap_or_default()
        };
        read(octets)
            .children()
            .map(|response| {
                let mut line = format!("{} {}", of(response, "href"), of(response, "status"));
                for propstat in response.children().filter(|c| c.name == Name::dav("propstat")) {
                    let prop = propstat.child(&Name::dav("prop")).unwrap();
                    let names: Vec<&str> =
                        prop.children().map(|child| child.name.local()).collect();
                    line += &format!("[{}: {}]", of(propstat, "status"), names.join(" "));
                    if let Some(error) = propstat.child(&Name::dav("error")) {
                        line += &format!("!{}", error.children().next().unwrap().name.local());
                    }
                }
                line
            })
            .collect()
    }

    #[test]
    fn properties_are_grouped_by_status() {
        let login = "a@b.example".to_owned();
        let mut answer = Multistatus::begin();
        answer.respond(Place::Home { login }, |properties| {
            properties.missing(&Name::dav("quota-used-bytes"));
            properties.put_text(&Name::dav("displayname"), "<Adele & co>");
            properties.other(
                &Name::dav("getetag"),
                403,
                Some(Condition::CannotModifyProtectedProperty),
            );
            properties.missing(&Name::parse("urn:x", "y").unwrap());
            properties.put_href(&Name::dav("owner"), "/dav/principals/a%40b.example/");
        });
        let octets = answer.end(None);
        assert_eq!(
            summary(&octets),
            [
                "/dav/calendars/a%40b.example/ [HTTP/1.1 200 OK: displayname owner][HTTP/1.1 404 Not \
              Found: quota-used-bytes y][HTTP/1.1 403 Forbidden: getetag]\
              !cannot-modify-protected-property"
            ]
        );
        assert!(String::from_utf8(octets).unwrap().contains("&lt;Adele &amp; co&gt;"));
    }

    #[test]
    fn each_reason_is_told_of_its_own_properties() {
        let mut answer = Multistatus::begin();
        answer.respond("/dav/", |properties| {
            let protected = || Some(Condition::CannotModifyProtectedProperty);
            properties.other(&Name::dav("getetag"), 403, protected());
            properties.other(&Name::dav("resourcetype"), 403, Some(Condition::ValidResourcetype));
            properties.other(&Name::dav("owner"), 403, protected());
        });
        assert_eq!(
            summary(&answer.end(None)),
            ["/dav/ [HTTP/1.1 403 Forbidden: getetag owner]!cannot-modify-protected-property\
              [HTTP/1.1 403 Forbidden: resourcetype]!valid-resourcetype"]
        );
    }

    #[test]
    fn a_response_without_any_property_is_still_one() {
        let mut answer = Multistatus::begin();
        answer.respond("/dav/", |_| {});
        assert_eq!(summary(&answer.end(None)), ["/dav/ [HTTP/1.1 200 OK: ]"]);
    }

    #[test]
    fn what_is_drained_piece_by_piece_is_the_whole() {
        let mut pieces = Vec::new();
        let mut answer = Multistatus::begin();
        for n in 0..3 {
            pieces.push(answer.drain());
            assert!(answer.drain().is_empty());
            answer.respond(format!("/{n}"), |p| p.put_name(&Name::dav("getetag")));
        }
        answer.status("/gone & <away>", 404, None);
        pieces.push(answer.drain());
        answer.status("/", 507, Some(&Condition::NumberOfMatchesWithinLimits));
        pieces.push(answer.end(Some("urn:token:7")));
        let octets = pieces.concat();
        let root = read(&octets);
        assert_eq!(root.children().last().unwrap().text(), "urn:token:7");
        let lines = summary(&octets);
        assert_eq!(lines[3], "/gone & <away> HTTP/1.1 404 Not Found");
        assert_eq!(lines[4], "/ HTTP/1.1 507 Insufficient Storage");
        assert_eq!(lines.len(), 6);
    }

    #[test]
    fn nothing_found_is_an_empty_multistatus() {
        assert_eq!(read(&Multistatus::begin().end(None)).content, []);
    }

    #[test]
    fn a_creation_that_failed_says_which_property_it_was() {
        let octets = creation(&Name::dav("mkcol-response"), |properties| {
            let reason = Some(Condition::ValidResourcetype);
            properties.other(&Name::dav("resourcetype"), 403, reason);
            properties.other(&Name::dav("displayname"), 424, None);
        });
        let root = read(&octets);
        assert_eq!(root.name, Name::dav("mkcol-response"));
        let statuses: Vec<String> =
            root.children().map(|c| c.child(&Name::dav("status")).unwrap().text()).collect();
        assert_eq!(statuses, ["HTTP/1.1 403 Forbidden", "HTTP/1.1 424 Failed Dependency"]);
    }
}
