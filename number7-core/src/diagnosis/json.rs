//! JSON as other programs would have written it.

use std::{borrow::Cow, collections::HashSet};

use serde::de::IgnoredAny;

mod forms;
mod read;
mod write;

use self::{
    forms::{ESCAPES, LAYOUTS},
    read::{Unread, read},
    write::write,
};
use super::search::Search;

/// The order of the fields in the vendor's published payload.
const PUBLISHED: [&str; 6] = ["event", "jobId", "fileStatus", "documentType", "timestamp", "error"];

/// How many bytes are hashed in the time of writing one.
const WRITTEN: usize = 8;

/// A value as it is written, without its white space.
#[derive(Clone)]
enum Value<'a> {
    /// A number, `true`, `false` or `null`.
    Word(&'a str),
    Text(Text<'a>),
    List(Vec<Self>),
    Map(Vec<(Text<'a>, Self)>),
}

#[derive(Clone)]
struct Text<'a> {
    /// The text between the quotes, with its escapes.
    raw: &'a str,
    decoded: Cow<'a, str>,
}

/// Tries all forms of the JSON that may have been signed, as far as the stage of the search allows.
pub(super) async fn try_rewritings(search: &mut Search<'_>, json: &str) {
    let value = match read(json) {
        Ok(value) => value,
        Err(Unread::TooMuch) => return search.cut_short(),
        Err(Unread::NoJson) => return,
    };
    let mut tried = HashSet::new();
    for (change, changed) in CHANGES {
        let changed = changed(&value);
        for escapes in &ESCAPES {
            let compact = write(&changed, &LAYOUTS[0], escapes);
            search.pace.spend(WRITTEN * compact.len()).await;
            // If two escapings agree in this layout, they agree in all layouts.
            if !tried.insert(compact) {
                continue;
            }
            for layout in &LAYOUTS {
                let text = write(&changed, layout, escapes);
                search.pace.spend(WRITTEN * text.len()).await;
                let form = [layout.name, change, escapes.name].concat();
                search.reserialized(text.as_bytes(), &form).await;
                search.reserialized((text + layout.line_end()).as_bytes(), &form).await;
                if search.is_spent() {
                    return;
                }
            }
        }
    }
}

/// Whether the text is JSON.
pub(super) fn is_whole(json: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(json).is_ok()
}

/// What other programs do to the fields of an object, and its description.
type Change = (&'static str, for<'v, 'a> fn(&'v Value<'a>) -> Value<'a>);

const CHANGES: [Change; 5] = [
    ("", |value| value.clone()),
    (", with its fields in the published order", published),
    (", with its fields sorted by name", sorted),
    (", without its null fields", without_nulls),
    (", with a null error", with_null_error),
];

/// The signing program keeps the order of the vendor, and a program in between sorts the fields by name.
fn published<'a>(value: &Value<'a>) -> Value<'a> {
    let mut ordered = value.clone();
    if let Value::Map(members) = &mut ordered {
        let rank = |name: &str| PUBLISHED.iter().position(|field| *field == name);
        members.sort_by_key(|(name, _)| rank(&name.decoded).unwrap_or(PUBLISHED.len()));
    }
    ordered
}

fn sorted<'a>(value: &Value<'a>) -> Value<'a> {
    match value {
        Value::Word(_) | Value::Text(_) => value.clone(),
        Value::List(values) => Value::List(values.iter().map(sorted).collect()),
        Value::Map(members) => {
            let mut members: Vec<_> =
                members.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            members.sort_by(|(one, _), (other, _)| one.decoded.cmp(&other.decoded));
            Value::Map(members)
        }
    }
}

fn without_nulls<'a>(value: &Value<'a>) -> Value<'a> {
    match value {
        Value::Word(_) | Value::Text(_) => value.clone(),
        Value::List(values) => Value::List(values.iter().map(without_nulls).collect()),
        Value::Map(members) => {
            let kept = members.iter().filter(|(_, value)| !matches!(value, Value::Word("null")));
            Value::Map(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
    }
}

/// The object as written by a serializer whose type has the field that the vendor omits.
fn with_null_error<'a>(value: &Value<'a>) -> Value<'a> {
    let mut with = value.clone();
    if let Value::Map(members) = &mut with
        && members.iter().all(|(name, _)| name.decoded != "error")
    {
        let name = Text { raw: "error", decoded: "error".into() };
        members.push((name, Value::Word("null")));
    }
    with
}
