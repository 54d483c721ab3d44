use std::{error::Error, fmt, time::Duration};

/// What an error knows about trying again. To give a hint, an error has it among its [sources](Error::source).
///
/// A worker of `number7-inbox` looks for it in the error that a handler returned, however often that error was wrapped. So
/// `client.result(&job).await?` in a handler does the right thing. With [`After`](Self::After), the event is snoozed, and no
/// attempt is used up. With [`Never`](Self::Never), it becomes a dead letter at once. After an error without a hint, the event
/// is tried again after the worker's backoff.
///
/// # Example
///
/// ```
/// use std::{error::Error, fmt, time::Duration};
///
/// use number7_core::RetryHint;
///
/// #[derive(Debug)]
/// struct TooManyRequests(RetryHint);
///
/// impl fmt::Display for TooManyRequests {
///     fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         f.write_str("the bank allows no more requests now")
///     }
/// }
///
/// impl Error for TooManyRequests {
///     fn source(&self) -> Option<&(dyn Error + 'static)> {
///         Some(&self.0)
///     }
/// }
///
/// let error = TooManyRequests(RetryHint::After(Duration::from_secs(30)));
/// assert_eq!(RetryHint::of(&error), Some(RetryHint::After(Duration::from_secs(30))));
/// assert_eq!(RetryHint::of(&std::io::Error::other("no hint")), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RetryHint {
    /// Try again after this time, and not before. The attempt itself was not wrong.
    After(Duration),
    /// Trying again does not help.
    Never,
}

impl RetryHint {
    /// Finds the hint of an error: the error itself, or the first of its sources that is one.
    #[must_use]
    pub fn of(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(hint) = error.downcast_ref() {
                return Some(*hint);
            }
            next = error.source();
        }
        None
    }
}

impl fmt::Display for RetryHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(time) => write!(f, "try again after {time:?}"),
            Self::Never => f.write_str("trying again does not help"),
        }
    }
}

impl Error for RetryHint {}
