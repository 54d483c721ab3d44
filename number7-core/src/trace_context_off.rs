//! What `trace_context.rs` does, without the feature `trace-context`: nothing.

use std::marker::PhantomData;

#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Traced(());

#[derive(Default)]
pub(crate) struct Headers<'h>(PhantomData<&'h [u8]>);

impl Headers<'_> {
    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) fn read(&self, _: &str, _: &[u8]) {}

    #[expect(clippy::unused_self, reason = "as with the feature")]
    pub(crate) fn context(&self) -> Traced {
        Traced(())
    }
}
