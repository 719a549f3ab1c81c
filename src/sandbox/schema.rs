//! Whether a request body is one that Graph takes. Pure.
//!
//! `graph-schema.json` (its origin and licence stand in it) holds a closed schema for each request;
//! JSON Schema draft 2020-12. A name that is not in it is refused, because Graph refuses it too
//! (`UnableToDeserializePostBody`). Graph matches enum values and the names of action parameters
//! whatever their case, so both are folded to the schema's spelling first. What a violation means in
//! Graph's error codes is for the route to say.

use std::sync::LazyLock;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::{Map, Value};

/// A request body with a schema. The next one needs a variant here and its definition in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// The parameters of the action sendMail.
    SendMail,
    EventCreate,
    EventPatch,
    /// The parameters of cancel.
    Comment,
    /// The parameters of accept, tentativelyAccept and decline.
    Respond,
    Attachment,
    Calendar,
    DraftCreate,
    MessagePatch,
    MailFolder,
    MailFolderPatch,
    /// The parameters of createUploadSession.
    UploadSession,
}

impl Body {
    const ALL: [Body; 12] = [
        Body::SendMail,
        Body::EventCreate,
        Body::EventPatch,
        Body::Comment,
        Body::Respond,
        Body::Attachment,
        Body::Calendar,
        Body::DraftCreate,
        Body::MessagePatch,
        Body::MailFolder,
        Body::MailFolderPatch,
        Body::UploadSession,
    ];

    /// The name under `$defs`.
    fn definition(self) -> &'static str {
        match self {
            Body::SendMail => "request.sendMail",
            Body::EventCreate => "request.eventCreate",
            Body::EventPatch => "request.eventPatch",
            Body::Comment => "request.comment",
            Body::Respond => "request.respond",
            Body::Attachment => "request.attachment",
            Body::Calendar => "request.calendar",
            Body::DraftCreate => "request.draftCreate",
            Body::MessagePatch => "request.messagePatch",
            Body::MailFolder => "request.mailFolder",
            Body::MailFolderPatch => "request.mailFolderPatch",
            Body::UploadSession => "request.createUploadSession",
        }
    }

    /// OData: the members are the parameters of an action, not the properties of an entity.
    fn is_action(self) -> bool {
        matches!(self, Body::SendMail | Body::Comment | Body::Respond | Body::UploadSession)
    }
}

/// One place where a body departs from its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer into the body.
    pub path: String,
    /// The schema keyword that was not met: `additionalProperties`, `type`, `pattern` …
    pub keyword: String,
    /// For people; holds names, never the values of the body.
    pub text: String,
}

/// The schema file itself is broken; a test sees to it that this cannot be.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the embedded schema is broken: {0}")]
pub struct BrokenSchema(String);

/// Violations that are reported of one body.
const VIOLATIONS_MAX: usize = 20;
/// Schema steps followed from one value; the file nests far less.
const DEPTH_MAX: usize = 200;

/// Folds the body's enums and parameter names to the schema's spelling, then validates it. An empty
/// list means that it fits.
pub fn check(body: Body, value: &mut Value) -> Result<Vec<Violation>, &'static BrokenSchema> {
    let schemas = SCHEMAS.as_ref()?;
    let Some(definition) = schemas.definition(body.definition()) else { return Ok(Vec::new()) };
    if body.is_action() {
        fold_names(definition, value);
    }
    schemas.fold_enums(definition, value, 0);
    let Some((_, validator)) = schemas.validators.iter().find(|(known, _)| *known == body) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for error in validator.iter_errors(value).take(VIOLATIONS_MAX) {
        note(&error, &mut found);
    }
    Ok(found)
}

/// A value that may also be null fails both branches of its schema: what is wrong with it stands in
/// the branch that is of its type.
fn note(error: &ValidationError<'_>, found: &mut Vec<Violation>) {
    let path = error.instance_path().to_string();
    if let ValidationErrorKind::AnyOf { context } = error.kind() {
        let of_another_type = |inner: &ValidationError<'_>| {
            inner.kind().keyword() == "type" && inner.instance_path().to_string() == path
        };
        if let Some(branch) = context.iter().find(|branch| !branch.iter().any(of_another_type)) {
            branch.iter().for_each(|inner| note(inner, found));
            return;
        }
    }
    if found.len() < VIOLATIONS_MAX {
        let keyword = error.kind().keyword().to_owned();
        found.push(Violation { path, keyword, text: error.masked().to_string() });
    }
}

struct Schemas {
    document: Value,
    validators: Vec<(Body, Validator)>,
}

