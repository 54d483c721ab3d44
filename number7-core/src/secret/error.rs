use std::{error::Error, fmt, io, path::PathBuf};

/// Why a string is not a [`Secret`](crate::Secret).
///
/// [`Debug`] prints the same as [`Display`](fmt::Display), because `main` prints a returned error with
/// [`Debug`].
#[derive(Clone, PartialEq, Eq)]
pub struct SecretError {
    kind: SecretErrorKind,
    /// The white space, or the error of the operating system.
    detail: Option<String>,
    source: Option<Source>,
}

/// Where the secret should come from.
#[derive(Clone, PartialEq, Eq)]
enum Source {
    Variable(Box<str>),
    File(PathBuf),
}

impl SecretError {
    pub(super) fn white_space(kind: SecretErrorKind, character: char) -> Self {
        Self { detail: Some(described(character)), ..kind.into() }
    }

    pub(crate) fn not_readable(error: &io::Error) -> Self {
        Self { detail: Some(error.to_string()), ..SecretErrorKind::NotReadable.into() }
    }

    pub(super) fn in_variable(self, name: &str) -> Self {
        Self { source: Some(Source::Variable(name.into())), ..self }
    }

    pub(crate) fn in_file(self, path: impl Into<PathBuf>) -> Self {
        Self { source: Some(Source::File(path.into())), ..self }
    }

    /// The kind of this error.
    #[must_use]
    pub fn kind(&self) -> SecretErrorKind {
        self.kind
    }
}

impl From<SecretErrorKind> for SecretError {
    fn from(kind: SecretErrorKind) -> Self {
        Self { kind, detail: None, source: None }
    }
}

/// The usual name of a character.
fn described(character: char) -> String {
    let name = match character {
        '\n' => "a newline",
        '\r' => "a carriage return",
        '\t' => "a tab",
        ' ' => "a space",
        '\u{a0}' => "a no-break space",
        '\u{feff}' => "a byte order mark",
        _ => return format!("U+{:04X}", u32::from(character)),
    };
    name.to_owned()
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(Source::Variable(name)) => write!(f, "environment variable {name}: ")?,
            Some(Source::File(path)) => write!(f, "file {}: ", path.display())?,
            None => {}
        }
        f.write_str(match self.kind {
            SecretErrorKind::Empty => "the secret is empty",
            SecretErrorKind::LeadingWhiteSpace => "the secret begins with white space",
            SecretErrorKind::TrailingWhiteSpace => "the secret ends with white space",
            SecretErrorKind::NotSet => "no secret is set",
            SecretErrorKind::SetTwice => {
                "the secret and a file for it are both set: set one of them"
            }
            SecretErrorKind::NotUnicode => "the secret is not Unicode",
            SecretErrorKind::NotReadable => "the secret cannot be read",
            SecretErrorKind::TooLong => "the secret is longer than 64 KiB: is it the right file?",
        })?;
        self.detail.iter().try_for_each(|detail| write!(f, ": {detail}"))
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
    /// The secret begins with white space, or with a byte order mark.
    LeadingWhiteSpace,
    /// The secret ends with white space, most often a newline.
    TrailingWhiteSpace,
    /// The environment variable is not set, and names no file.
    NotSet,
    /// The environment variable is set, and so is the variable that names a file.
    SetTwice,
    /// The value of the environment variable is not Unicode.
    NotUnicode,
    /// The file cannot be opened or read.
    NotReadable,
    /// The file has more than 64 KiB, so it is probably the wrong one.
    TooLong,
}
