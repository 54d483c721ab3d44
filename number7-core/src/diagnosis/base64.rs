use base64::{
    alphabet,
    engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig},
};

/// As lenient as the decoders of Node and of Python are.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Decodes base64 of either alphabet, padded or not.
pub(crate) fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    let standard = |byte: &u8| match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    };
    let mut text: Vec<_> = text.iter().map(standard).filter(|byte| *byte != b'=').collect();
    // A single digit is less than a byte.
    text.truncate(text.len() - usize::from(text.len() % 4 == 1));
    LENIENT.decode(text).ok()
}
