//! The value of the signature header.

use std::{array, error::Error, fmt, str::FromStr};

use subtle::ConstantTimeEq;

/// The request header that carries the [`Signature`], in the lower case of HTTP/2.
///
/// Source: Number7 AI's webhook documentation.
pub const SIGNATURE_HEADER: &str = "x-number7ai-signature";

/// The length of an HMAC-SHA256 in bytes.
const BYTES: usize = 32;

/// The HMAC-SHA256 of a body.
///
/// Two signatures can be compared only in constant time. [`Display`](fmt::Display) writes the value of the header:
/// 64 lower-case hex digits. [`Debug`] writes none of them, because a signature that verifies is worth as much as
/// the body that it signs.
///
/// # Example
///
/// ```
/// use number7_core::{Secret, Signature};
///
/// let signature = Secret::new("a long random secret")?.sign(b"{}");
/// assert_eq!(Signature::parse(signature.to_string())?, signature);
///
/// assert!(Signature::parse("sha256=f00d").is_err()); // no prefix, and 64 digits exactly
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Signature([u8; BYTES]);

impl Signature {
    /// Reads the value of the header: exactly 64 hex digits, in either case.
    ///
    /// # Errors
    ///
    /// The value has another length, or another byte. A prefix, a sign, a list, white space and `0x` are refused.
    pub fn parse(value: impl AsRef<[u8]>) -> Result<Self, SignatureError> {
        let digits: &[u8; 2 * BYTES] = value.as_ref().try_into().map_err(|_| SignatureError(()))?;
        let nibbles = digits.map(nibble);
        if nibbles.iter().fold(0, |all, nibble| all | nibble) > 0xf {
            return Err(SignatureError(()));
        }
        Ok(Self(array::from_fn(|i| nibbles[2 * i] << 4 | nibbles[2 * i + 1])))
    }

    /// Wraps the 32 bytes of an HMAC-SHA256 that were computed elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes. A comparison of them with `==` does not take constant time.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }
}

impl PartialEq for Signature {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Signature {}

impl FromStr for Signature {
    type Err = SignatureError;

    fn from_str(value: &str) -> Result<Self, Self::Err> {
        Self::parse(value)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

/// A header value that is not exactly 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureError(());

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a signature is exactly 64 hex digits")
    }
}

impl Error for SignatureError {}

/// The value of a hex digit, and more than 15 for every other byte. It has no branch, so that the compiler decodes
/// many digits at once.
fn nibble(digit: u8) -> u8 {
    let decimal = digit.wrapping_sub(b'0');
    let letter = (digit | 0x20).wrapping_sub(b'a');
    let letter = if letter < 6 { letter + 10 } else { u8::MAX };
    if decimal < 10 { decimal } else { letter }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nibble_is_what_char_to_digit_says_for_every_byte() {
        for byte in 0..=u8::MAX {
            match char::from(byte).to_digit(16) {
                Some(digit) => assert_eq!(u32::from(nibble(byte)), digit),
                None => assert!(nibble(byte) > 15, "{byte:#x} is not a hex digit"),
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes minutes")]
    fn one_wrong_byte_at_any_place_is_refused() {
        for place in 0..2 * BYTES {
            for wrong in [b'g', b' ', b'+', b'x', b'/', b':', b'@', b'`', 0, 0x80, 0xff] {
                let mut value = [b'a'; 2 * BYTES];
                value[place] = wrong;
                assert!(Signature::parse(value).is_err(), "{wrong:#x} at {place}");
            }
        }
    }

    #[test]
    fn wrong_bytes_do_not_make_up_for_each_other() {
        for wrong in [2, 3, 4, 2 * BYTES] {
            let mut value = [b'a'; 2 * BYTES];
            value[..wrong].fill(b'g');
            assert!(Signature::parse(value).is_err(), "{wrong} wrong bytes");
            value[..wrong].fill(b' ');
            let error = Signature::parse(value).unwrap_err();
            assert_eq!(error.to_string(), "a signature is exactly 64 hex digits");
        }
    }

    #[test]
    fn debug_shows_no_digit() {
        assert_eq!(format!("{:?}", Signature([0xab; BYTES])), "Signature(..)");
    }
}
