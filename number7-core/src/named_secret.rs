use std::sync::Arc;

use crate::Secret;

/// A secret, and what the user calls it.
#[derive(Clone)]
pub(crate) struct NamedSecret {
    pub(crate) name: Arc<str>,
    pub(crate) secret: Secret,
}
