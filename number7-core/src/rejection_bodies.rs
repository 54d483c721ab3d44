use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::Rejection;

/// All statuses of refusals before a request reaches a handler.
const STATUSES: [u16; 6] = [400, 401, 408, 413, 415, 503];

/// The bodies of the answers to refused requests, instead of empty ones.
///
/// There is one body for each status, and it is created before the first request. So all answers with the status 401 are alike,
/// and none of them can say why.
///
/// # Example
///
/// ```
/// use number7_core::{RejectionKind, adapter::RejectionBodies};
///
/// let bodies = RejectionBodies::new("application/json", |status| format!(r#"{{"status":{status}}}"#));
/// assert_eq!(bodies.body(&RejectionKind::MissingSignature.into()), r#"{"status":401}"#);
/// assert_eq!(bodies.body(&RejectionKind::SignatureMismatch.into()), r#"{"status":401}"#);
/// assert_eq!(bodies.body(&RejectionKind::BodyTooLarge.into()), r#"{"status":413}"#);
/// ```
#[derive(Clone)]
pub struct RejectionBodies(Arc<Bodies>);

struct Bodies {
    content_type: &'static str,
    by_status: [(u16, Bytes); STATUSES.len()],
}

impl RejectionBodies {
    /// Calls `body` once for each status that a request can be refused with: 400, 401, 408, 413, 415 and 503.
    pub fn new<B: Into<Bytes>>(content_type: &'static str, body: impl Fn(u16) -> B) -> Self {
        let by_status = STATUSES.map(|status| (status, body(status).into()));
        Self(Arc::new(Bodies { content_type, by_status }))
    }

    /// The `Content-Type` of all of them.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        self.0.content_type
    }

    /// The body of the answer for this rejection.
    #[must_use]
    pub fn body(&self, rejection: &Rejection) -> Bytes {
        let status = rejection.status_code();
        let body = self.0.by_status.iter().find(|(known, _)| *known == status);
        body.map_or_else(Bytes::new, |(_, body)| body.clone())
    }
}

impl fmt::Debug for RejectionBodies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RejectionBodies")
            .field("content_type", &self.0.content_type)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::RejectionKind;

    #[test]
    fn two_refusals_with_one_status_have_one_body_even_if_the_function_changes_its_mind() {
        let calls = Cell::new(0);
        let bodies = RejectionBodies::new("text/plain", |_| {
            calls.set(calls.get() + 1);
            calls.get().to_string()
        });
        let body = |kind: RejectionKind| bodies.body(&kind.into());
        assert_eq!(body(RejectionKind::MissingSignature), body(RejectionKind::SignatureMismatch));
        assert_eq!(body(RejectionKind::UnknownAccount), body(RejectionKind::TooOld));
        assert_ne!(body(RejectionKind::TooOld), body(RejectionKind::BodyTooLarge));
        assert_eq!(calls.get(), STATUSES.len());
    }
}
