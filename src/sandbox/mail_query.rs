//! What a request for mails asks for beside its body: `$filter`, `$orderby`, `$select`, `$expand`,
//! `$top`, `$skip`. Pure.
//!
//! Source: Graph "list messages", "get singleValueLegacyExtendedProperty". An option that is not
//! understood is refused, because it would be ignored otherwise.

use jiff::Timestamp;

use super::event_query::{Token, bad_filter, bad_query, instant, tokens};
use super::mailbox::Item;
use super::odata::ODataError;
use super::world::Switches;

/// Documented: 1 to 1000, 10 if nothing is said.
const TOP_MAX: usize = 1000;
const TOP_DEFAULT: usize = 10;
/// Conditions in one filter.
const CONDITIONS_MAX: usize = 20;

/// The options of a list of mails, or of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// All of them hold.
    pub filter: Vec<Condition>,
    pub order: Order,
    pub select: Option<Vec<String>>,
    pub expand: Expand,
    pub top: usize,
    pub skip: usize,
    pub count: bool,
    pub include_hidden_folders: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    InternetMessageId(String),
    IsDraft(bool),
    Time(Time, Comparison, Timestamp),
    /// An extended property of this id compares so with this value.
    Extended {
        id: String,
        comparison: TextComparison,
        value: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    Created,
    Modified,
    Received,
    Sent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Eq,
    Ge,
    Gt,
    Le,
    Lt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextComparison {
    Eq,
    Ne,
    Contains,
    StartsWith,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    pub by: Time,
    pub descending: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expand {
    /// Ids of single-value extended properties.
    pub extended: Vec<String>,
    /// With the properties that are asked for, if any are named.
    pub attachments: Option<Option<Vec<String>>>,
}

impl Time {
    const NAMES: [(&'static str, Time); 4] = [
        ("createdDateTime", Time::Created),
        ("lastModifiedDateTime", Time::Modified),
        ("receivedDateTime", Time::Received),
        ("sentDateTime", Time::Sent),
    ];

    fn named(name: &str) -> Option<Time> {
        let found = Time::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, time)| *time)
    }

    /// A draft shows its creation as the time of its sending.
    pub fn of(self, item: &Item) -> Timestamp {
        match self {
            Time::Created => item.created,
            Time::Modified => item.modified,
            Time::Received | Time::Sent => item.sent.unwrap_or(item.created),
        }
    }
}

impl Condition {
    pub fn holds(&self, item: &Item, switches: &Switches) -> bool {
        match self {
            Condition::InternetMessageId(id) => item.internet_message_id == *id,
            Condition::IsDraft(wanted) => item.is_draft(switches) == *wanted,
            Condition::Time(time, comparison, at) => {
                // Shown, and so compared, in whole seconds.
                let of = time.of(item).as_second().cmp(&at.as_second());
                match comparison {
                    Comparison::Eq => of.is_eq(),
                    Comparison::Ge => of.is_ge(),
                    Comparison::Gt => of.is_gt(),
                    Comparison::Le => of.is_le(),
                    Comparison::Lt => of.is_lt(),
                }
            }
            // Documented: values compare whatever their case.
            Condition::Extended { id, comparison, value } => {
                let Some(own) = item.extended(id, switches) else { return false };
                let (own, value) = (own.to_lowercase(), value.to_lowercase());
                match comparison {
                    TextComparison::Eq => own == value,
                    TextComparison::Ne => own != value,
                    TextComparison::Contains => own.contains(&value),
                    TextComparison::StartsWith => own.starts_with(&value),
                }
            }
        }
    }
}

impl Query {
    pub fn read(query: Option<&str>) -> Result<Query, ODataError> {
        let mut read = Query {
            filter: Vec::new(),
            order: Order { by: Time::Received, descending: true },
            select: None,
            expand: Expand::default(),
            top: TOP_DEFAULT,
            skip: 0,
            count: false,
            include_hidden_folders: false,
        };
        let mut ordered = None;
        let url = format!("http://localhost/?{}", query.unwrap_or_default());
        let url = reqwest::Url::parse(&url).map_err(|_| bad_query("query"))?;
        for (name, value) in url.query_pairs() {
            let number = || value.parse::<usize>().map_err(|_| bad_query(&name));
            match name.to_ascii_lowercase().as_str() {
                "$filter" => {
                    let tokens = tokens(&value).ok_or_else(bad_filter)?;
                    read.filter = filter(&tokens).ok_or_else(bad_filter)?;
                }
                "$orderby" => {
                    read.order = order(&value).ok_or_else(|| bad_query("$orderby"))?;
                    ordered = Some(read.order.by);
                }
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
                "includehiddenfolders" => {
                    read.include_hidden_folders = value.eq_ignore_ascii_case("true");
                }
                option if option.starts_with('$') => return Err(bad_query(option)),
                _ => {}
            }
        }
        // Documented: what the list is ordered by leads its filter.
        if let (Some(by), Some(first)) = (ordered, read.filter.first())
            && !matches!(first, Condition::Time(time, ..) if *time == by)
        {
            let text = "The restriction or sort order is too complex for this operation.";
            return Err(ODataError::bad_request("InefficientFilter", text));
        }
        Ok(read)
    }
}

fn is(word: &str, known: &str) -> bool {
    word.eq_ignore_ascii_case(known)
}

/// Conditions joined by `and`.
fn filter(tokens: &[Token]) -> Option<Vec<Condition>> {
    let mut found = Vec::new();
    let mut rest = tokens;
    loop {
        let (condition, after) = condition(rest)?;
        found.push(condition);
        if found.len() > CONDITIONS_MAX {
            return None;
        }
        rest = match after {
            [] => return Some(found),
            [Token::Word(and), more @ ..] if is(and, "and") => more,
            _ => return None,
        };
    }
}

fn condition(tokens: &[Token]) -> Option<(Condition, &[Token])> {
    use Token::{Sign, Text, Word};
    match tokens {
        [Word(name), Word(eq), Text(id), rest @ ..]
            if is(name, "internetMessageId") && is(eq, "eq") =>
        {
            Some((Condition::InternetMessageId(id.clone()), rest))
        }
        [Word(name), Word(eq), Word(truth), rest @ ..] if is(name, "isDraft") && is(eq, "eq") => {
            let truth = truth.to_ascii_lowercase().parse().ok()?;
            Some((Condition::IsDraft(truth), rest))
        }
        [Word(any), Sign('('), Word(variable), Sign(':'), rest @ ..]
            if is(any, "singleValueExtendedProperties/any") =>
        {
            extended(variable, rest)
        }
        // An instant has colons in it, which are signs of the grammar.
        [Word(name), Word(comparison), rest @ ..] => {
            let time = Time::named(name)?;
            let comparison = match comparison.to_ascii_lowercase().as_str() {
                "eq" => Comparison::Eq,
                "ge" => Comparison::Ge,
                "gt" => Comparison::Gt,
                "le" => Comparison::Le,
                "lt" => Comparison::Lt,
                _ => return None,
            };
            let is_part = |token: &&Token| match token {
                Word(word) => !is(word, "and"),
                Sign(sign) => *sign == ':',
                Text(_) => false,
            };
            let length = rest.iter().take_while(is_part).count();
            let (parts, rest) = rest.split_at_checked(length)?;
            let text: String = parts
                .iter()
                .map(|part| match part {
                    Word(word) => word.clone(),
                    Sign(sign) => sign.to_string(),
                    Text(text) => text.clone(),
                })
                .collect();
            Some((Condition::Time(time, comparison, instant(&text)?), rest))
        }
        _ => None,
    }
}

/// `ep/id eq '…' and ep/value eq '…')`, or with `contains(ep/value,'…')`.
fn extended<'a>(variable: &str, tokens: &'a [Token]) -> Option<(Condition, &'a [Token])> {
    use Token::{Sign, Text, Word};
    let [Word(id_name), Word(eq), Text(id), Word(and), rest @ ..] = tokens else { return None };
    if !is(id_name, &format!("{variable}/id")) || !is(eq, "eq") || !is(and, "and") {
        return None;
    }
    let value_name = format!("{variable}/value");
    let (comparison, value, rest) = match rest {
        [Word(name), Word(operator), Text(value), Sign(')'), rest @ ..]
            if is(name, &value_name) =>
        {
            let comparison = match operator.to_ascii_lowercase().as_str() {
                "eq" => TextComparison::Eq,
                "ne" => TextComparison::Ne,
                _ => return None,
            };
            (comparison, value, rest)
        }
        [
            Word(function),
            Sign('('),
            Word(name),
            Sign(','),
            Text(value),
            Sign(')'),
            Sign(')'),
            rest @ ..,
        ] if is(name, &value_name) => {
            let comparison = match function.to_ascii_lowercase().as_str() {
                "contains" => TextComparison::Contains,
                "startswith" => TextComparison::StartsWith,
                _ => return None,
            };
            (comparison, value, rest)
        }
        _ => return None,
    };
    let (id, value) = (id.clone(), value.clone());
    Some((Condition::Extended { id, comparison, value }, rest))
}

