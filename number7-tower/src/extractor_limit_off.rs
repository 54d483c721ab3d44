//! What `extractor_limit.rs` does, without the feature `axum`: nothing.

use http::Request;

pub(crate) fn raise<B>(_: &mut Request<B>, _: usize) {}
