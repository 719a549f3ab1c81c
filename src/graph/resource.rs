//! Graph's event and what belongs to it, as JSON. Pure.
//!
//! Source: Graph v1.0's event, attendee, patternedRecurrence, fileAttachment and
//! singleValueLegacyExtendedProperty resources. What is written and what is read are two types, since
//! Graph refuses unknown and read-only names in what it is sent, and may add some to what it answers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Where the client's UID is kept on an event: ours alone, and `$filter` can find it.
pub const UID_PROPERTY: &str = "String {7fcb7c45-856b-432c-89e7-5fd4ea4cf2a0} Name PostbridgeUid";

/// Which content an event was last given, as a lower-case hex SHA-256. Graph cleans what it is given, so
/// comparing what it shows would not tell whether a change whose answer was lost took effect; this does.
pub const CONTENT_PROPERTY: &str =
    "String {7fcb7c45-856b-432c-89e7-5fd4ea4cf2a0} Name PostbridgeContent";

/// An event to be created. `None` is not sent: Graph then takes its default, or keeps what it has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventBody {
    pub subject: String,
    pub body: ItemBody,
    pub start: DateTimeTimeZone,
    pub end: DateTimeTimeZone,
    pub is_all_day: bool,
    pub location: Location,
    /// The whole list; Graph mails those who are new on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attendees: Option<Vec<Attendee>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recurrence: Option<PatternedRecurrence>,
    pub is_reminder_on: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reminder_minutes_before_start: Option<i32>,
    pub show_as: ShowAs,
    pub sensitivity: Sensitivity,
    pub importance: Importance,
    pub categories: Vec<String>,
    pub response_requested: bool,
    /// Can be set at creation only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_new_time_proposals: Option<bool>,
    /// Can be set once and never undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_online_meeting: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub online_meeting_provider: Option<String>,
    /// Can be set at creation only; a second use is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub single_value_extended_properties: Option<Vec<ExtendedProperty>>,
}

impl EventBody {
    /// Nobody is invited, reminded or kept from anything.
    pub fn plain(subject: &str, start: jiff::Timestamp, end: jiff::Timestamp) -> EventBody {
        let at = |at: jiff::Timestamp| DateTimeTimeZone {
            date_time: at.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
            time_zone: "UTC".to_owned(),
        };
        EventBody {
            subject: subject.to_owned(),
            body: ItemBody { content_type: ContentType::Text, content: String::new() },
            start: at(start),
            end: at(end),
            is_all_day: false,
            location: Location::default(),
            attendees: None,
            recurrence: None,
            is_reminder_on: false,
            reminder_minutes_before_start: None,
            show_as: ShowAs::Free,
            sensitivity: Sensitivity::Normal,
            importance: Importance::Normal,
            categories: Vec::new(),
            response_requested: false,
            allow_new_time_proposals: None,
            is_online_meeting: None,
            online_meeting_provider: None,
            transaction_id: None,
            single_value_extended_properties: None,
        }
    }

    #[must_use]
    pub fn with_attendees(mut self, attendees: Vec<Attendee>) -> EventBody {
        self.attendees = Some(attendees);
        self
    }

