//! What a request for events asks for beside its body: `$filter`, `$select`, `$expand`, `$top`, a
//! window of time, and `Prefer`.
//!
//! Source: Graph "query parameters", "get singleValueLegacyExtendedProperty", "list calendarView",
//! RFC 7240. An option that is not understood is refused, because it would be ignored otherwise.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value;

use super::event::Unfit;
use super::item_id::IdForm;
use super::odata::ODataError;
use super::zones::Zone;

/// Documented: 1 to 1000, 10 if nothing is said.
const TOP_MAX: usize = 1000;
const TOP_DEFAULT: usize = 10;
/// Preferences that are read of one request.
const PREFERENCES_MAX: usize = 20;

/// The options of a list or of one event.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    pub filter: Option<Filter>,
    pub select: Option<Vec<String>>,
    pub expand: Expand,
    pub top: usize,
    pub skip: usize,
    pub count: bool,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    ICalUid(String),
    /// An extended property of this id has this value.
    Extended {
        id: String,
        value: String,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expand {
    /// Ids of single-value extended properties.
    pub extended: Vec<String>,
    pub attachments: bool,
    pub exceptions: bool,
}

impl Query {
    pub fn read(query: Option<&str>) -> Result<Query, ODataError> {
        let mut read = Query {
            filter: None,
            select: None,
            expand: Expand::default(),
            top: TOP_DEFAULT,
            skip: 0,
            count: false,
            from: None,
            to: None,
        };
        let url = format!("http://localhost/?{}", query.unwrap_or_default());
        let url = reqwest::Url::parse(&url).map_err(|_| bad_query("query"))?;
        for (name, value) in url.query_pairs() {
            let number = || value.parse::<usize>().map_err(|_| bad_query(&name));
            match name.to_ascii_lowercase().as_str() {
                "$filter" => read.filter = Some(filter(&value).ok_or_else(bad_filter)?),
                "$select" => {
                    let names = value.split(',').map(|name| name.trim().to_owned());
                    read.select = Some(names.filter(|name| !name.is_empty()).collect());
                }
                "$expand" => read.expand = expand(&value).ok_or_else(|| bad_query("$expand"))?,
                "$top" => {
                    read.top = number()?;
                    if !(1..=TOP_MAX).contains(&read.top) {
                        return Err(bad_query("$top"));
                    }
                }
                "$skip" => read.skip = number()?,
                "$count" => read.count = value.eq_ignore_ascii_case("true"),
                // The order that answers have in any case.
                "$orderby" if is_start(&value) => {}
                option if option.starts_with('$') => return Err(bad_query(option)),
                "startdatetime" => read.from = Some(instant(&value).ok_or_else(bad_window)?),
                "enddatetime" => read.to = Some(instant(&value).ok_or_else(bad_window)?),
                _ => {}
            }
        }
        Ok(read)
    }

    /// For what is no GET of one event: the properties of masters are refused, since an answer without
    /// them would look like a series that has no exceptions.
    pub fn names_nothing_of_a_master(&self) -> Result<(), ODataError> {
        let mut selected = self.select.iter().flatten();
        match self.expand.exceptions || selected.any(|name| is_of_a_master(name)) {
            true => Err(bad_query("cancelledOccurrences, exceptionOccurrences")),
            false => Ok(()),
        }
    }

    /// Both ends are required where there is a window.
    pub fn window(&self) -> Result<(Timestamp, Timestamp), ODataError> {
        match (self.from, self.to) {
            (Some(from), Some(to)) if from <= to => Ok((from, to)),
            _ => Err(bad_window()),
        }
    }
}

/// Documented: shown by a GET of one series master only.
pub fn is_of_a_master(name: &str) -> bool {
    ["cancelledOccurrences", "exceptionOccurrences"]
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

fn is_start(order: &str) -> bool {
    ["start/datetime", "start/datetime asc"].contains(&order.trim().to_ascii_lowercase().as_str())
}

pub(super) fn bad_query(option: &str) -> ODataError {
    let option: String = option.chars().take(100).collect();
    let text = format!("The query specified in the URI is not valid: '{option}'.");
    ODataError::bad_request("RequestBroker--ParseUri", text)
}

pub(super) fn bad_filter() -> ODataError {
    let text = "The query filter contains one or more invalid nodes.";
    ODataError::bad_request("ErrorInvalidUrlQueryFilter", text)
}

fn bad_window() -> ODataError {
    let text = "This request requires a time window specified by the query string parameters \
                StartDateTime and EndDateTime.";
    ODataError::bad_request("ErrorInvalidParameter", text)
}

/// ISO 8601; without an offset it is UTC.
pub(super) fn instant(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let local = || text.parse::<DateTime>().ok().and_then(|at| TimeZone::UTC.to_timestamp(at).ok());
    text.parse().ok().or_else(local)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    /// A literal in quotes, two of which stand for one.
    Text(String),
    Sign(char),
}

pub(super) fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            letter if letter.is_whitespace() => {}
            '(' | ')' | ':' | ',' | '=' => tokens.push(Token::Sign(letter)),
            '\'' => {
                let mut literal = String::new();
                loop {
                    match letters.next()? {
                        '\'' if letters.next_if_eq(&'\'').is_none() => break,
                        letter => literal.push(letter),
                    }
                }
                tokens.push(Token::Text(literal));
            }
            letter => {
                let mut word = String::from(letter);
                let inside = |l: &char| !l.is_whitespace() && !"():,='".contains(*l);
                while let Some(letter) = letters.next_if(inside) {
                    word.push(letter);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Some(tokens)
}

/// `iCalUId eq '…'`, or
/// `singleValueExtendedProperties/Any(ep: ep/id eq '…' and ep/value eq '…')`.
fn filter(text: &str) -> Option<Filter> {
    use Token::{Sign, Text, Word};
    let is = |word: &str, known: &str| word.eq_ignore_ascii_case(known);
    match tokens(text)?.as_slice() {
        [Word(name), Word(eq), Text(uid)] if is(name, "iCalUId") && eq == "eq" => {
            Some(Filter::ICalUid(uid.clone()))
        }
        [
            Word(any),
            Sign('('),
            Word(variable),
            Sign(':'),
            Word(id_name),
            Word(eq),
            Text(id),
            Word(and),
            Word(value_name),
            Word(equals),
            Text(value),
            Sign(')'),
        ] if is(any, "singleValueExtendedProperties/any")
            && is(id_name, &format!("{variable}/id"))
            && is(value_name, &format!("{variable}/value"))
            && (eq.as_str(), and.as_str(), equals.as_str()) == ("eq", "and", "eq") =>
        {
            Some(Filter::Extended { id: id.clone(), value: value.clone() })
        }
        _ => None,
    }
}

fn expand(text: &str) -> Option<Expand> {
    use Token::{Sign, Text, Word};
    let mut found = Expand::default();
    let tokens = tokens(text)?;
    let mut rest = tokens.as_slice();
    loop {
        rest = match rest {
            [Word(name), rest @ ..] if name.eq_ignore_ascii_case("attachments") => {
                found.attachments = true;
                rest
            }
            [Word(name), rest @ ..] if name.eq_ignore_ascii_case("exceptionOccurrences") => {
                found.exceptions = true;
                rest
            }
            [Word(name), Sign('('), Word(option), Sign('='), rest @ ..]
                if name.eq_ignore_ascii_case("singleValueExtendedProperties")
                    && option.eq_ignore_ascii_case("$filter") =>
            {
                let mut rest = rest;
                loop {
                    let [Word(id), Word(eq), Text(value), after @ ..] = rest else { return None };
                    if !id.eq_ignore_ascii_case("id") || eq != "eq" {
                        return None;
                    }
                    found.extended.push(value.clone());
                    match after {
                        [Word(or), more @ ..] if or == "or" => rest = more,
                        [Sign(')'), more @ ..] => break more,
                        _ => return None,
                    }
                }
            }
            _ => return None,
        };
        match rest {
            [] => return Some(found),
            [Sign(','), more @ ..] => rest = more,
            _ => return None,
        }
    }
}

/// What a client would like its answer to be like.
#[derive(Debug, Clone, PartialEq)]
pub struct Prefer {
    pub zone: Option<Zone>,
    pub text_body: bool,
    pub ids: IdForm,
    pub page_size: Option<usize>,
    /// For `Preference-Applied`.
    pub applied: Vec<String>,
}

impl Prefer {
    /// A zone that is not known is refused, whatever the request is.
    /// An answer that says which preferences were followed (RFC 7240 §3).
    pub(super) fn answer(&self, status: StatusCode, body: Value) -> Response {
        let mut response = (status, Json(body)).into_response();
        let applied = self.applied.join(", ");
        if let Some(applied) = HeaderValue::from_str(&applied).ok().filter(|v| !v.is_empty()) {
            response.headers_mut().insert("preference-applied", applied);
        }
        response
    }

    pub fn read(headers: &HeaderMap) -> Result<Prefer, ODataError> {
        let mut prefer = Prefer {
            zone: None,
            text_body: false,
            ids: IdForm::Default,
            page_size: None,
            applied: Vec::new(),
        };
        let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        for preference in values.flat_map(split_preferences).take(PREFERENCES_MAX) {
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "outlook.timezone" => {
                    prefer.zone = Some(Zone::named(value).ok_or_else(|| Unfit::zone(value))?);
                }
                "outlook.body-content-type" => {
                    prefer.text_body = value.eq_ignore_ascii_case("text");
                }
                "idtype" if value.eq_ignore_ascii_case("ImmutableId") => {
                    prefer.ids = IdForm::Immutable;
                }
                "odata.maxpagesize" => prefer.page_size = value.parse().ok(),
                _ => continue,
            }
            prefer.applied.push(preference.trim().to_owned());
        }
        Ok(prefer)
    }
}

/// RFC 7240 §2: a list with commas; those in quotes are none of it.
fn split_preferences(value: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    value.split(move |letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "String {66f5a359-4659-4830-9070-00047ec6ac6e} Name BridgeUid";

    #[test]
    fn the_two_filters_are_read_and_no_others() {
        let read = |text: &str| filter(text);
        assert_eq!(read("iCalUId eq 'A''B'"), Some(Filter::ICalUid("A'B".to_owned())));
        let any =
            format!("singleValueExtendedProperties/Any(ep: ep/id eq '{ID}' and ep/value eq 'v')");
        let expected = Filter::Extended { id: ID.to_owned(), value: "v".to_owned() };
        assert_eq!(read(&any), Some(expected));
        for bad in ["", "subject eq 'x'", "iCalUId eq 'x", "iCalUId ne 'x'", "iCalUId eq 'x' or"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_expansion_names_its_extended_properties() {
        let text = format!("singleValueExtendedProperties($filter=id eq '{ID}'),attachments");
        let found = expand(&text).unwrap();
        assert_eq!((found.extended, found.attachments), (vec![ID.to_owned()], true));
        assert_eq!(expand("singleValueExtendedProperties"), None);
    }

    #[test]
    fn a_window_may_come_with_an_offset_or_without() {
        let query = Query::read(Some(
            "startDateTime=2026-12-01T00:00:00%2B01:00&endDateTime=2026-12-02T00:00:00.0000000",
        ));
        let (from, to) = query.unwrap().window().unwrap();
        assert_eq!(from.to_string(), "2026-11-30T23:00:00Z");
        assert_eq!(to.to_string(), "2026-12-02T00:00:00Z");
        assert!(Query::read(Some("startDateTime=2026-12-01")).unwrap().window().is_err());
        assert!(Query::read(Some("$search=x")).is_err());
    }

    #[test]
    fn preferences_are_read_from_one_field_or_several() {
        let mut headers = HeaderMap::new();
        let both = r#"IdType="ImmutableId", outlook.timezone="Pacific Standard Time""#;
        headers.append("prefer", both.parse().unwrap());
        headers.append("prefer", r#"outlook.body-content-type="text""#.parse().unwrap());
        let prefer = Prefer::read(&headers).unwrap();
        assert_eq!((prefer.ids, prefer.text_body), (IdForm::Immutable, true));
        assert_eq!(prefer.zone.unwrap().name, "Pacific Standard Time");
        headers.append("prefer", r#"outlook.timezone="Europe/Rome""#.parse().unwrap());
        assert_eq!(Prefer::read(&headers).unwrap_err().code, "TimeZoneNotSupportedException");
    }
}
