//! From verified bytes to the type that a handler asks for.

use std::{convert::Infallible, error::Error};

use bytes::Bytes;

use crate::{Delivery, Event, EventError};

/// What a handler can take as `Verified<Self>`.
///
/// Implement it for your own types that are read from the signed bytes.
///
/// # Example
///
/// ```
/// use number7_core::{Delivery, FromDelivery, RejectionKind, Secret, Verifier, adapter};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Receipt { #[serde(rename = "jobId")] job: String }
///
/// impl FromDelivery for Receipt {
///     type Error = serde_json::Error;
///
///     fn from_delivery(delivery: &Delivery) -> Result<Self, Self::Error> {
///         serde_json::from_slice(delivery.json())
///     }
/// }
///
/// let secret = Secret::new("a long random secret")?;
/// let deliver = |body: &'static str| {
///     Verifier::new(secret.clone()).verify(secret.sign(body).to_string(), body)
/// };
///
/// let receipt: Receipt = adapter::extract(Some(&deliver(r#"{"jobId":"job_1"}"#)?))?;
/// assert_eq!(receipt.job, "job_1");
///
/// let rejection = adapter::extract::<Receipt>(Some(&deliver("{}")?)).err().unwrap();
/// assert_eq!(rejection.kind(), RejectionKind::Untypable);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be taken from a verified delivery",
    label = "not `FromDelivery`",
    note = "`Verified` takes `Event`, `Delivery`, `Bytes`, and your own types that implement \
            `FromDelivery`"
)]
pub trait FromDelivery: Sized {
    /// Why an authentic body is not a `Self`. The sender is answered 400 with an empty body.
    type Error: Into<Box<dyn Error + Send + Sync>>;

    /// Reads the value from the signed bytes.
    ///
    /// # Errors
    ///
    /// The bytes are authentic but not a `Self`.
    fn from_delivery(delivery: &Delivery) -> Result<Self, Self::Error>;
}

impl FromDelivery for Event {
    type Error = EventError;

    fn from_delivery(delivery: &Delivery) -> Result<Self, Self::Error> {
        delivery.event()
    }
}

impl FromDelivery for Delivery {
    type Error = Infallible;

    fn from_delivery(delivery: &Delivery) -> Result<Self, Self::Error> {
        Ok(delivery.clone())
    }
}

impl FromDelivery for Bytes {
    type Error = Infallible;

    fn from_delivery(delivery: &Delivery) -> Result<Self, Self::Error> {
        Ok(delivery.body().clone())
    }
}
