use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use axum_core::extract::FromRequestParts;
use number7_core::Accounts;

use crate::VerifyNumber7;

impl VerifyNumber7 {
    /// Looks up the verifier of the account that a request names, for a receiver whose accounts have different secrets. `name`
    /// gets an extractor of axum, and returns the name of the account.
    ///
    /// The extractor runs before the body is read, so it must need only the head of a request, such as `Path`, `HeaderMap` or
    /// `Host`, and must not wait. If it fails or waits, the answer is 401, as for an unknown account.
    ///
    /// # Example
    ///
    /// ```
    /// use axum::{Router, extract::Path, http::StatusCode, routing::post};
    /// use number7_tower::{Account, Accounts, Delivery, Secret, SecretError, Verified, Verifier, VerifyNumber7};
    ///
    /// async fn find(account: Account) -> Result<Option<Verifier>, SecretError> {
    ///     // In an app: SELECT secret FROM accounts WHERE name = $1
    ///     match account.as_str() {
    ///         "acme" => Ok(Some(Secret::new("the secret of acme")?.into())),
    ///         _ => Ok(None),
    ///     }
    /// }
    ///
    /// async fn webhook(Verified(delivery): Verified<Delivery>) -> StatusCode {
    ///     println!("an event of {:?}", delivery.account());
    ///     StatusCode::OK
    /// }
    ///
    /// let verify = VerifyNumber7::accounts(Accounts::new(find), |Path(account): Path<String>| account);
    /// let app: Router = Router::new().route("/hooks/{account}", post(webhook)).layer(verify);
    /// ```
    pub fn accounts<E>(
        accounts: Accounts,
        name: impl Fn(E) -> String + Send + Sync + 'static,
    ) -> Self
    where
        E: FromRequestParts<()> + 'static,
    {
        Self::by_name(
            accounts,
            Arc::new(move |parts| {
                let extracted = pin!(E::from_request_parts(parts, &()));
                match extracted.poll(&mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Ok(extracted)) => Some(name(extracted)),
                    _ => None,
                }
            }),
        )
    }
}