static SCHEMAS: LazyLock<Result<Schemas, BrokenSchema>> = LazyLock::new(|| {
    let text = include_str!("graph-schema.json");
    let document: Value = serde_json::from_str(text).map_err(|e| BrokenSchema(e.to_string()))?;
    let mut validators = Vec::new();
    for body in Body::ALL {
        if document.pointer(&format!("/$defs/{}", body.definition())).is_none() {
            return Err(BrokenSchema(format!("no definition {}", body.definition())));
        }
        let mut root = document.clone();
        if let Some(root) = root.as_object_mut() {
            root.insert("$ref".to_owned(), format!("#/$defs/{}", body.definition()).into());
        }
        let validator = jsonschema::draft202012::new(&root);
        validators.push((body, validator.map_err(|e| BrokenSchema(e.to_string()))?));
    }
    Ok(Schemas { document, validators })
});

impl Schemas {
    fn definition(&self, name: &str) -> Option<&Value> {
        self.document.get("$defs")?.get(name)
    }

    /// Walks value and schema together; at an enum a string takes the member's spelling.
    fn fold_enums(&self, schema: &Value, value: &mut Value, depth: usize) {
        if depth > DEPTH_MAX {
            return;
        }
        let depth = depth + 1;
        if let (Some(text), Some(members)) = (value.as_str(), schema["enum"].as_array()) {
            let same = |m: &&Value| m.as_str().is_some_and(|m| m.eq_ignore_ascii_case(text));
            if let Some(member) = members.iter().find(same) {
                *value = member.clone();
            }
        }
        let name = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/"));
        if let Some(definition) = name.and_then(|name| self.definition(name)) {
            self.fold_enums(definition, value, depth);
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            for branch in schema[keyword].as_array().into_iter().flatten() {
                self.fold_enums(branch, value, depth);
            }
        }
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    if let Some(property) = schema["properties"].get(name) {
                        self.fold_enums(property, member, depth);
                    }
                }
            }
            Value::Array(items) if schema["items"].is_object() => {
                for item in items {
                    self.fold_enums(&schema["items"], item, depth);
                }
            }
            _ => {}
        }
    }
}

/// Graph's metadata spells `Message`, its documentation `message`: both are the same parameter.
fn fold_names(definition: &Value, value: &mut Value) {
    let Some(members) = value.as_object_mut() else { return };
    let Some(properties) = definition["properties"].as_object() else { return };
    let given: Map<String, Value> = std::mem::take(members);
    for (name, member) in given {
        let known = properties.keys().find(|known| known.eq_ignore_ascii_case(&name));
        members.insert(known.cloned().unwrap_or(name), member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn violations(mut value: Value) -> Vec<(String, String)> {
        let found = check(Body::SendMail, &mut value).unwrap();
        found.into_iter().map(|v| (v.path, v.keyword)).collect()
    }

    fn refused(value: Value, path: &str, keyword: &str) {
        let found = violations(value);
        assert!(found.contains(&(path.to_owned(), keyword.to_owned())), "{found:?}");
    }

    #[test]
    fn a_plain_mail_fits() {
        let mail = json!({"message": {
            "subject": "x",
            "body": {"contentType": "text", "content": "hi"},
            "toRecipients": [{"emailAddress": {"address": "a@b.example", "name": null}}],
            "attachments": [{"@odata.type": "#microsoft.graph.fileAttachment", "name": "a.txt",
                "contentType": "text/plain", "contentBytes": "aGk="}],
        }, "saveToSentItems": false});
        assert_eq!(violations(mail), []);
    }

    #[test]
    fn enums_and_parameter_names_come_in_any_case() {
        let mut mail = json!({"Message": {"importance": "High", "body": {"contentType": "HTML"}}, "SAVETOSENTITEMS": true});
        assert_eq!(check(Body::SendMail, &mut mail).unwrap(), []);
        assert_eq!(mail["message"]["importance"], "high");
        assert_eq!(mail["message"]["body"]["contentType"], "html");
        assert_eq!(mail["saveToSentItems"], true);
    }

    #[test]
    fn unknown_names_and_wrong_types_are_refused() {
        refused(json!({"message": {"sentDateTime": "x"}}), "/message", "additionalProperties");
        refused(json!({"message": {"Subject": "x"}}), "/message", "additionalProperties");
        refused(json!({"message": {}, "save": true}), "", "additionalProperties");
        refused(json!({"message": {"subject": 1}}), "/message/subject", "type");
        refused(json!({"message": {}, "saveToSentItems": "false"}), "/saveToSentItems", "type");
        refused(json!({}), "", "required");
        refused(json!([]), "", "type");
    }

    #[test]
    fn a_violation_never_shows_what_the_mail_says() {
        let mut mail = json!({"message": {"subject": ["a secret"]}});
        let found = check(Body::SendMail, &mut mail).unwrap();
        assert!(!format!("{found:?}").contains("secret"), "{found:?}");
    }
}