    /// The same, to be found again: by the transaction, and by the client's UID ([`UID_PROPERTY`]);
    /// and to be recognised, by its `mark` ([`CONTENT_PROPERTY`]).
    #[must_use]
    pub fn tagged(mut self, transaction_id: &str, uid: &str, mark: &str) -> EventBody {
        self.transaction_id = Some(transaction_id.to_owned());
        let property =
            |id: &str, value: &str| ExtendedProperty { id: id.into(), value: value.into() };
        self.single_value_extended_properties =
            Some(vec![property(UID_PROPERTY, uid), property(CONTENT_PROPERTY, mark)]);
        self
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemBody {
    pub content_type: ContentType,
    pub content: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ContentType {
    Text,
    Html,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DateTimeTimeZone {
    /// Local, `2026-11-23T09:00:00`; Graph answers with seven digits of a fraction.
    pub date_time: String,
    /// A Windows name in what we send.
    pub time_zone: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// Empty: no location.
    #[serde(default)]
    pub display_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attendee {
    pub email_address: EmailAddress,
    pub r#type: AttendeeType,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmailAddress {
    #[serde(default)]
    pub address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AttendeeType {
    Required,
    Optional,
    Resource,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ResponseStatus {
    /// `none`, `organizer`, `tentativelyAccepted`, `accepted`, `declined`, `notResponded`.
    #[serde(default)]
    pub response: Option<String>,
    /// UTC; the year 1 when there was no answer.
    #[serde(default)]
    pub time: Option<String>,
}

/// Graph reads `pattern` before `range` and refuses the other order: so are the fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatternedRecurrence {
    pub pattern: RecurrencePattern,
    pub range: RecurrenceRange,
}

/// Only what the type needs is sent; Graph checks the rest all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RecurrencePattern {
    Daily { interval: u32 },
    Weekly { interval: u32, days_of_week: Vec<DayOfWeek>, first_day_of_week: DayOfWeek },
    AbsoluteMonthly { interval: u32, day_of_month: i8 },
    RelativeMonthly { interval: u32, days_of_week: Vec<DayOfWeek>, index: WeekIndex },
    AbsoluteYearly { interval: u32, day_of_month: i8, month: i8 },
    RelativeYearly { interval: u32, days_of_week: Vec<DayOfWeek>, index: WeekIndex, month: i8 },
}

/// Dates are `YYYY-MM-DD`, in the zone of the event's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RecurrenceRange {
    NoEnd {
        start_date: String,
    },
    /// Inclusive.
    EndDate {
        start_date: String,
        end_date: String,
    },
    Numbered {
        start_date: String,
        number_of_occurrences: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DayOfWeek {
    Sunday,
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WeekIndex {
    First,
    Second,
    Third,
    Fourth,
    Last,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ShowAs {
    Free,
    Tentative,
    Busy,
    Oof,
    WorkingElsewhere,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sensitivity {
    Normal,
    Private,
    Confidential,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Importance {
    Low,
    Normal,
    High,
}

/// A MAPI property; Graph answers with it only when asked by `$expand`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendedProperty {
    pub id: String,
    pub value: String,
}

/// An event as Graph answers, as far as we look at it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The immutable form, if that was asked for.
    pub id: String,
    #[serde(rename = "@odata.etag", default)]
    pub etag: Option<String>,
    #[serde(default)]
    pub change_key: Option<String>,
    #[serde(default)]
    pub i_cal_u_id: Option<String>,
    #[serde(default)]
    pub transaction_id: Option<String>,
    /// `singleInstance`, `occurrence`, `exception`, `seriesMaster`.
    #[serde(default)]
    pub r#type: Option<String>,
    #[serde(default)]
    pub series_master_id: Option<String>,
    /// Of an occurrence or exception: the start that the series gives it.
    #[serde(default)]
    pub original_start: Option<jiff::Timestamp>,
    #[serde(default)]
    pub subject: Option<String>,
    #[serde(default)]
    pub body: Option<ItemBody>,
    #[serde(default)]
    pub start: Option<DateTimeTimeZone>,
    #[serde(default)]
    pub end: Option<DateTimeTimeZone>,
    #[serde(default)]
    pub is_all_day: Option<bool>,
    #[serde(default)]
    pub is_organizer: Option<bool>,
    #[serde(default)]
    pub is_cancelled: Option<bool>,
    #[serde(default)]
    pub is_online_meeting: Option<bool>,
    /// Null where it is none.
    #[serde(default)]
    pub online_meeting: Option<OnlineMeeting>,
    #[serde(default)]
    pub has_attachments: Option<bool>,
    #[serde(default)]
    pub attendees: Vec<AttendeeAnswer>,
    #[serde(default)]
    pub single_value_extended_properties: Vec<ExtendedProperty>,
}

/// How an online meeting is joined, as far as we look at it (Graph: onlineMeetingInfo).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnlineMeeting {
    /// Null until the meeting has been set up.
    #[serde(default)]
    pub join_url: Option<String>,
}

impl Event {
    /// The value of [`CONTENT_PROPERTY`].
    pub fn mark(&self) -> Option<&str> {
        // Graph writes the GUID in an id in its own case.
        let mut properties = self.single_value_extended_properties.iter();
        let found = properties.find(|one| one.id.eq_ignore_ascii_case(CONTENT_PROPERTY));
        found.map(|one| one.value.as_str())
    }

    pub fn has_attendee(&self, address: &str) -> bool {
        let mut addresses = self.attendees.iter().filter_map(|a| a.email_address.as_ref());
        addresses.any(|there| there.address.eq_ignore_ascii_case(address))
    }
}

/// A page of events (OData collection).
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Events {
    #[serde(default)]
    pub value: Vec<Event>,
    #[serde(rename = "@odata.nextLink", default)]
    pub next_link: Option<String>,
}

/// An attendee as Graph answers; its type is not trusted to be one that we know.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttendeeAnswer {
    #[serde(default)]
    pub email_address: Option<EmailAddress>,
    #[serde(default)]
    pub r#type: Option<String>,
    #[serde(default)]
    pub status: Option<ResponseStatus>,
}

/// A file that goes with an event, under 3 MB.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileAttachment {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    /// Base64.
    content_bytes: String,
}

impl FileAttachment {
    pub fn new(name: &str, content_type: Option<&str>, octets: &[u8]) -> FileAttachment {
        FileAttachment {
            odata_type: "#microsoft.graph.fileAttachment",
            name: name.to_owned(),
            content_type: content_type.map(str::to_owned),
            content_bytes: STANDARD.encode(octets),
        }
    }
}

/// What a refusal says, where it is about a transactionId that was used before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateTransaction {
    /// The event that was made with it; not every answer holds it.
    pub existing_event_id: Option<String>,
}

impl DuplicateTransaction {
    /// Reads an error's body (400 or 409: clients have seen both). `None`: it is another error.
    pub fn of(body: &[u8]) -> Option<DuplicateTransaction> {
        #[derive(Deserialize)]
        struct Answer {
            error: Error,
        }
        #[derive(Deserialize)]
        struct Error {
            code: String,
            #[serde(rename = "@event.existingEventId", default)]
            existing_event_id: Option<String>,
        }
        let Answer { error } = serde_json::from_slice(body).ok()?;
        (error.code == "ErrorDuplicateTransactionId")
            .then_some(DuplicateTransaction { existing_event_id: error.existing_event_id })
    }
}
