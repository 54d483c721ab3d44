//! The limit that axum's extractors, such as `Bytes` and `Json`, put on a body.

use axum_core::extract::DefaultBodyLimit;
use http::Request;

/// What they take if nobody says otherwise: 2 MB. To say more for a smaller body would cost an allocation.
const DEFAULT: usize = 2_097_152;

/// Lets them take a body that [`Verifier::body_limit`](number7_core::Verifier::body_limit) has let through.
pub(crate) fn raise<B>(request: &mut Request<B>, bytes: usize) {
    if bytes > DEFAULT {
        DefaultBodyLimit::max(bytes).apply(request);
    }
}
