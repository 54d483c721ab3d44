//! The webhook secret.

use std::{fmt, str};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::ZeroizeOnDrop;

use crate::Signature;
#[cfg(feature = "diagnosis")]
use crate::diagnosis::Text;

mod error;
mod source;

pub use self::error::{SecretError, SecretErrorKind};

/// HMAC-SHA256, the only algorithm of Number7 AI's signatures.
pub(crate) type HmacSha256 = Hmac<Sha256>;

/// What a secret signs to get its fingerprint.
const NAMED: &str = "the name of a webhook secret";

/// A webhook secret, ready to sign and to verify.
///
/// The key is expanded into an HMAC state once, and each delivery uses a copy of that state. Everything is overwritten with
/// zeros on drop, so no freed memory has the secret in it. But a `String` that you pass by value is freed as it is: pass a
/// reference, and overwrite your own copy.
///
/// With the feature `diagnosis`, the text is also kept, in one place that all clones share. From it, a diagnosis derives the
/// keys that a sender may use by mistake, such as the secret with a newline behind it, and drops them at its end.
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
    #[cfg(feature = "diagnosis")]
    text: Text,
}

/// Compiles only if the HMAC state is zeroized on drop. The state has no marker for that: it consists of two
/// SHA-256 cores and their buffer.
const _: fn() = || {
    fn zeroized_on_drop<T: ZeroizeOnDrop>() {}
    zeroized_on_drop::<Sha256>();
};

impl Secret {
    /// Takes the secret as Number7 AI shows it: a string or bytes, of any length except 0.
    ///
    /// # Errors
    ///
    /// The secret is empty, so anybody could sign. Or it begins or ends with white space, which is nearly always a copying
    /// mistake that makes every delivery fail.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self, SecretError> {
        let secret = secret.as_ref();
        refuse_malformed(secret)?;
        Ok(Self::of_bytes(secret))
    }

    pub(crate) fn of_bytes(secret: &[u8]) -> Self {
        Self {
            keyed: keyed(secret),
            #[cfg(feature = "diagnosis")]
            text: Text::of(secret),
        }
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

    /// A name for this secret: 8 hex digits that are the same in every process, such as `3f1c09ab`.
    ///
    /// It is the beginning of an HMAC with the secret. Somebody who sees it can use it to test guesses of the secret. The same
    /// is true of every signed delivery, so in a log it is no worse than a body with its signature.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.sign(NAMED).to_string()[..8].to_owned()
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.sign(NAMED).as_bytes().ct_eq(other.sign(NAMED).as_bytes()).into()
    }

    /// A fresh HMAC state under this secret.
    pub(crate) fn keyed(&self) -> HmacSha256 {
        self.keyed.clone()
    }

    #[cfg(feature = "diagnosis")]
    pub(crate) fn text(&self) -> &Text {
        &self.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

pub(crate) fn keyed(key: &[u8]) -> HmacSha256 {
    match HmacSha256::new_from_slice(key) {
        Ok(keyed) => keyed,
        Err(_) => unreachable!("HMAC takes a key of any length"),
    }
}

fn refuse_malformed(secret: &[u8]) -> Result<(), SecretError> {
    let (first, last) = match str::from_utf8(secret) {
        Ok(text) => (text.chars().next(), text.chars().next_back()),
        Err(_) => {
            let ascii = |byte: &u8| char::from(if byte.is_ascii() { *byte } else { b'x' });
            (secret.first().map(ascii), secret.last().map(ascii))
        }
    };
    let (Some(first), Some(last)) = (first, last) else {
        return Err(SecretErrorKind::Empty.into());
    };
    if is_white_space(first) || first == '\u{feff}' {
        Err(SecretError::white_space(SecretErrorKind::LeadingWhiteSpace, first))
    } else if is_white_space(last) {
        Err(SecretError::white_space(SecretErrorKind::TrailingWhiteSpace, last))
    } else {
        Ok(())
    }
}

/// White space that copying may leave. A vertical tab is not included, because it may be a byte of a binary key, as
/// in RFC 4231.
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
        assert_eq!(refused("\u{feff}secret"), SecretErrorKind::LeadingWhiteSpace);
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
