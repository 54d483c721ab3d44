use base64::{
    alphabet,
    engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes base64 as leniently as Node and Python do: in either alphabet, padded or not, and skipping all other characters. The
/// result is as secret as the text.
pub(super) fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| match byte {
        b'-' => Some(b'+'),
        b'_' => Some(b'/'),
        b'+' | b'/' => Some(*byte),
        byte => byte.is_ascii_alphanumeric().then_some(*byte),
    };
    // Everything after the padding is ignored.
    let text = text.split(|byte| *byte == b'=').next()?;
    // It may be a secret, so its memory must not grow, which would leave a copy behind.
    let mut digits = Zeroizing::new(Vec::with_capacity(text.len()));
    digits.extend(text.iter().filter_map(digit));
    // A single remaining digit is less than a byte.
    let whole = digits.len() - usize::from(digits.len() % 4 == 1);
    LENIENT.decode(&digits[..whole]).ok().filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_alphabet_is_read_and_what_is_no_digit_is_passed_over() {
        for text in ["aGk=", "aGk", "a G\nk", "aGk=abcd"] {
            assert_eq!(from_base64(text.as_bytes()), Some(b"hi".to_vec()), "{text:?}");
        }
        assert_eq!(from_base64(b"_-8"), Some(vec![0xff, 0xef]));
        assert_eq!(from_base64(b"/+8"), Some(vec![0xff, 0xef]));
        assert_eq!(from_base64(b"aGkhb"), Some(b"hi!".to_vec()));
        for nothing in ["", "=", "a", "=aGk="] {
            assert_eq!(from_base64(nothing.as_bytes()), None, "{nothing:?}");
        }
    }
}
