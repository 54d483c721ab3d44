//! The W3C trace context that came with a request.

use std::{str, sync::Arc};

/// How long a `tracestate` can be: 512 characters, the least that the specification asks to pass on.
const LONGEST_STATE: usize = 512;

/// The W3C trace context of a request: the sender's span that it belongs to.
///
/// The signature covers only the body, so a proxy may have set these headers. Trust them no more than a log line.
///
/// Source: the W3C recommendation "Trace Context", level 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    parent: Box<str>,
    state: Box<str>,
}

impl TraceContext {
    /// The value of `traceparent`: version, trace, span and flags, 55 characters if the version is `00`.
    #[must_use]
    pub fn traceparent(&self) -> &str {
        &self.parent
    }

    /// The value of `tracestate`. Empty if there was none, or it has more than 512 characters.
    #[must_use]
    pub fn tracestate(&self) -> &str {
        &self.state
    }
}

/// The trace context of a delivery.
pub(crate) type Traced = Option<Arc<TraceContext>>;

/// The two headers of a request.
#[derive(Default)]
pub(crate) struct Headers<'h> {
    parent: Option<&'h [u8]>,
    is_repeated: bool,
    states: Vec<&'h str>,
}

impl<'h> Headers<'h> {
    pub(crate) fn read(&mut self, name: &str, value: &'h [u8]) {
        if name.eq_ignore_ascii_case("traceparent") {
            self.is_repeated |= self.parent.replace(value).is_some();
        } else if name.eq_ignore_ascii_case("tracestate")
            && let Ok(value) = str::from_utf8(value)
        {
            self.states.push(value);
        }
    }

    /// `None`, as the specification says, unless there is exactly one `traceparent`, and it is valid.
    pub(crate) fn context(&self) -> Traced {
        let parent = self.parent.filter(|_| !self.is_repeated).and_then(parent)?;
        let state = self.states.join(",");
        let is_storable = state.len() <= LONGEST_STATE && !state.contains(|c| !is_visible(c));
        let state = if is_storable { state } else { String::new() };
        Some(Arc::new(TraceContext { parent: parent.into(), state: state.into() }))
    }
}

fn is_visible(character: char) -> bool {
    matches!(character, ' '..='~' | '\t')
}

/// Reads a `traceparent`. A later version may have more fields: only the fields of all versions are kept.
fn parent(value: &[u8]) -> Option<&str> {
    const LENGTH: usize = 55;
    let value = str::from_utf8(value).ok()?;
    let (known, more) = value.split_at_checked(LENGTH)?;
    let [version, trace, span, flags] = known.split('-').collect::<Vec<_>>().try_into().ok()?;
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_id = |text: &str, length| text.len() == length && text.bytes().any(|byte| byte != b'0');
    let is_form = version.len() == 2
        && [version, trace, span, flags].into_iter().all(is_hex)
        && is_id(trace, 32)
        && is_id(span, 16)
        && version != "ff";
    let is_whole = more.is_empty() || version != "00" && more.starts_with('-');
    (is_form && is_whole).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn context(headers: &[(&str, &str)]) -> Option<(String, String)> {
        let mut read = Headers::default();
        headers.iter().for_each(|(name, value)| read.read(name, value.as_bytes()));
        let context = read.context()?;
        Some((context.traceparent().into(), context.tracestate().into()))
    }

    #[test]
    fn a_trace_context_is_kept_as_it_came() {
        let state = ("TraceState", "a=1");
        assert_eq!(context(&[("Traceparent", PARENT)]), Some((PARENT.into(), String::new())));
        let both = [("traceparent", PARENT), state, ("tracestate", "b=2")];
        assert_eq!(context(&both), Some((PARENT.into(), "a=1,b=2".into())));
        // It means nothing without its parent.
        assert_eq!(context(&[state]), None);
        assert_eq!(context(&[("traceparent", PARENT), ("traceparent", PARENT)]), None);
        for bad in ["x".repeat(513), "ä=1".into()] {
            let kept = context(&[("traceparent", PARENT), ("tracestate", &bad)]);
            assert_eq!(kept, Some((PARENT.into(), String::new())));
        }
    }

    #[test]
    fn a_traceparent_is_read_as_the_specification_says() {
        let later = PARENT.replacen("00", "cc", 1);
        assert_eq!(parent(format!("{later}-what-will-be").as_bytes()), Some(&*later));
        for bad in [
            "",
            &PARENT[1..],
            &format!("{PARENT}-"),
            &format!("{later}x"),
            &PARENT.replacen("00", "ff", 1),
            &PARENT.to_uppercase(),
            &PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &PARENT.replace("-00f0", "0-0f0"),
            &PARENT.replace('-', "_"),
        ] {
            assert_eq!(parent(bad.as_bytes()), None, "{bad}");
        }
    }
}
