//! What is said of a resource: its live properties, and the dead ones of a calendar.
//!
//! RFC 4918 §15, RFC 3744 §5, RFC 4791 §5.2, §6.2, RFC 5397, RFC 6578 §4, RFC 6638 §2, §3.2.10, §9;
//! `getctag`, `calendar-color` and `calendar-order` are Apple's. Whether there is a property is asked by
//! asking for it, so that no list of names can say otherwise.

use jiff::fmt::rfc2822::DateTimePrinter;
use uuid::Uuid;

use super::answer::CALENDAR;
use super::filter::Collation;
use super::href::Place;
use super::markup::{Fragment, Writer};
use super::multistatus::Properties;
use super::request::PropFind;
use super::site::Asked;
use super::xml::{Name, Namespace};
use crate::account::Account;
use crate::ical::{ATTENDEES_MAX, OCTETS_MAX};
use crate::store::calendar::Tags;
use crate::store::calendars::{Calendar, DEFAULT, DeadProperty};

/// A resource with what is known of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Resource<'r> {
    Root,
    Dav,
    Principal,
    Home,
    Inbox,
    Outbox,
    Calendar(&'r Calendar),
    Object(&'r Calendar, &'r Tags),
}

/// Those that can be there, for DAV:propname: RFC 4918's first, as DAV:allprop gives them.
static LIVE: [Name; 37] = [
    Name::dav("resourcetype"),
    Name::dav("displayname"),
    Name::dav("getetag"),
    Name::dav("getcontenttype"),
    Name::dav("getcontentlength"),
    Name::dav("getlastmodified"),
    Name::dav("current-user-principal"),
    Name::dav("current-user-privilege-set"),
    Name::dav("owner"),
    Name::dav("principal-URL"),
    Name::dav("principal-collection-set"),
    Name::dav("supported-report-set"),
    Name::dav("sync-token"),
    Name::caldav("calendar-home-set"),
    Name::caldav("calendar-user-address-set"),
    Name::caldav("calendar-user-type"),
    Name::caldav("schedule-inbox-URL"),
    Name::caldav("schedule-outbox-URL"),
    Name::caldav("schedule-default-calendar-URL"),
    Name::caldav("schedule-calendar-transp"),
    Name::caldav("schedule-tag"),
    Name::caldav("supported-calendar-component-set"),
    Name::caldav("supported-calendar-data"),
    Name::caldav("supported-collation-set"),
    Name::caldav("max-resource-size"),
    Name::caldav("max-attendees-per-instance"),
    Name::calendar_server("getctag"),
    // Of a calendar, where a client has set them: they are among its dead ones.
    Name::caldav("calendar-description"),
    Name::caldav("calendar-timezone"),
    Name::apple("calendar-color"),
    Name::apple("calendar-order"),
    // Never there, and not to be set either.
    Name::dav("creationdate"),
    Name::dav("getcontentlanguage"),
    Name::dav("lockdiscovery"),
    Name::dav("supportedlock"),
    Name::dav("quota-available-bytes"),
    Name::dav("quota-used-bytes"),
];
/// How many of [`LIVE`] DAV:allprop gives.
const ALLPROP: usize = 6;

/// Those that a client may set on a calendar although their meaning is known here.
static SETTABLE: [Name; 6] = [
    Name::dav("displayname"),
    Name::caldav("calendar-description"),
    Name::caldav("calendar-timezone"),
    Name::caldav("schedule-calendar-transp"),
    Name::apple("calendar-color"),
    Name::apple("calendar-order"),
];

/// RFC 3253 §3.8 cannot-modify-protected-property.
pub(super) fn is_protected(name: &Name) -> bool {
    LIVE.contains(name) && !SETTABLE.contains(name)
}

/// The reports that are answered for a resource. RFC 3253 §3.1.5.
pub(super) fn reports(place: &Place) -> &'static [Name] {
    const CALENDAR: &[Name] = &[
        Name::caldav("calendar-query"),
        Name::caldav("calendar-multiget"),
        Name::caldav("free-busy-query"),
        Name::dav("sync-collection"),
        Name::dav("expand-property"),
    ];
    const OBJECT: &[Name] = &[
        Name::caldav("calendar-query"),
        Name::caldav("calendar-multiget"),
        Name::dav("expand-property"),
    ];
    const HOME: &[Name] = &[Name::caldav("calendar-multiget"), Name::dav("expand-property")];
    const PRINCIPALS: &[Name] = &[
        Name::dav("expand-property"),
        Name::dav("principal-property-search"),
        Name::dav("principal-search-property-set"),
    ];
    const OTHERS: &[Name] = &[Name::dav("expand-property")];
    match place {
        Place::Calendar { .. } => CALENDAR,
        Place::Object { .. } => OBJECT,
        Place::Home { .. } => HOME,
        Place::Root | Place::Dav | Place::Principal { .. } => PRINCIPALS,
        Place::Inbox { .. } | Place::Outbox { .. } | Place::WellKnown => OTHERS,
    }
}

