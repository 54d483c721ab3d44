//! The error text of an attempt, as it is stored.

use std::{any::Any, error::Error};

use crate::model::error::with_causes;

/// The longest error text that is stored, in bytes.
const MAX_ERROR_LENGTH: usize = 2_000;

/// An error and its causes.
pub(crate) fn text_of_error(error: &(dyn Error + 'static)) -> String {
    storable(&with_causes(error))
}

pub(crate) fn text_of_panic(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    storable(&format!("panicked: {}", text.unwrap_or("with something that is not a string")))
}

/// A string that fits, and that every store accepts: JSON in PostgreSQL cannot have a NUL.
fn storable(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_ERROR_LENGTH);
    text[..end].replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use std::{fmt, io};

    use super::*;

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[derive(Debug)]
    struct Twice(io::Error);

    impl fmt::Display for Twice {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "twice: {}", self.0)
        }
    }

    impl Error for Twice {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn an_error_is_kept_with_its_sources() {
        assert_eq!(text_of_error(&Outer(io::Error::other("inner"))), "outer: inner");
        // Its own text includes that of its cause.
        let error = Outer(io::Error::other(Twice(io::Error::other("cause"))));
        assert_eq!(text_of_error(&error), "outer: twice: cause");
    }

    #[test]
    fn a_panic_is_kept_with_its_text() {
        assert_eq!(text_of_panic(&"a literal"), "panicked: a literal");
        assert_eq!(text_of_panic(&"a text".to_owned()), "panicked: a text");
        assert_eq!(text_of_panic(&7), "panicked: with something that is not a string");
    }

    #[test]
    fn what_is_kept_fits_the_store() {
        assert_eq!(storable("a\0b"), "a\u{fffd}b");
        assert_eq!(storable(&"ä".repeat(MAX_ERROR_LENGTH)).len(), MAX_ERROR_LENGTH);
        assert_eq!(storable(&format!("x{}", "ä".repeat(MAX_ERROR_LENGTH))).len(), 1_999);
    }
}
