//! How Graph shows an event, an occurrence, an attachment and a calendar. Pure.
//!
//! Source: Graph `event`, `attendee`, `responseStatus`, `fileAttachment`, `calendar`. Times are shown
//! in UTC with seven digits unless the client prefers a zone; bodies as HTML unless it prefers text.

use serde_json::{Map, Value, json};

use super::attachment::Attachment;
use super::calendar::{Calendar, DEFAULT_CALENDAR, Role, Shown};
use super::event::{Attendee, Content, WallTime};
use super::event_query::{Prefer, Query, is_of_a_master};
use super::item_id::{IdForm, ItemId, change_key};
use super::odata::ODataError;
use super::online_meeting::{join_url, with_join_part};
use super::world::{ShortMonths, User};

/// Characters of `bodyPreview`.
const PREVIEW_MAX: usize = 255;
/// `time` of an answer that nobody gave.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Who looks, and how.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    pub owner: &'a User,
    /// By object id.
    pub users: &'a [User],
    pub prefer: &'a Prefer,
    pub query: &'a Query,
    pub short_months: ShortMonths,
}

impl Frame<'_> {
    /// The event with what `$select` and `$expand` ask for.
    pub fn event(&self, shown: &Shown) -> Result<Value, ODataError> {
        let mut all = self.properties(shown);
        let Some(names) = &self.query.select else {
            // Shown only to who names it.
            all.remove("cancelledOccurrences");
            self.expanded(shown, &mut all);
            return Ok(Value::Object(all));
        };
        let mut selected = Map::new();
        for name in names.iter().map(String::as_str).chain(["@odata.etag", "id"]) {
            match all.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
                Some((name, value)) => selected.insert(name.clone(), value.clone()),
                None if is_of_a_master(name) => continue,
                None => return Err(no_property(name)),
            };
        }
        self.expanded(shown, &mut selected);
        Ok(Value::Object(selected))
    }

    fn properties(&self, shown: &Shown) -> Map<String, Value> {
        let (event, content) = (&shown.event, shown.content());
        let mut all = Map::clone(&content.properties);
        let mut put = |name: &str, value: Value| {
            all.insert(name.to_owned(), value);
        };
        let key = shown.change_key();
        let id = shown.id(self.prefer.ids);
        put("@odata.etag", format!("W/\"{key}\"").into());
        put("id", id.clone().into());
        put("changeKey", key.into());
        put("createdDateTime", event.global_id.created.to_string().into());
        put("lastModifiedDateTime", event.modified.to_string().into());
        put("iCalUId", event.global_id.ical_uid(shown.date()).into());
        put("start", self.time(&content.span.start, content.span.all_day));
        put("end", self.time(&content.span.end, content.span.all_day));
        put("originalStartTimeZone", content.span.start.zone.name.clone().into());
        put("originalEndTimeZone", content.span.end.zone.name.clone().into());
        put("isAllDay", content.span.all_day.into());
        let is_master = content.recurrence.is_some();
        let kind = match &shown.occurrence {
            Some(one) if one.exception.is_some() => "exception",
            Some(_) => "occurrence",
            None if is_master => "seriesMaster",
            None => "singleInstance",
        };
        put("type", kind.into());
        let master = ItemId::of(event.owner, event.number);
        let master = master.text(self.prefer.ids);
        put("seriesMasterId", shown.occurrence.as_ref().map(|_| master.clone()).into());
        if let Some(occurrence) = &shown.occurrence {
            put("originalStart", occurrence.original_start.to_string().into());
        }
        if is_master {
            let dates = event.exceptions.cancelled.iter();
            let cancelled: Vec<String> = dates.map(|date| format!("OID.{master}.{date}")).collect();
            put("cancelledOccurrences", cancelled.into());
        }
        put("recurrence", recurrence(content));
        self.people(shown, &mut put);
        let (text, html) = bodies(content, event.number);
        let preview: String = text.trim().chars().take(PREVIEW_MAX).collect();
        put("bodyPreview", preview.into());
        put(
            "body",
            match self.prefer.text_body {
                true => json!({"contentType": "text", "content": text}),
                false => json!({"contentType": "html", "content": html}),
            },
        );
        if content.text("subject").is_empty() {
            put("subject", "".into());
        }
        if event.is_cancelled {
            put("subject", format!("Canceled: {}", content.text("subject")).into());
        }
        put("isCancelled", event.is_cancelled.into());
        put("isDraft", false.into());
        put("hasAttachments", (!event.attachments.is_empty()).into());
        if let Some(transaction) = &event.transaction_id {
            put("transactionId", transaction.clone().into());
        }
        let online = content.is("isOnlineMeeting");
        put(
            "onlineMeeting",
            match online {
                true => json!({"joinUrl": join_url(event.number)}),
                false => Value::Null,
            },
        );
        put("onlineMeetingUrl", Value::Null);
        if online && content.text("onlineMeetingProvider") == "unknown" {
            put("onlineMeetingProvider", "teamsForBusiness".into());
        }
        let link = format!("https://outlook.office365.com/owa/?itemid={id}&path=/calendar/item");
        put("webLink", link.into());
        all
    }

    fn people(&self, shown: &Shown, put: &mut impl FnMut(&str, Value)) {
        let (event, content) = (&shown.event, shown.content());
        let organizer = match event.role {
            Role::Organizer => Some(self.owner),
            Role::Attendee { organizer, .. } => {
                self.users.iter().find(|user| user.object_id == organizer)
            }
        };
        let is_organizer = event.role == Role::Organizer;
        put("isOrganizer", is_organizer.into());
        put(
            "organizer",
            match organizer {
                Some(user) => {
                    json!({"emailAddress": {"name": user.display_name, "address": user.address}})
                }
                None => Value::Null,
            },
        );
        let attendees = content.attendees.iter().map(|one| attendee(shown, one));
        put("attendees", attendees.collect());
        let own = content.attendees.iter().find(|one| {
            let names = |address: &String| one.is(address);
            names(&self.owner.address) || self.owner.aliases.iter().any(names)
        });
        let own = own.and_then(|one| shown.response_of(&one.address));
        put(
            "responseStatus",
            match own {
                _ if is_organizer => json!({"response": "organizer", "time": NEVER}),
                Some(own) => json!({"response": own.answer.name(), "time": own.at.to_string()}),
                None => json!({"response": "notResponded", "time": NEVER}),
            },
        );
    }

    fn expanded(&self, shown: &Shown, properties: &mut Map<String, Value>) {
        let expand = &self.query.expand;
        let content = shown.content();
        let wanted = content
            .extended
            .iter()
            .filter(|property| expand.extended.iter().any(|id| property.has_id(id)));
        let found: Vec<Value> =
            wanted.map(|one| json!({"id": one.id, "value": one.value})).collect();
        if !found.is_empty() {
            properties.insert("singleValueExtendedProperties".to_owned(), found.into());
        }
        if expand.attachments {
            let all = shown.event.attachments.iter().map(|one| self.attachment(one));
            properties.insert("attachments".to_owned(), all.collect());
        }
        if expand.exceptions && content.recurrence.is_some() {
            let changed = shown.event.series(self.short_months).changed();
            let show = |one| {
                let event = std::sync::Arc::clone(&shown.event);
                Value::Object(self.properties(&Shown { event, occurrence: Some(one) }))
            };
            let all: Vec<Value> = changed.into_iter().map(show).collect();
            properties.insert("exceptionOccurrences".to_owned(), all.into());
        }
    }

    fn time(&self, time: &WallTime, all_day: bool) -> Value {
        let (rules, name) = match &self.prefer.zone {
            Some(zone) => (&zone.rules, zone.name.as_str()),
            None => (&jiff::tz::TimeZone::UTC, "UTC"),
        };
        // A day is the same day everywhere.
        let at = if all_day { time.at } else { time.seen_from(rules) };
        json!({"dateTime": at.strftime("%Y-%m-%dT%H:%M:%S.0000000").to_string(), "timeZone": name})
    }

    pub fn attachment(&self, attachment: &Attachment) -> Value {
        Value::Object(attachment.to_json(self.owner.object_id, self.prefer.ids))
    }

    pub fn calendar(&self, calendar: &Calendar) -> Value {
        let id = calendar_id(self.owner, calendar, self.prefer.ids);
        let is_default = calendar.number == DEFAULT_CALENDAR;
        json!({
            "id": id,
            "name": calendar.name,
            "color": "auto",
            "hexColor": "",
            "isDefaultCalendar": is_default,
            "changeKey": change_key(calendar.number),
            "canShare": true,
            "canViewPrivateItems": true,
            "canEdit": true,
            "isTallyingResponses": is_default,
            "isRemovable": !is_default,
            "allowedOnlineMeetingProviders": ["teamsForBusiness"],
            "defaultOnlineMeetingProvider": "teamsForBusiness",
            "owner": {"name": self.owner.display_name, "address": self.owner.address},
        })
    }
}

