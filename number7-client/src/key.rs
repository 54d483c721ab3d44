//! The API key.

use std::{env, error::Error, fmt};

use bytes::Bytes;
use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

/// An API key of Number7 AI.
///
/// It leaves this crate only in the `Authorization` header of a request, which is marked as sensitive. It prints as
/// `ApiKey(..)`, cannot be serialized and cannot be read back. No error, URL or log line contains it. It is kept in one place
/// that all clones share, and is overwritten with zeros when the last clone is dropped. The buffers of a connection that it was
/// sent on are not overwritten.
///
/// # Example
///
/// ```
/// use number7_client::{ApiKey, ApiKeyErrorKind};
///
/// let key = ApiKey::new("n7_live_4f1c")?;
/// assert_eq!(format!("{key:?}"), "ApiKey(..)");
///
/// let error = ApiKey::new("pasted with its newline\n").unwrap_err();
/// assert_eq!(error.kind(), ApiKeyErrorKind::Malformed);
/// # Ok::<(), number7_client::ApiKeyError>(())
/// ```
#[derive(Clone)]
pub struct ApiKey(HeaderValue);

impl ApiKey {
    /// Takes the key as Number7 AI shows it.
    ///
    /// # Errors
    ///
    /// It is empty, or has a byte that is not visible ASCII, such as a space or a newline that was copied with it.
    pub fn new(key: impl AsRef<str>) -> Result<Self, ApiKeyError> {
        let key = key.as_ref();
        let refused = |kind| Err(ApiKeyError { kind, variable: None });
        if key.is_empty() {
            return refused(ApiKeyErrorKind::Empty);
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refused(ApiKeyErrorKind::Malformed);
        }
        let mut header = Zeroizing::new(Vec::with_capacity(SCHEME.len() + key.len()));
        header.extend_from_slice(SCHEME.as_bytes());
        header.extend_from_slice(key.as_bytes());
        match HeaderValue::from_maybe_shared(Bytes::from_owner(header)) {
            Ok(mut header) => {
                header.set_sensitive(true);
                Ok(Self(header))
            }
            Err(_) => refused(ApiKeyErrorKind::Malformed),
        }
    }

    /// Reads the key from an environment variable, `N7_API_KEY` by the vendor's convention.
    ///
    /// Call it at start-up and let its error end the process.
    ///
    /// # Errors
    ///
    /// The variable is not set or not Unicode, or [`ApiKey::new`] refuses the key. The error names the variable.
    pub fn from_env(name: &str) -> Result<Self, ApiKeyError> {
        let in_variable = |kind| ApiKeyError { kind, variable: Some(name.into()) };
        let key = env::var(name).map(Zeroizing::new).map_err(|error| match error {
            env::VarError::NotPresent => in_variable(ApiKeyErrorKind::NotSet),
            env::VarError::NotUnicode(value) => {
                drop(Zeroizing::new(value.into_encoded_bytes()));
                in_variable(ApiKeyErrorKind::NotUnicode)
            }
        })?;
        Self::new(&*key).map_err(|error| in_variable(error.kind))
    }

    /// The value of the `Authorization` header.
    pub(crate) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

const SCHEME: &str = "Bearer ";

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// Why a string is not an [`ApiKey`].
///
/// [`Debug`] prints the same as [`Display`](fmt::Display), because `main` prints a returned error with
/// [`Debug`].
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyError {
    kind: ApiKeyErrorKind,
    variable: Option<Box<str>>,
}

impl ApiKeyError {
    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> ApiKeyErrorKind {
        self.kind
    }
}

impl fmt::Display for ApiKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(variable) = &self.variable {
            write!(f, "environment variable {variable}: ")?;
        }
        f.write_str(match self.kind {
            ApiKeyErrorKind::Empty => "the API key is empty",
            ApiKeyErrorKind::Malformed => {
                "the API key has a space, a newline or a letter that is not ASCII"
            }
            ApiKeyErrorKind::NotSet => "no API key is set",
            ApiKeyErrorKind::NotUnicode => "the API key is not Unicode",
        })
    }
}

impl fmt::Debug for ApiKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for ApiKeyError {}

/// The kinds of [`ApiKeyError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApiKeyErrorKind {
    /// The key is empty.
    Empty,
    /// A byte is not visible ASCII, and cannot be part of a key: most often a newline at its end.
    Malformed,
    /// The environment variable is not set.
    NotSet,
    /// The value of the environment variable is not Unicode.
    NotUnicode,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_header_is_refused_and_never_shown() {
        for key in [" n7", "n7 ", "n7\n", "n7\u{e9}", "n7\0"] {
            let error = ApiKey::new(key).unwrap_err();
            assert_eq!(error.kind(), ApiKeyErrorKind::Malformed, "{key:?}");
            assert!(!format!("{error} {error:?}").contains("n7"), "{error}");
        }
        assert_eq!(ApiKey::new("").unwrap_err().kind(), ApiKeyErrorKind::Empty);
        let key = ApiKey::new("n7_secret").unwrap();
        assert!(!format!("{key:?} {:?}", key.header()).contains("n7"));
    }

    #[test]
    fn an_unset_variable_is_named() {
        let error = ApiKey::from_env("NUMBER7_TEST_NEVER_SET").unwrap_err();
        assert_eq!(error.kind(), ApiKeyErrorKind::NotSet);
        assert_eq!(
            error.to_string(),
            "environment variable NUMBER7_TEST_NEVER_SET: no API key is set"
        );
    }
}