fn order(text: &str) -> Option<Order> {
    let mut words = text.split_whitespace();
    let by = Time::named(words.next()?)?;
    let descending = match words.next().map(str::to_ascii_lowercase).as_deref() {
        None | Some("asc") => false,
        Some("desc") => true,
        _ => return None,
    };
    words.next().is_none().then_some(Order { by, descending })
}

fn expand(text: &str) -> Option<Expand> {
    use Token::{Sign, Text, Word};
    let mut found = Expand::default();
    let tokens = tokens(text)?;
    let mut rest = tokens.as_slice();
    loop {
        rest = match rest {
            [Word(name), Sign('('), Word(option), Sign('='), rest @ ..]
                if is(name, "attachments") && is(option, "$select") =>
            {
                let end = rest.iter().position(|token| *token == Sign(')'))?;
                let (names, rest) = rest.split_at_checked(end)?;
                let names = names.iter().filter_map(|token| match token {
                    Word(name) => Some(name.clone()),
                    _ => None,
                });
                found.attachments = Some(Some(names.collect()));
                rest.get(1..)?
            }
            [Word(name), rest @ ..] if is(name, "attachments") => {
                found.attachments = Some(None);
                rest
            }
            [Word(name), Sign('('), Word(option), Sign('='), rest @ ..]
                if is(name, "singleValueExtendedProperties") && is(option, "$filter") =>
            {
                let mut rest = rest;
                loop {
                    let [Word(id), Word(eq), Text(value), after @ ..] = rest else { return None };
                    if !is(id, "id") || !is(eq, "eq") {
                        return None;
                    }
                    found.extended.push(value.clone());
                    match after {
                        [Word(or), more @ ..] if is(or, "or") => rest = more,
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

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "String {66f5a359-4659-4830-9070-00047ec6ac6e} Name BridgeTag";

    fn read(text: &str) -> Option<Vec<Condition>> {
        tokens(text).and_then(|tokens| filter(&tokens))
    }

    #[test]
    fn filters_by_tag_message_id_and_time_are_read() {
        let any =
            |rest: &str| format!("singleValueExtendedProperties/Any(ep: ep/id eq '{ID}' {rest})");
        for (rest, comparison) in [
            ("and ep/value eq 'v'", TextComparison::Eq),
            ("and ep/value ne 'v'", TextComparison::Ne),
            ("and contains(ep/value, 'v')", TextComparison::Contains),
            ("and startswith(ep/value,'v')", TextComparison::StartsWith),
        ] {
            let value = "v".to_owned();
            let expected = Condition::Extended { id: ID.to_owned(), comparison, value };
            assert_eq!(read(&any(rest)), Some(vec![expected]), "{rest}");
        }
        let both = read("sentDateTime ge 2026-11-23T10:00:00Z and internetMessageId eq '<a@b>'");
        let at = "2026-11-23T10:00:00Z".parse().unwrap();
        let id = Condition::InternetMessageId("<a@b>".to_owned());
        let expected = vec![Condition::Time(Time::Sent, Comparison::Ge, at), id];
        assert_eq!(both, Some(expected));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in ["", "subject eq 'x'", "internetMessageId ne 'x'", "isDraft eq maybe", "and"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        for bad in ["$search=x", "$top=0", "$top=1001", "$orderby=subject", "$filter=x"] {
            assert!(Query::read(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_the_list_is_ordered_by_leads_its_filter() {
        let filter = "$filter=internetMessageId%20eq%20'x'&$orderby=sentDateTime";
        assert_eq!(Query::read(Some(filter)).unwrap_err().code, "InefficientFilter");
        let filter = "$filter=sentDateTime%20ge%202026-13-01&$orderby=sentDateTime%20desc";
        assert_eq!(Query::read(Some(filter)).unwrap_err().code, "ErrorInvalidUrlQueryFilter");
        let filter = "$filter=sentDateTime%20ge%202026-01-01T00:00:00Z&$orderby=sentDateTime";
        assert!(Query::read(Some(filter)).is_ok());
    }

    #[test]
    fn an_expansion_names_its_properties() {
        let text = format!(
            "attachments($select=id,name),singleValueExtendedProperties($filter=id eq '{ID}' or id eq 'Integer 0x0E07')"
        );
        let found = expand(&text).unwrap();
        assert_eq!(found.extended, [ID, "Integer 0x0E07"]);
        assert_eq!(found.attachments, Some(Some(vec!["id".to_owned(), "name".to_owned()])));
        assert_eq!(expand("attachments").unwrap().attachments, Some(None));
        assert_eq!(expand("attachments($select=id"), None);
    }
}
