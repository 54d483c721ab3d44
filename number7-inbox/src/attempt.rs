//! One attempt: the call of the handler, and what its end means.

use std::{any::Any, error::Error, panic::AssertUnwindSafe};

use futures_util::{FutureExt, future::BoxFuture};

use crate::{
    AcceptedEvent, BoxError,
    engine::{Claim, End, Outcome},
    settings::Settings,
};

/// The longest error text that is kept of an attempt, in bytes.
const MAX_ERROR_LENGTH: usize = 2_000;

/// A handler, without its types.
pub(crate) type Handler =
    dyn Fn(AcceptedEvent) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync;

/// Makes an attempt.
pub(crate) async fn attempt(handler: &Handler, settings: &Settings, claim: Claim) -> End {
    let Claim { task, attempt, key, stored, .. } = claim;
    let attempts = settings.attempts;
    let outcome = if attempt > attempts {
        // Whatever ends the process would end it again and again.
        let error = "the process ended in the middle of the last attempt".to_owned();
        tracing::error!(target: "number7", key, "an event is a dead letter: {error}");
        Outcome::Exhausted { error }
    } else {
        let event = AcceptedEvent { stored, key: key.clone(), attempt, attempts };
        match handle(handler, event).await {
            Ok(()) => Outcome::Done,
            Err(error) if attempt == attempts => {
                tracing::error!(
                    target: "number7", key, attempt,
                    "the last attempt failed, the event is a dead letter: {error}"
                );
                Outcome::Dead { error }
            }
            Err(error) => {
                let after = settings.backoff(attempt);
                tracing::warn!(
                    target: "number7", key, attempt, ?after,
                    "an attempt failed and will be repeated: {error}"
                );
                Outcome::Retry { after, error }
            }
        }
    };
    End { task, attempt, outcome }
}

/// Calls the handler. A panic is an error like others.
async fn handle(handler: &Handler, event: AcceptedEvent) -> Result<(), String> {
    // The text of an error is the user's code as well.
    let handled = async { handler(event).await.map_err(|error| text_of_error(&*error)) };
    let handled = AssertUnwindSafe(handled).catch_unwind().await;
    handled.unwrap_or_else(|panic| Err(text_of_panic(&*panic)))
}

/// An error and its sources.
fn text_of_error(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    storable(&text)
}

fn text_of_panic(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    storable(&format!("panicked: {}", text.unwrap_or("with something that is no text")))
}

/// A text that fits, and that every store takes: no JSON of PostgreSQL has a NUL.
fn storable(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_ERROR_LENGTH);
    text[..end].replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use std::{fmt, io};

    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn an_error_is_kept_with_its_sources() {
        assert_eq!(text_of_error(&Outer(io::Error::other("inner"))), "outer: inner");
    }

    #[test]
    fn a_panic_is_kept_with_its_text() {
        assert_eq!(text_of_panic(&"a literal"), "panicked: a literal");
        assert_eq!(text_of_panic(&"a text".to_owned()), "panicked: a text");
        assert_eq!(text_of_panic(&7), "panicked: with something that is no text");
    }

    #[test]
    fn what_is_kept_fits_the_store() {
        assert_eq!(storable("a\0b"), "a\u{fffd}b");
        assert_eq!(storable(&"ä".repeat(MAX_ERROR_LENGTH)).len(), MAX_ERROR_LENGTH);
        assert_eq!(storable(&format!("x{}", "ä".repeat(MAX_ERROR_LENGTH))).len(), 1_999);
    }
}
