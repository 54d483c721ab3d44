use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// The body of an answer of [`VerifyNumber7Service`](crate::VerifyNumber7Service): that of the inner service,
    /// or that of a refusal.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        inner: Inner<B>,
    }
}

pin_project! {
    #[project = InnerProj]
    #[derive(Debug)]
    enum Inner<B> {
        Served { #[pin] body: B },
        // In a box, so that this is no larger than a body of axum.
        Refused { text: Option<Box<Bytes>> },
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn served(body: B) -> Self {
        Self { inner: Inner::Served { body } }
    }

    pub(crate) fn empty() -> Self {
        Self { inner: Inner::Refused { text: None } }
    }

    pub(crate) fn refused(text: Bytes) -> Self {
        Self { inner: Inner::Refused { text: Some(Box::new(text)) } }
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::served(B::default())
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().inner.project() {
            InnerProj::Served { body } => body.poll_frame(cx),
            InnerProj::Refused { text } => {
                Poll::Ready(text.take().map(|text| Ok(Frame::data(*text))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Served { body } => body.is_end_stream(),
            Inner::Refused { text } => text.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Served { body } => body.size_hint(),
            Inner::Refused { text } => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
        }
    }
}
