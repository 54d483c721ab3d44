//! Why a body does not go on: something in front of the layer may have a limit of its own.

use std::error::Error;

use http_body_util::LengthLimitError;
use number7_core::RejectionKind;

/// What a layer in front that limits bodies says by an error of the body is answered as our own limits are.
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
