//! Secrets from variables and files.

use std::{env, fs::File, io::Read, path::Path};

use zeroize::Zeroizing;

use crate::{Secret, SecretError, SecretErrorKind};

/// No secret is longer than this.
const LONGEST: usize = 64 * 1024;

impl Secret {
    /// Reads the secret from an environment variable, by the vendor's convention `WEBHOOK_SECRET`. If `WEBHOOK_SECRET_FILE` is
    /// set instead, reads the file that it names, as container platforms mount secrets.
    ///
    /// Call it at start-up and let its error end the process.
    ///
    /// # Errors
    ///
    /// Neither variable is set, or both are; the value is not Unicode; or [`Secret::new`] or [`Secret::from_file`] refuses the
    /// secret. The error names the variable or the file.
    pub fn from_env(name: &str) -> Result<Self, SecretError> {
        let (value, file) = (env::var(name), env::var_os(format!("{name}_FILE")));
        let secret = match (value, file) {
            (Err(env::VarError::NotPresent), Some(file)) => return Self::from_file(file),
            (Err(env::VarError::NotPresent), None) => Err(SecretErrorKind::NotSet.into()),
            (Err(env::VarError::NotUnicode(value)), _) => {
                drop(Zeroizing::new(value.into_encoded_bytes()));
                Err(SecretErrorKind::NotUnicode.into())
            }
            (Ok(value), file) => {
                let value = Zeroizing::new(value);
                match file {
                    None => Self::new(value.as_bytes()),
                    Some(_) => Err(SecretErrorKind::SetTwice.into()),
                }
            }
        };
        secret.map_err(|error| error.in_variable(name))
    }

    /// Reads the secret from a file. One newline at its end, `\n` or `\r\n`, is not part of the secret, because editors add it.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has more than 64 KiB, or [`Secret::new`] refuses the secret, for example because of a second
    /// newline. The error names the file.
    ///
    /// # Example
    ///
    /// ```
    /// use number7_core::{Secret, SecretErrorKind};
    ///
    /// let folder = std::env::temp_dir().join(format!("number7-secret-{}", std::process::id()));
    /// std::fs::create_dir_all(&folder)?;
    /// let file = folder.join("webhook-secret");
    ///
    /// std::fs::write(&file, "a long random secret\n")?;
    /// assert_eq!(Secret::from_file(&file)?.sign("{}"), Secret::new("a long random secret")?.sign("{}"));
    ///
    /// std::fs::write(&file, "a long random secret \n")?;
    /// let error = Secret::from_file(&file).unwrap_err();
    /// assert_eq!(error.kind(), SecretErrorKind::TrailingWhiteSpace);
    /// # std::fs::remove_dir_all(&folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SecretError> {
        let path = path.as_ref();
        let secret = read(path).and_then(|bytes| Self::new(without_newline(&bytes)));
        secret.map_err(|error| error.in_file(path))
    }
}

/// Reads a file into memory that is overwritten on drop and does not grow, so that no copy is left behind.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretError> {
    let mut bytes = Zeroizing::new(vec![0; LONGEST + 1]);
    let mut length = 0;
    let mut file = File::open(path).map_err(|error| SecretError::not_readable(&error))?;
    while length < bytes.len() {
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(SecretError::not_readable(&error)),
        }
    }
    if length > LONGEST {
        return Err(SecretErrorKind::TooLong.into());
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn without_newline(bytes: &[u8]) -> &[u8] {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if line.len() < bytes.len() { line.strip_suffix(b"\r").unwrap_or(line) } else { line }
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;

    fn of_file(bytes: impl AsRef<[u8]>) -> Result<Secret, SecretError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, bytes.as_ref()).unwrap();
        Secret::from_file(file.path())
    }

    #[test]
    fn one_newline_at_the_end_of_a_file_is_not_a_part_of_the_secret() {
        let signed = Secret::new("secret").unwrap().sign("body");
        for text in ["secret", "secret\n", "secret\r\n"] {
            assert_eq!(of_file(text).unwrap().sign("body"), signed, "{text:?}");
        }
        for (text, kind, says) in [
            ("", SecretErrorKind::Empty, "is empty"),
            ("\n", SecretErrorKind::Empty, "is empty"),
            ("secret\n\n", SecretErrorKind::TrailingWhiteSpace, "ends with white space: a newline"),
            (
                "secret\r",
                SecretErrorKind::TrailingWhiteSpace,
                "ends with white space: a carriage return",
            ),
            ("secret \n", SecretErrorKind::TrailingWhiteSpace, "ends with white space: a space"),
            (
                "\u{feff}secret",
                SecretErrorKind::LeadingWhiteSpace,
                "begins with white space: a byte order mark",
            ),
            (
                "\u{2003}secret",
                SecretErrorKind::LeadingWhiteSpace,
                "begins with white space: U+2003",
            ),
        ] {
            let error = of_file(text).unwrap_err();
            assert_eq!(error.kind(), kind, "{text:?}");
            assert!(
                error.to_string().starts_with("file /") && error.to_string().ends_with(says),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_that_is_none_is_named() {
        assert!(of_file([b'a'; LONGEST]).is_ok());
        assert_eq!(of_file([b'a'; LONGEST + 1]).unwrap_err().kind(), SecretErrorKind::TooLong);
        let error = Secret::from_file("not/there").unwrap_err();
        assert_eq!(error.kind(), SecretErrorKind::NotReadable);
        assert!(
            error.to_string().starts_with("file not/there: the secret cannot be read: "),
            "{error}"
        );
    }
}
