//! Why a body ends early: a layer in front may have its own limit.

use std::error::Error;

use http_body_util::LengthLimitError;
use number7_core::RejectionKind;

/// If a layer in front limits bodies, its error is answered like our own limits.
pub(crate) fn kind_of(error: &(dyn Error + Send + Sync + 'static)) -> RejectionKind {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return RejectionKind::BodyTooLarge;
        }
        cause = error.source();
    }
    RejectionKind::of_body_error(error)
}
