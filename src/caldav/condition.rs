//! The preconditions and postconditions that a request can fail: element, namespace and status. Pure.
//!
//! RFC 4918 §16, RFC 3253 §1.6, RFC 3744 §7.1.1, RFC 4791 §1.3, RFC 5689 §3.4, RFC 6578 §3.2, RFC 6638
//! §3.2.4. A client is told by the element, not in words; nothing from inside may stand in one.

use super::markup::Writer;
use super::xml::Name;

/// What was not satisfied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    // RFC 4918 §16
    CannotModifyProtectedProperty,
    NoExternalEntities,
    PreservedLiveProperties,
    PropfindFiniteDepth,
    LockTokenMatchesRequestUri,
    /// The resources that are locked.
    LockTokenSubmitted(Vec<String>),
    NoConflictingLock(Vec<String>),
    // RFC 3253 §1.6, §3.6; RFC 4331 §6
    ResourceMustBeNull,
    SupportedReport,
    SufficientDiskSpace,
    /// RFC 3744 §7.1.1: on which resource, and which privilege of DAV: or CALDAV:.
    NeedPrivileges {
        href: String,
        privilege: Name,
    },
    // RFC 5689 §3.4
    ValidResourcetype,
    // RFC 6578
    ValidSyncToken,
    SyncTraversalSupported,
    NumberOfMatchesWithinLimits,
    // RFC 4791
    CalendarCollectionLocationOk,
    InitializeCalendarCollection,
    SupportedCalendarData,
    ValidCalendarData,
    ValidCalendarObjectResource,
    SupportedCalendarComponent,
    /// The object that has the UID, where it may be named.
    NoUidConflict(Option<String>),
    MaxResourceSize,
    MinDateTime,
    MaxDateTime,
    MaxInstances,
    MaxAttendeesPerInstance,
    ValidFilter,
    /// The part of the filter that is not known.
    SupportedFilter(Option<Unsupported>),
    SupportedCollation,
    // RFC 6638
    /// The object that has the UID, where it may be named.
    UniqueSchedulingObjectResource(Option<String>),
    SameOrganizerInAllComponents,
    AllowedOrganizerSchedulingObjectChange,
    AllowedAttendeeSchedulingObjectChange,
    DefaultCalendarNeeded,
    ValidScheduleDefaultCalendarUrl,
    ValidSchedulingMessage,
    ValidOrganizer,
}

/// RFC 4791 §7.8: servers should say what of a filter they do not support.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// `comp-filter`, `prop-filter` or `param-filter`.
    pub element: &'static str,
    /// Its `name`.
    pub name: String,
}

impl Condition {
    /// The element that stands in DAV:error.
    pub fn name(&self) -> Name {
        use Condition::*;
        match self {
            CannotModifyProtectedProperty => Name::dav("cannot-modify-protected-property"),
            NoExternalEntities => Name::dav("no-external-entities"),
            PreservedLiveProperties => Name::dav("preserved-live-properties"),
            PropfindFiniteDepth => Name::dav("propfind-finite-depth"),
            LockTokenMatchesRequestUri => Name::dav("lock-token-matches-request-uri"),
            LockTokenSubmitted(_) => Name::dav("lock-token-submitted"),
            NoConflictingLock(_) => Name::dav("no-conflicting-lock"),
            ResourceMustBeNull => Name::dav("resource-must-be-null"),
            SupportedReport => Name::dav("supported-report"),
            SufficientDiskSpace => Name::dav("sufficient-disk-space"),
            NeedPrivileges { .. } => Name::dav("need-privileges"),
            ValidResourcetype => Name::dav("valid-resourcetype"),
            ValidSyncToken => Name::dav("valid-sync-token"),
            SyncTraversalSupported => Name::dav("sync-traversal-supported"),
            NumberOfMatchesWithinLimits => Name::dav("number-of-matches-within-limits"),
            CalendarCollectionLocationOk => Name::caldav("calendar-collection-location-ok"),
            InitializeCalendarCollection => Name::caldav("initialize-calendar-collection"),
            SupportedCalendarData => Name::caldav("supported-calendar-data"),
            ValidCalendarData => Name::caldav("valid-calendar-data"),
            ValidCalendarObjectResource => Name::caldav("valid-calendar-object-resource"),
            SupportedCalendarComponent => Name::caldav("supported-calendar-component"),
            NoUidConflict(_) => Name::caldav("no-uid-conflict"),
            MaxResourceSize => Name::caldav("max-resource-size"),
            MinDateTime => Name::caldav("min-date-time"),
            MaxDateTime => Name::caldav("max-date-time"),
            MaxInstances => Name::caldav("max-instances"),
            MaxAttendeesPerInstance => Name::caldav("max-attendees-per-instance"),
            ValidFilter => Name::caldav("valid-filter"),
            SupportedFilter(_) => Name::caldav("supported-filter"),
            SupportedCollation => Name::caldav("supported-collation"),
            UniqueSchedulingObjectResource(_) => Name::caldav("unique-scheduling-object-resource"),
            SameOrganizerInAllComponents => Name::caldav("same-organizer-in-all-components"),
            AllowedOrganizerSchedulingObjectChange => {
                Name::caldav("allowed-organizer-scheduling-object-change")
            }
            AllowedAttendeeSchedulingObjectChange => {
                Name::caldav("allowed-attendee-scheduling-object-change")
            }
            DefaultCalendarNeeded => Name::caldav("default-calendar-needed"),
            ValidScheduleDefaultCalendarUrl => Name::caldav("valid-schedule-default-calendar-URL"),
            ValidSchedulingMessage => Name::caldav("valid-scheduling-message"),
            ValidOrganizer => Name::caldav("valid-organizer"),
        }
    }