pub fn calendar_id(owner: &User, calendar: &Calendar, form: IdForm) -> String {
    ItemId::of(owner.object_id, calendar.number).text(form)
}

fn no_property(name: &str) -> ODataError {
    let name: String = name.chars().take(100).collect();
    let text = format!(
        "Parsing OData Select and Expand failed: Could not find a property named '{name}' on type \
         'microsoft.graph.event'."
    );
    ODataError::bad_request("RequestBroker--ParseUri", text)
}

fn attendee(shown: &Shown, attendee: &Attendee) -> Value {
    let response = shown.response_of(&attendee.address);
    let (answer, at) = match response {
        Some(response) => (response.answer.name(), response.at.to_string()),
        None => ("none", NEVER.to_owned()),
    };
    let mut shown = json!({
        "type": attendee.kind,
        "status": {"response": answer, "time": at},
        "emailAddress": {"name": attendee.name, "address": attendee.address},
    });
    let proposed = response.and_then(|response| response.proposed_new_time.clone());
    if let (Some(proposed), Some(shown)) = (proposed, shown.as_object_mut()) {
        shown.insert("proposedNewTime".to_owned(), proposed);
    }
    shown
}

/// With the zone of the series where the writer named none.
fn recurrence(content: &Content) -> Value {
    let Some(mut recurrence) = content.recurrence.clone() else { return Value::Null };
    recurrence.range.recurrence_time_zone = Some(content.series_zone().name);
    serde_json::to_value(recurrence).unwrap_or_default()
}

