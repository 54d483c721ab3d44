//! Recorded deliveries, as newline-delimited JSON: one object a line.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};

use crate::{BoxError, client::Message};

/// A verified delivery.
#[derive(Deserialize, Serialize)]
pub(crate) struct Recorded {
    /// When it came, in RFC 3339.
    pub(crate) time: String,
    /// The name of the event and its job, if it has both.
    pub(crate) key: Option<String>,
    pub(crate) event: Option<String>,
    headers: Vec<(String, Bytes)>,
    body: Bytes,
}

/// Bytes: a text where they are one, else base64.
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

    /// Appends it, whole, to a file.
    pub(crate) fn append_to(&self, mut file: &File) -> Result<(), BoxError> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(file.write_all(&line)?)
    }
}

/// Reads all recorded deliveries.
pub(crate) fn read(file: &Path) -> Result<Vec<Recorded>, BoxError> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let lines = BufReader::new(File::open(file).map_err(|error| named(&error))?).lines();
    let mut recorded = Vec::new();
    for (number, line) in lines.enumerate() {
        let line = line.map_err(|error| named(&error))?;
        let at = |error: &dyn std::fmt::Display| {
            format!("{}: line {} is no recorded delivery: {error}", file.display(), number + 1)
        };
        recorded.push(serde_json::from_str(&line).map_err(|error| at(&error))?);
    }
    Ok(recorded)
}
