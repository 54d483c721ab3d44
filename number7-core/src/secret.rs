//! The webhook secret.

use std::{env, error::Error, fmt, str, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use crate::{DiagnosisKind, Signature};

mod candidates;

/// HMAC-SHA256, the only algorithm of Number7 AI's signatures.
pub(crate) type HmacSha256 = Hmac<Sha256>;

/// A webhook secret, ready to sign and to verify.
///
/// The key is scheduled into an HMAC state once, and each delivery works on a copy of that state. The text
/// is kept in one place, which all clones share. Only [`Verifier::diagnose`](crate::Verifier::diagnose)
/// reads it: from it, a diagnosis makes the keys that a sender may use by mistake, such as the secret with
/// a newline behind it, and drops them at its end. Everything is overwritten with zeros when it is dropped,
/// so no memory is freed with the text in it. A `String` that you pass by value is freed as it is: pass a
/// reference, and overwrite your own copy.
///
/// A secret prints as `Secret(..)`, cannot be serialized and cannot be read back.
///
/// # Example
///
/// ```
/// use number7_core::{Secret, SecretErrorKind, Verifier};
///
/// let secret = Secret::new("a long random secret")?;
/// let signature = secret.sign(b"{}");
/// assert!(Verifier::new(secret).verify(signature.to_string(), "{}").is_ok());
///
/// let error = Secret::new("pasted with its newline\n").unwrap_err();
/// assert_eq!(error.kind(), SecretErrorKind::TrailingWhiteSpace);
/// # Ok::<(), number7_core::SecretError>(())
/// ```
#[derive(Clone)]
pub struct Secret {
    keyed: HmacSha256,
    text: Arc<Zeroizing<Vec<u8>>>,
}

/// Compiles only while the HMAC state is zeroized on drop: it consists of two SHA-256 cores and their
/// buffer, and has no marker of its own.
const _: fn() = || {
    fn zeroized_on_drop<T: ZeroizeOnDrop>() {}
    zeroized_on_drop::<Sha256>();
};

impl Secret {
    /// Takes the secret as Number7 AI shows it: text or bytes, of any length except 0.
    ///
    /// # Errors
    ///
    /// An empty secret, with which anybody can sign, and one that begins or ends with white space,
    /// which is nearly always a copying accident that makes every delivery fail.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        let secret = secret.as_ref();
        refuse_malformed(secret).map_err(|kind| SecretError { kind, variable: None })?;
        Ok(Self { keyed: keyed(secret), text: Arc::new(Zeroizing::new(secret.to_vec())) })
    }

    /// Reads the secret from an environment variable, `WEBHOOK_SECRET` by the vendor's convention.
    ///
    /// Call it at start-up and let its error end the process.
    ///
    /// # Errors
    ///
    /// A variable that is not set or not Unicode, and all that [`Secret::new`] refuses. The text
    /// of the error names the variable.
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        let in_variable = |kind| SecretError { kind, variable: Some(name.into()) };
        let value = env::var(name).map_err(|error| match error {
            env::VarError::NotPresent => in_variable(SecretErrorKind::NotSet),
            env::VarError::NotUnicode(value) => {
                drop(Zeroizing::new(value.into_encoded_bytes()));
                in_variable(SecretErrorKind::NotUnicode)
            }
        })?;
        Self::new(Zeroizing::new(value).as_bytes()).map_err(|error| in_variable(error.kind))
    }

    /// Signs a body as Number7 AI does: for tests of your own handler, and for senders.
    ///
    /// ```
    /// use number7_core::Secret;
    ///
    /// // GitHub's documented vector of the same scheme
    /// let signature = Secret::new("It's a Secret to Everybody")?.sign("Hello, World!");
    /// assert_eq!(
    ///     signature.to_string(),
    ///     "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    /// );
    /// # Ok::<(), number7_core::SecretError>(())
    /// ```
    pub fn sign(&self, body: impl AsRef<[u8]>) -> Signature {
        let mut mac = self.keyed();
        mac.update(body.as_ref());
        Signature::from_bytes(mac.finalize().into_bytes().into())
    }

    /// A fresh HMAC state under this secret.
    pub(crate) fn keyed(&self) -> HmacSha256 {
        self.keyed.clone()
    }

    /// The keys that a sender may use by mistake, and the mistake.
    pub(crate) fn candidates(&self) -> Vec<(DiagnosisKind, Zeroizing<Vec<u8>>)> {
        candidates::candidates(&self.text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a string is not a [`Secret`].
///
/// [`Debug`] prints the same as [`Display`](fmt::Display), because `main` prints a returned error with
/// [`Debug`].
#[derive(Clone, PartialEq, Eq)]
pub struct SecretError {
    kind: SecretErrorKind,
    variable: Option<Box<str>>,
}

impl SecretError {
    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> SecretErrorKind {
        self.kind
    }
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(variable) = &self.variable {
            write!(f, "environment variable {variable}: ")?;
        }
        f.write_str(match self.kind {
            SecretErrorKind::Empty => "the secret is empty",
            SecretErrorKind::LeadingWhiteSpace => "the secret begins with white space",
            SecretErrorKind::TrailingWhiteSpace => "the secret ends with white space",
            SecretErrorKind::NotSet => "no secret is set",
            SecretErrorKind::NotUnicode => "the secret is not Unicode",
        })
    }
}

impl fmt::Debug for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for SecretError {}

/// The kinds of [`SecretError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretErrorKind {
    /// The secret is empty.
    Empty,
    /// The text begins with white space.
    LeadingWhiteSpace,
    /// The text ends with white space, most often a newline.
    TrailingWhiteSpace,
    /// The environment variable is not set.
    NotSet,
    /// The environment variable does not hold Unicode.
    NotUnicode,
}