/// How far somebody has come who synchronises. An account that is removed and added again is another one,
/// and so are its calendars.
pub(super) fn sync_token(account: &Account, calendar: &str, change: u64) -> String {
    format!("{}{change}", token_front(account, calendar))
}

/// The change that a token names; `None`: it is none of ours.
pub(super) fn change_of(token: &str, account: &Account, calendar: &str) -> Option<u64> {
    token.strip_prefix(&token_front(account, calendar))?.parse().ok()
}

fn token_front(account: &Account, calendar: &str) -> String {
    format!("urn:postbridge:sync:{}:", Uuid::new_v5(&account.id.0, calendar.as_bytes()))
}

/// RFC 9110 §5.6.7.
pub(super) fn http_date(at: jiff::Timestamp) -> String {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap_or_default()
}

/// A Content-Type that says which component is in it.
pub(super) fn content_type() -> String {
    format!("{CALENDAR}; component=vevent")
}

impl<'r> Resource<'r> {
    /// The one that a place is, where there is nothing more to know.
    pub(super) fn fixed(place: &Place) -> Option<Resource<'static>> {
        match place {
            Place::Root => Some(Resource::Root),
            Place::Dav => Some(Resource::Dav),
            Place::Principal { .. } => Some(Resource::Principal),
            Place::Home { .. } => Some(Resource::Home),
            Place::Inbox { .. } => Some(Resource::Inbox),
            Place::Outbox { .. } => Some(Resource::Outbox),
            Place::WellKnown | Place::Calendar { .. } | Place::Object { .. } => None,
        }
    }

    pub(super) fn place(self, asked: &Asked) -> Place {
        let login = asked.login();
        match self {
            Resource::Root => Place::Root,
            Resource::Dav => Place::Dav,
            Resource::Principal => Place::Principal { login },
            Resource::Home => Place::Home { login },
            Resource::Inbox => Place::Inbox { login },
            Resource::Outbox => Place::Outbox { login },
            Resource::Calendar(calendar) => {
                Place::Calendar { login, calendar: calendar.name.clone() }
            }
            Resource::Object(calendar, tags) => {
                Place::Object { login, calendar: calendar.name.clone(), object: tags.name.clone() }
            }
        }
    }

    /// Says what is asked for.
    pub(super) fn describe(self, asked: &Asked, wanted: &PropFind, properties: &mut Properties) {
        match wanted {
            PropFind::Prop(names) => self.put_all(asked, names, properties),
            PropFind::AllProp { include } => {
                for name in LIVE.iter().take(ALLPROP) {
                    self.put(asked, name, properties);
                }
                let given = |name: &Name| LIVE.iter().take(ALLPROP).any(|live| live == name);
                for (name, fragment) in self.dead() {
                    if !given(&name) {
                        properties.put_fragment(&fragment);
                    }
                }
                let more = include.iter().filter(|name| !given(name) && !self.has_dead(name));
                self.put_all(asked, more, properties);
            }
            PropFind::PropName => {
                for name in &LIVE {
                    if self.put(asked, name, &mut Properties::default()) {
                        properties.put_name(name);
                    }
                }
                for (name, _) in self.dead() {
                    if !LIVE.contains(&name) {
                        properties.put_name(&name);
                    }
                }
            }
        }
    }

    fn put_all<'n>(
        self,
        asked: &Asked,
        names: impl IntoIterator<Item = &'n Name>,
        properties: &mut Properties,
    ) {
        for name in names {
            if !self.put(asked, name, properties) && !asked.preferences.minimal {
                properties.missing(name);
            }
        }
    }

    /// A calendar's dead properties. What was kept and cannot be read is not there.
    fn dead(self) -> impl Iterator<Item = (Name, Fragment)> + use<'r> {
        let kept: &[DeadProperty] = match self {
            Resource::Calendar(calendar) => &calendar.properties,
            _ => &[],
        };
        kept.iter().filter_map(|(namespace, local, value)| {
            Some((Name::parse(namespace, local)?, Fragment::parse(value).ok()?))
        })
    }

    fn has_dead(self, name: &Name) -> bool {
        let Resource::Calendar(calendar) = self else { return false };
        let mut kept = calendar.properties.iter();
        kept.any(|(namespace, local, _)| {
            namespace == name.namespace().uri() && local == name.local()
        })
    }

    /// One property; `false`: it is not there.
    pub(super) fn put(self, asked: &Asked, name: &Name, properties: &mut Properties) -> bool {
        if self.has_dead(name)
            && let Some((_, fragment)) = self.dead().find(|(dead, _)| dead == name)
        {
            properties.put_fragment(&fragment);
            return true;
        }
        if let Some(place) = self.leads_to(asked, name) {
            properties.put_href(name, place);
            return true;
        }
        match name.namespace() {
            Namespace::Dav => self.put_dav(asked, name, properties),
            Namespace::CalDav => self.put_caldav(asked, name, properties),
            Namespace::CalendarServer => self.put_calendar_server(asked, name, properties),
            _ => false,
        }
    }

    /// Where a property leads whose value is one href.
    pub(super) fn leads_to(self, asked: &Asked, name: &Name) -> Option<Place> {
        let login = asked.login();
        let is = |known: Name| *name == known;
        Some(match self {
            _ if is(Name::dav("current-user-principal")) => Place::Principal { login },
            _ if is(Name::dav("principal-collection-set")) => Place::Dav,
            Resource::Root | Resource::Dav => return None,
            _ if is(Name::dav("owner")) => Place::Principal { login },
            Resource::Principal if is(Name::dav("principal-URL")) => Place::Principal { login },
            Resource::Principal if is(Name::caldav("calendar-home-set")) => Place::Home { login },
            Resource::Principal if is(Name::caldav("schedule-inbox-URL")) => Place::Inbox { login },
            Resource::Principal if is(Name::caldav("schedule-outbox-URL")) => {
                Place::Outbox { login }
            }
            Resource::Inbox if is(Name::caldav("schedule-default-calendar-URL")) => {
                Place::Calendar { login, calendar: DEFAULT.to_owned() }
            }
            _ => return None,
        })
    }

    fn put_dav(self, asked: &Asked, name: &Name, properties: &mut Properties) -> bool {
        match (name.local(), self) {
            ("resourcetype", _) => {
                properties.put(name, |writer| {
                    self.types().iter().for_each(|one| writer.empty(one));
                });
            }
            ("displayname", Resource::Principal) => {
                properties.put_text(name, asked.account.address.as_str());
            }
            ("displayname", Resource::Calendar(_)) => properties.put_text(name, "Calendar"),
            ("current-user-privilege-set", _) => properties.put(name, |writer| {
                for privilege in self.privileges(asked) {
                    writer.element(&Name::dav("privilege"), |writer| writer.empty(&privilege));
                }
            }),
            ("supported-report-set", _) => properties.put(name, |writer| {
                for report in reports(&self.place(asked)) {
                    writer.element(&Name::dav("supported-report"), |writer| {
                        writer.element(&Name::dav("report"), |writer| writer.empty(report));
                    });
                }
            }),
            ("sync-token", Resource::Calendar(calendar)) => {
                let token = sync_token(&asked.account, &calendar.name, calendar.change);
                properties.put_text(name, &token);
            }
            ("getetag", Resource::Object(_, tags)) => properties.put_text(name, &tags.etag),
            ("getcontenttype", Resource::Object(..)) => {
                properties.put_text(name, &content_type());
            }
            ("getcontentlength", Resource::Object(_, tags)) => {
                properties.put_text(name, &tags.octets.to_string());
            }
            ("getlastmodified", Resource::Object(_, tags)) => {
                properties.put_text(name, &http_date(tags.changed_at));
            }
            _ => return false,
        }
        true
    }

    fn put_caldav(self, asked: &Asked, name: &Name, properties: &mut Properties) -> bool {
        match (name.local(), self) {
            ("calendar-user-address-set", Resource::Principal) => properties.put(name, |writer| {
                let account = &asked.account;
                for address in std::iter::once(&account.address).chain(&account.aliases) {
                    writer.href(&format!("mailto:{address}"));
                }
            }),
            ("calendar-user-type", Resource::Principal) => {
                properties.put_text(name, "INDIVIDUAL");
            }
            ("schedule-calendar-transp", Resource::Calendar(_)) => {
                properties.put(name, |writer| writer.empty(&Name::caldav("opaque")));
            }
            ("schedule-tag", Resource::Object(_, tags)) => {
                properties.put_text(name, &tags.schedule_tag);
            }
            ("supported-calendar-component-set", Resource::Calendar(_)) => {
                properties.put(name, |writer| {
                    writer.element_with(&Name::caldav("comp"), &[("name", "VEVENT")], |_| {});
                });
            }
            ("supported-calendar-data", Resource::Calendar(_) | Resource::Outbox) => {
                properties.put(name, |writer| {
                    let attributes = [("content-type", "text/calendar"), ("version", "2.0")];
                    writer.element_with(&Name::caldav("calendar-data"), &attributes, |_| {});
                });
            }
            ("supported-collation-set", Resource::Calendar(_) | Resource::Object(..)) => {
                properties.put(name, |writer: &mut Writer| {
                    for collation in Collation::ALL {
                        let name = Name::caldav("supported-collation");
                        writer.text_element(&name, collation.name());
                    }
                });
            }
            ("max-resource-size", Resource::Calendar(_) | Resource::Outbox) => {
                properties.put_text(name, &OCTETS_MAX.to_string());
            }
            ("max-attendees-per-instance", Resource::Calendar(_) | Resource::Outbox) => {
                properties.put_text(name, &ATTENDEES_MAX.to_string());
            }
            _ => return false,
        }
        true
    }

    fn put_calendar_server(self, asked: &Asked, name: &Name, properties: &mut Properties) -> bool {
        match (name.local(), self) {
            ("getctag", Resource::Calendar(calendar)) => {
                let token = sync_token(&asked.account, &calendar.name, calendar.change);
                properties.put_text(name, &token);
                true
            }
            _ => false,
        }
    }

    fn types(self) -> Vec<Name> {
        let more = match self {
            Resource::Object(..) => return Vec::new(),
            Resource::Root | Resource::Dav | Resource::Home => None,
            Resource::Principal => Some(Name::dav("principal")),
            Resource::Inbox => Some(Name::caldav("schedule-inbox")),
            Resource::Outbox => Some(Name::caldav("schedule-outbox")),
            Resource::Calendar(_) => Some(Name::caldav("calendar")),
        };
        std::iter::once(Name::dav("collection")).chain(more).collect()
    }

    /// RFC 3744 §5.4, RFC 4791 §6.1.1, RFC 6638 §6.
    fn privileges(self, asked: &Asked) -> Vec<Name> {
        let mut privileges = vec![Name::dav("read"), Name::dav("read-current-user-privilege-set")];
        match self {
            Resource::Calendar(_) | Resource::Object(..) => {
                privileges.push(Name::caldav("read-free-busy"));
                if asked.may_write() {
                    let write = ["write", "write-properties", "write-content", "bind", "unbind"];
                    privileges.extend(write.map(Name::dav));
                }
            }
            Resource::Outbox => {
                privileges.push(Name::caldav("schedule-send"));
                privileges.push(Name::caldav("schedule-send-freebusy"));
                if asked.may_write() {
                    privileges.push(Name::caldav("schedule-send-invite"));
                }
            }
            _ => {}
        }
        privileges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{AccountId, Address, Profile, Standing};

    fn account(number: u128) -> Account {
        Account {
            id: AccountId(Uuid::from_u128(number)),
            address: Address::parse("adele.vance@contoso.example").unwrap(),
            aliases: vec![],
            send_as: vec![],
            profile: Profile::Full,
            granted: vec![],
            person: None,
            standing: Standing::Ready,
        }
    }

    #[test]
    fn a_token_is_of_one_calendar_of_one_account() {
        let token = sync_token(&account(1), "calendar", 7);
        assert_eq!(change_of(&token, &account(1), "calendar"), Some(7));
        assert_eq!(change_of(&token, &account(1), "other"), None);
        assert_eq!(change_of(&token, &account(2), "calendar"), None);
        for bad in ["", "7", "urn:postbridge:sync:7", &format!("{token}x"), &format!("{token}/")] {
            assert_eq!(change_of(bad, &account(1), "calendar"), None, "{bad}");
        }
    }

    #[test]
    fn a_date_is_one_of_http() {
        let at = jiff::Timestamp::from_second(784_111_777).unwrap();
        assert_eq!(http_date(at), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
