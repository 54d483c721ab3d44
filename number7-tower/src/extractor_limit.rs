//! The limit that axum's extractors, such as `Bytes` and `Json`, put on a body.

use axum_core::extract::DefaultBodyLimit;
use http::Request;

/// Their default: 2 MB. Setting a limit for smaller bodies would only cost an allocation.
const DEFAULT: usize = 2_097_152;

/// Lets them accept a body that [`Verifier::body_limit`](number7_core::Verifier::body_limit) allowed.
pub(crate) fn raise<B>(request: &mut Request<B>, bytes: usize) {
    if bytes > DEFAULT {
        DefaultBodyLimit::max(bytes).apply(request);
    }
}
