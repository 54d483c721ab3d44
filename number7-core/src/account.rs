//! The account that a webhook secret belongs to.

use std::{borrow::Borrow, error::Error, fmt, str::FromStr, sync::Arc};

/// How long the name of an account can be: 64 bytes.
pub const MAX_ACCOUNT_LENGTH: usize = 64;

/// The name of an account: one of several customers of yours. Each has its own webhook secret.
///
/// A name has 1 to 64 ASCII letters, digits, `-`, `_` and `.`, and begins with a letter or a digit. So it is safe in a URL, a
/// path, a log and a key.
///
/// # Example
///
/// ```
/// use number7_core::Account;
///
/// assert_eq!(Account::new("acme-eu")?.as_str(), "acme-eu");
/// assert!(Account::new("..").is_err());
/// # Ok::<(), number7_core::AccountError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(Arc<str>);

impl Account {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// The name is empty, is longer than [`MAX_ACCOUNT_LENGTH`], contains another character, or does not begin with
    /// a letter or a digit.
    pub fn new(name: impl AsRef<str>) -> Result<Self, AccountError> {
        let name = name.as_ref();
        match Self::is_name(name) {
            true => Ok(Self(Arc::from(name))),
            false => Err(AccountError(())),
        }
    }

    pub(crate) fn is_name(name: &str) -> bool {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        // Not `..`: the name may become part of a path.
        name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.len() <= MAX_ACCOUNT_LENGTH
            && name.bytes().all(is_good)
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Account {
    type Err = AccountError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::new(name)
    }
}

/// A string hashes like the account of this name, so that a map of accounts can be searched by strings.
impl Borrow<str> for Account {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A string that cannot be the name of an [`Account`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountError(());

impl fmt::Display for AccountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an account has 1 to {MAX_ACCOUNT_LENGTH} ASCII letters, digits, -, _ or ., and a letter or digit first"
        )
    }
}

impl Error for AccountError {}