    /// The status of the answer. RFC 4791 §1.3: 403 where the same request will fail again, 409 where
    /// the user may be able to do something about it first.
    pub fn status(&self) -> u16 {
        use Condition::*;
        match self {
            ValidSchedulingMessage => 400,
            // RFC 4918 §16: DELETE, COPY and MOVE of live properties; a token of another lock.
            LockTokenMatchesRequestUri | PreservedLiveProperties => 409,
            // Another object has the UID: that one can be changed or deleted.
            NoUidConflict(_) => 409,
            LockTokenSubmitted(_) | NoConflictingLock(_) => 423,
            SufficientDiskSpace => 507,
            _ => 403,
        }
    }

    /// The element with what it says.
    pub fn write(&self, writer: &mut Writer) {
        writer.element(&self.name(), |writer| match self {
            Condition::LockTokenSubmitted(hrefs) | Condition::NoConflictingLock(hrefs) => {
                hrefs.iter().for_each(|href| writer.href(href));
            }
            Condition::NoUidConflict(Some(href))
            | Condition::UniqueSchedulingObjectResource(Some(href)) => writer.href(href),
            Condition::NeedPrivileges { href, privilege } => {
                writer.element(&Name::dav("resource"), |writer| {
                    writer.href(href);
                    writer.element(&Name::dav("privilege"), |writer| writer.empty(privilege));
                });
            }
            Condition::SupportedFilter(Some(Unsupported { element, name })) => {
                writer.element_with(&Name::caldav(element), &[("name", name)], |_| {});
            }
            _ => {}
        });
    }

    /// The body of an answer with [`Condition::status`]: DAV:error.
    pub fn body(&self) -> Vec<u8> {
        Writer::document(&Name::dav("error"), |writer| self.write(writer))
    }
}

#[cfg(test)]
mod tests {
    use super::super::xml;
    use super::*;

    #[track_caller]
    fn check(condition: Condition, status: u16, expected: &str) {
        assert_eq!(condition.status(), status);
        let body = condition.body();
        let read = xml::read(&body, body.len()).unwrap();
        assert_eq!(read.name, Name::dav("error"));
        let names: Vec<&Name> = read.children().map(|child| &child.name).collect();
        assert_eq!(names, [&condition.name()]);
        let text = String::from_utf8(body).unwrap();
        let (_, within) = text.split_once("/ical/\">").unwrap();
        assert_eq!(within.trim_end().trim_end_matches("</D:error>"), expected);
    }

    #[test]
    fn a_condition_is_told_by_its_element_and_status() {
        check(Condition::ValidSyncToken, 403, "<D:valid-sync-token/>");
        check(Condition::ValidCalendarData, 403, "<C:valid-calendar-data/>");
        check(Condition::ValidSchedulingMessage, 400, "<C:valid-scheduling-message/>");
        check(Condition::LockTokenMatchesRequestUri, 409, "<D:lock-token-matches-request-uri/>");
        check(Condition::SufficientDiskSpace, 507, "<D:sufficient-disk-space/>");
        check(Condition::NoUidConflict(None), 409, "<C:no-uid-conflict/>");
    }

    #[test]
    fn a_condition_says_what_it_is_about() {
        let href = "/dav/calendars/a%40b/work/1.ics".to_owned();
        check(
            Condition::NoUidConflict(Some(href.clone())),
            409,
            "<C:no-uid-conflict><D:href>/dav/calendars/a%40b/work/1.ics</D:href></C:no-uid-conflict>",
        );
        check(
            Condition::LockTokenSubmitted(vec!["/a".to_owned(), "/b".to_owned()]),
            423,
            "<D:lock-token-submitted><D:href>/a</D:href><D:href>/b</D:href></D:lock-token-submitted>",
        );
        check(
            Condition::NeedPrivileges { href, privilege: Name::dav("write-content") },
            403,
            "<D:need-privileges><D:resource><D:href>/dav/calendars/a%40b/work/1.ics</D:href>\
             <D:privilege><D:write-content/></D:privilege></D:resource></D:need-privileges>",
        );
        let unsupported = Unsupported { element: "comp-filter", name: "X-\"A\"".to_owned() };
        check(
            Condition::SupportedFilter(Some(unsupported)),
            403,
            "<C:supported-filter><C:comp-filter name=\"X-&quot;A&quot;\"/></C:supported-filter>",
        );
    }
}
