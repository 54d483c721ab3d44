//! The W3C trace context of the request that brought an event.

/// The values of its two headers. Only the feature `opentelemetry` reads them.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(any(
        feature = "sqlite",
        feature = "postgres",
        feature = "redis",
        feature = "opentelemetry",
        feature = "board"
    )),
    expect(dead_code, reason = "nobody writes it down or goes on with it")
)]
pub(crate) struct Trace {
    pub(crate) parent: String,
    /// It may be empty.
    pub(crate) state: String,
}

impl Trace {
    /// From a store.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
    pub(crate) fn read(parent: Option<String>, state: Option<String>) -> Option<Self> {
        Some(Self { parent: parent?, state: state.unwrap_or_default() })
    }
}
