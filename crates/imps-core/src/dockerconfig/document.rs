//! The room for the JSON of a docker config: text to values, and fields by their names. It knows nothing of
//! logins.

use serde_json::{Map, Value, error::Category};
use zeroize::Zeroize;

use super::{DocumentFault, EntryFault, Kind, MAX_SECRET_BYTES};

/// A JSON document out of a Secret. Its texts are wiped when it is dropped.
pub(crate) struct Document(Value);

impl Document {
    /// Parses the text. Nesting deeper than 128 is refused by the parser, so nothing here can exhaust the
    /// stack.
    pub(crate) fn read(bytes: &[u8]) -> Result<Document, DocumentFault> {
        if bytes.is_empty() {
            return Err(DocumentFault::Empty);
        }
        if bytes.len() > MAX_SECRET_BYTES {
            return Err(DocumentFault::TooLarge { bytes: bytes.len() });
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| DocumentFault::NotText { offset: error.valid_up_to() })?;
        // The text of this error repeats what it found; its place and category do not.
        serde_json::from_str(text).map(Document).map_err(|error| DocumentFault::NotJson {
            problem: match error.classify() {
                Category::Eof => "unexpected end",
                Category::Io | Category::Syntax | Category::Data => "syntax error",
            },
            line: error.line(),
            column: error.column(),
        })
    }

    /// Whether it is `null`, which Go takes for a document without anything in it.
    pub(crate) fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// The object that the document must be.
    pub(crate) fn top(&self) -> Result<&Map<String, Value>, DocumentFault> {
        self.0.as_object().ok_or(DocumentFault::NotAnObject(Kind::of(&self.0)))
    }
}

impl Drop for Document {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(fields) => {
            for (mut name, mut value) in std::mem::take(fields) {
                name.zeroize();
                wipe(&mut value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The value of a field by its name in any case, as Go finds it, the exact name preferred; `null` is as good
/// as absent. (Go folds a few letters beyond ASCII too and lets the last of several names win; nobody writes
/// either.)
pub(crate) fn field<'v>(fields: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    let exact = fields.get(name).filter(|value| !value.is_null());
    exact.or_else(|| {
        let folded = fields.iter().filter(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_null());
        folded.max_by_key(|(key, _)| *key).map(|(_, value)| value)
    })
}

/// The text in a field, empty if it is absent.
pub(crate) fn text_field<'v>(
    fields: &'v Map<String, Value>,
    name: &'static str,
) -> Result<&'v str, EntryFault> {
    match field(fields, name) {
        None => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(EntryFault::WrongType { field: name, kind: Kind::of(other) }),
    }
}
