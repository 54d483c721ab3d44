//! The limit that axum's extractors, such as `Bytes` and `Json`, put on a body.

use axum_core::extract::DefaultBodyLimit;
use http::Request;

/// Lets them take a body that [`Verifier::body_limit`](number7_core::Verifier::body_limit) has let through.
pub(crate) fn raise<B>(request: &mut Request<B>, bytes: usize) {
    DefaultBodyLimit::max(bytes).apply(request);
}