pub(crate) fn keyed(key: &[u8]) -> HmacSha256 {
    match HmacSha256::new_from_slice(key) {
        Ok(keyed) => keyed,
        Err(_) => unreachable!("HMAC takes a key of any length"),
    }
}

fn refuse_malformed(secret: &[u8]) -> Result<(), SecretErrorKind> {
    let (leading, trailing) = match str::from_utf8(secret) {
        Ok(text) => (text.starts_with(is_white_space), text.ends_with(is_white_space)),
        Err(_) => (
            secret.first().is_some_and(u8::is_ascii_whitespace),
            secret.last().is_some_and(u8::is_ascii_whitespace),
        ),
    };
    if secret.is_empty() {
        Err(SecretErrorKind::Empty)
    } else if leading {
        Err(SecretErrorKind::LeadingWhiteSpace)
    } else if trailing {
        Err(SecretErrorKind::TrailingWhiteSpace)
    } else {
        Ok(())
    }
}

/// White space as copying leaves it. Not a vertical tab, which may be a byte of a binary key, as in
/// RFC 4231.
fn is_white_space(character: char) -> bool {
    match character.is_ascii() {
        true => character.is_ascii_whitespace(),
        false => character.is_whitespace(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(secret: impl AsRef<[u8]>) -> SecretErrorKind {
        Secret::new(secret).unwrap_err().kind()
    }

    #[test]
    fn white_space_is_refused_at_the_end_where_it_stands() {
        assert_eq!(refused(""), SecretErrorKind::Empty);
        assert_eq!(refused(" secret"), SecretErrorKind::LeadingWhiteSpace);
        assert_eq!(refused("\u{a0}secret"), SecretErrorKind::LeadingWhiteSpace);
        assert_eq!(refused("secret\n"), SecretErrorKind::TrailingWhiteSpace);
        assert_eq!(refused(b"\xff\n"), SecretErrorKind::TrailingWhiteSpace);
        assert!(Secret::new("inner white space stands").is_ok());
        assert!(Secret::new(b"\xff\xfe").is_ok());
        assert!(Secret::new([0x0b; 20]).is_ok());
    }

    #[test]
    fn an_unset_variable_is_named() {
        let error = Secret::from_env("NUMBER7_TEST_NEVER_SET").unwrap_err();
        assert_eq!(error.kind(), SecretErrorKind::NotSet);
        assert_eq!(
            error.to_string(),
            "environment variable NUMBER7_TEST_NEVER_SET: no secret is set"
        );
    }
}