/// The body as text and as HTML, whichever it was written in; with the way into an online meeting.
fn bodies(content: &Content, number: u64) -> (String, String) {
    let body = content.properties.get("body").unwrap_or(&Value::Null);
    let given = content.body();
    let is_html = body.get("contentType").and_then(Value::as_str) == Some("html");
    let text = if is_html { without_tags(given) } else { given.to_owned() };
    let html = if is_html { given.to_owned() } else { as_html(given) };
    match content.is("isOnlineMeeting") && !given.contains(&join_url(number)) {
        true => with_join_part(text, html, number),
        false => (text, html),
    }
}

pub(super) fn as_html(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<html><body><div class=\"PlainText\">{}</div></body></html>",
        text.replace('\n', "<br>\n")
    )
}

/// Good enough for a preview.
pub(super) fn without_tags(html: &str) -> String {
    let mut inside = false;
    let text: String = html
        .chars()
        .filter(|letter| {
            let hidden = inside || *letter == '<';
            inside = hidden && *letter != '>';
            !hidden
        })
        .collect();
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", " ").replace("&amp;", "&")
}

/// For lists: how many there are is a property of the answer.
pub fn collection(values: Vec<Value>, count: Option<usize>, next: Option<String>) -> Value {
    let mut answer = Map::new();
    if let Some(count) = count {
        answer.insert("@odata.count".to_owned(), count.into());
    }
    if let Some(next) = next {
        answer.insert("@odata.nextLink".to_owned(), next.into());
    }
    answer.insert("value".to_owned(), values.into());
    Value::Object(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_shown_as_text_and_as_html() {
        assert_eq!(without_tags("<p class='x'>1 &lt; <b>2</b></p>"), "1 < 2");
        assert!(as_html("a<b\nc").contains("a&lt;b<br>\nc"));
    }
}
