//! The type of body in which the verified bytes are put back into the request.

use std::{fmt, marker::PhantomData};

use bytes::Bytes;

/// The body that a service behind [`VerifyNumber7`](crate::VerifyNumber7) gets, if `Front` is the body in front of it.
///
/// Only this crate can implement it: it is [`Same`], or [`As`] after [`put_back_as`](crate::VerifyNumber7::put_back_as).
/// Without that, this does not compile, and the compiler says what to add:
///
/// ```compile_fail,E0277
/// # use axum::Router;
/// # use number7_tower::{Secret, VerifyNumber7};
/// # use tower::ServiceBuilder;
/// # use tower_http::limit::RequestBodyLimitLayer;
/// # fn app(secret: Secret) -> Router {
/// let stack = ServiceBuilder::new()
///     .layer(RequestBodyLimitLayer::new(16 * 1024))
///     .layer(VerifyNumber7::new(secret));
/// Router::new().layer(stack)
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "the verified bytes cannot be put back as a `{Front}`",
    label = "something in front of `VerifyNumber7` makes `{Front}` the body of the request",
    note = "say which body the service behind `VerifyNumber7` gets; \
            in axum: `VerifyNumber7::new(secret).put_back_as::<axum::body::Body>()`",
    note = "without axum: `VerifyNumber7::new(secret).put_back_as::<http_body_util::Full<bytes::Bytes>>()`"
)]
pub trait PutBack<Front>: sealed::Sealed {
    /// The body that the service behind gets.
    type Body: From<Bytes>;
}

/// The service behind gets the same type of body as the one in front, which must be `From<Bytes>`.
#[derive(Clone, Copy, Debug)]
pub struct Same;

/// The service behind gets a `B`, whatever body is in front.
pub struct As<B>(PhantomData<fn() -> B>);

// Without this attribute, the compiler would mention `From<Bytes>` instead of showing the message of the trait.
#[diagnostic::do_not_recommend]
impl<Front: From<Bytes>> PutBack<Front> for Same {
    type Body = Front;
}

impl<Front, B: From<Bytes>> PutBack<Front> for As<B> {
    type Body = B;
}

impl<B> Clone for As<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for As<B> {}

impl<B> fmt::Debug for As<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("As")
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::Same {}
    impl<B> Sealed for super::As<B> {}
}
