//! The byte order mark that some programs write in front of JSON.

/// U+FEFF in UTF-8.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The JSON without a mark in front of it, which RFC 8259 allows to skip in section 8.1. The signed bytes keep it.
pub(crate) fn without_mark(json: &[u8]) -> &[u8] {
    json.strip_prefix(BYTE_ORDER_MARK).unwrap_or(json)
}
