//! JSON as other programs would have written it.

use std::{borrow::Cow, collections::HashSet};

use serde::de::IgnoredAny;

mod forms;
mod read;
mod write;

use self::{
    forms::{ESCAPES, LAYOUTS, PYTHON},
    read::{Unread, read},
    write::{python, write},
};
use super::{DiagnosisKind, search::Search};

/// In which order the vendor's published payload has its fields.
const PUBLISHED: [&str; 6] = ["event", "jobId", "fileStatus", "documentType", "timestamp", "error"];

/// In which order Java's hash maps have them, such as in org.json.
const HASHED: [&str; 6] = ["jobId", "fileStatus", "documentType", "event", "error", "timestamp"];

/// How many bytes are written at most in search of the right form: 1 MiB.
const MOST_WRITTEN: usize = 1024 * 1024;

/// What is left to be written.
struct Budget(usize);

impl Budget {
    /// `None` if the text is too long, or there were too many before.
    fn spend(&mut self, text: Option<String>) -> Option<String> {
        self.0 = self.0.checked_sub(text.as_ref()?.len())?;
        text
    }
}

/// A value as it is written, but for the white space.
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
    /// With its escapes, between the quotes.
    raw: &'a str,
    decoded: Cow<'a, str>,
}

/// Tries the JSON in all forms in which it may have been signed, as far as the stage of the search goes.
pub(super) async fn try_rewritings(search: &mut Search<'_>, json: &str, kind: DiagnosisKind) {
    if search.is_spent() {
        return;
    }
    let value = match read(json) {
        Ok(value) => value,
        Err(Unread::TooMuch) => return search.cut_short(),
        Err(Unread::NoJson) => return,
    };
    let (mut tried, mut budget) = (HashSet::new(), Budget(MOST_WRITTEN));
    for (change, changed) in CHANGES {
        search.pace.spend(json.len()).await;
        let changed = changed(&value);
        for escapes in &ESCAPES {
            // Two escapings that agree in this layout agree in all of them.
            let compact = write(&mut search.pace, &changed, &LAYOUTS[0], escapes).await;
            let Some(compact) = budget.spend(compact) else { return };
            if !tried.insert(compact) {
                continue;
            }
            for layout in &LAYOUTS {
                let text = write(&mut search.pace, &changed, layout, escapes).await;
                let Some(text) = budget.spend(text) else { return };
                let form = [layout.name, change, escapes.name].join("");
                let end = if text.contains('\r') { "\r\n" } else { "\n" };
                search.form(text.as_bytes(), kind, Some(&form)).await;
                if search.is_spent() {
                    return;
                }
                search.form((text + end).as_bytes(), kind, Some(&form)).await;
                if search.is_spent() {
                    return;
                }
            }
        }
        if let Some(repr) = python(&mut search.pace, &changed).await {
            search.form(repr.as_bytes(), kind, Some(PYTHON)).await;
        }
    }
}

/// Tries the text as a JSON string, in every way of escaping it.
pub(super) async fn try_quotings(search: &mut Search<'_>, text: &str, kind: DiagnosisKind) {
    let value = Value::Text(Text { raw: "", decoded: text.into() });
    for escapes in ESCAPES.iter().filter(|escapes| escapes.needs.is_some()) {
        if let Some(quoted) = write(&mut search.pace, &value, &LAYOUTS[0], escapes).await {
            search.text(quoted.as_bytes(), kind).await;
        }
    }
}

/// The members of a flat object, such as an event is.
pub(super) fn pairs(json: &str) -> Option<Vec<(String, String)>> {
    let Value::Map(members) = read(json).ok()? else { return None };
    let pair = |(name, value): (Text<'_>, Value<'_>)| match value {
        Value::Text(text) => Some((name.decoded.into(), text.decoded.into())),
        Value::Word(word) => Some((name.decoded.into(), word.into())),
        Value::List(_) | Value::Map(_) => None,
    };
    members.into_iter().map(pair).collect()
}

/// Whether the text is JSON.
pub(super) fn is_whole(json: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(json).is_ok()
}

/// What others do to the fields of an object, and how to say it.
type Change = (&'static str, for<'v, 'a> fn(&'v Value<'a>) -> Value<'a>);

const CHANGES: [Change; 7] = [
    ("", |value| value.clone()),
    (", with its fields in the published order", |value| by_rank(value, PUBLISHED)),
    (", with its fields sorted by name", |value| sorted(value, false)),
    (", with its fields sorted by length, as PostgreSQL's jsonb does", |value| sorted(value, true)),
    (", with its fields in the order of a Java HashMap", |value| by_rank(value, HASHED)),
    (", without its null fields", without_nulls),
    (", with a null error", with_null_error),
];

fn by_rank<'a>(value: &Value<'a>, fields: [&str; 6]) -> Value<'a> {
    let mut ordered = value.clone();
    if let Value::Map(members) = &mut ordered {
        let rank = |name: &str| fields.iter().position(|field| *field == name);
        members.sort_by_key(|(name, _)| rank(&name.decoded).unwrap_or(fields.len()));
    }
    ordered
}

fn sorted<'a>(value: &Value<'a>, length_first: bool) -> Value<'a> {
    let mut sorted = value.clone();
    sort(&mut sorted, length_first);
    sorted
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

fn sort(value: &mut Value<'_>, length_first: bool) {
    match value {
        Value::Word(_) | Value::Text(_) => {}
        Value::List(values) => values.iter_mut().for_each(|value| sort(value, length_first)),
        Value::Map(members) => {
            let rank = |name: &Text<'_>| if length_first { name.decoded.len() } else { 0 };
            members.sort_by(|(one, _), (other, _)| {
                (rank(one), &*one.decoded).cmp(&(rank(other), &*other.decoded))
            });
            members.iter_mut().for_each(|(_, value)| sort(value, length_first));
        }
    }
}
