//! Recorded deliveries, as newline-delimited JSON: one object a line.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};

use crate::{BoxError, client::Message, output::warn};

/// A verified delivery.
#[derive(Deserialize, Serialize)]
pub(crate) struct Recorded {
    /// When it arrived, in RFC 3339.
    pub(crate) time: String,
    /// The name of the event and its job, if it has both.
    pub(crate) key: Option<String>,
    pub(crate) event: Option<String>,
    headers: Vec<(String, Bytes)>,
    body: Bytes,
}

/// Bytes: as a string if they are UTF-8, else as base64.
#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Bytes {
    Text(String),
    Base64 { base64: String },
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.into()),
            Err(_) => Self::Base64 { base64: BASE64_STANDARD.encode(bytes) },
        }
    }
}

impl Bytes {
    fn bytes(&self) -> Result<Vec<u8>, BoxError> {
        Ok(match self {
            Self::Text(text) => text.clone().into(),
            Self::Base64 { base64 } => BASE64_STANDARD.decode(base64)?,
        })
    }
}

impl Recorded {
    pub(crate) fn new(message: &Message, event: Option<String>, key: Option<String>) -> Self {
        let header = |(name, value): &(String, Vec<u8>)| (name.clone(), value.as_slice().into());
        Self {
            time: format!("{:.3}", jiff::Timestamp::now()),
            key,
            event,
            headers: message.headers.iter().map(header).collect(),
            body: message.body.as_slice().into(),
        }
    }

    pub(crate) fn message(&self) -> Result<Message, BoxError> {
        let header = |(name, value): &(String, Bytes)| Ok((name.clone(), value.bytes()?));
        let headers = self.headers.iter().map(header).collect::<Result<_, BoxError>>()?;
        Ok(Message { headers, body: self.body.bytes()? })
    }
}

/// A file that deliveries are appended to.
pub(crate) struct Recording(Mutex<File>);

impl Recording {
    pub(crate) fn append_to(path: &Path) -> Result<Self, BoxError> {
        let opened = File::options().create(true).read(true).append(true).open(path);
        let file = opened.map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(Mutex::new(file)))
    }

    /// Appends a delivery as a whole line, or nothing.
    pub(crate) fn add(&self, recorded: &Recorded) -> Result<(), BoxError> {
        let mut line = serde_json::to_vec(recorded)?;
        line.push(b'\n');
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = file.metadata()?.len();
        if let Err(error) = file.write_all(&line) {
            // The rest of a broken line would merge with the next one.
            file.set_len(before)?;
            return Err(error.into());
        }
        Ok(())
    }
}

/// Reads all recorded deliveries. Other lines are skipped with a warning.
pub(crate) fn read(file: &Path) -> Result<Vec<Recorded>, BoxError> {
    let named = |error: io::Error| format!("{}: {error}", file.display());
    let mut recorded = Vec::new();
    for (number, line) in BufReader::new(File::open(file).map_err(named)?).lines().enumerate() {
        let line = line.map_err(named)?;
        match serde_json::from_str(&line) {
            Ok(delivery) => recorded.push(delivery),
            Err(_) if line.trim().is_empty() => {}
            Err(error) => warn(&format!(
                "{}: line {} is not a recorded delivery, and is skipped: {error}",
                file.display(),
                number + 1
            )),
        }
    }
    Ok(recorded)
}
