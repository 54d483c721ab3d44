//! Documents to upload.

use std::{
    fmt, io,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use number7_core::DocumentType;
use reqwest::{
    Body,
    multipart::{Form, Part},
};
use tokio::{fs::File, io::AsyncRead};
use tokio_util::io::ReaderStream;

use crate::{Error, ErrorKind, Result, error::Unreadable};

/// A document to upload: its content, its name and its type.
///
/// # Example
///
/// ```
/// use number7_client::{Document, DocumentType};
///
/// let invoice = Document::from_path(DocumentType::Invoice, "inbox/invoice-4711.pdf");
/// let scan = Document::from_bytes(DocumentType::Grn, "scan.bin", vec![0x49, 0x49, 0x2a, 0x00])
///     .mime_type("image/tiff");
/// ```
pub struct Document {
    document_type: DocumentType,
    name: Option<String>,
    mime_type: Option<String>,
    content: Content,
    progress: Option<Arc<Progress>>,
}

type Progress = dyn Fn(u64) + Send + Sync;

enum Content {
    Path(PathBuf),
    Bytes(Bytes),
    /// It is gone once it was sent.
    Reader {
        reader: Mutex<Option<Pin<Box<dyn AsyncRead + Send>>>>,
        length: Option<u64>,
    },
}

impl Document {
    /// A file. It is read while it is sent, and never loaded completely.
    ///
    /// Its name is that of the file, and its MIME type is derived from the extension.
    pub fn from_path(document_type: impl Into<DocumentType>, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        Self::new(document_type.into(), name, Content::Path(path))
    }

    /// Bytes in memory, with a file name that has an extension, such as `invoice.pdf`. The MIME type is derived
    /// from the extension.
    pub fn from_bytes(
        document_type: impl Into<DocumentType>,
        name: impl Into<String>,
        bytes: impl Into<Bytes>,
    ) -> Self {
        Self::new(document_type.into(), Some(name.into()), Content::Bytes(bytes.into()))
    }

    /// Anything that can be read, with a file name that has an extension. It is read while it is sent.
    ///
    /// It can be sent only once. So a refused connection or a 429 ends the upload. With a path or with bytes, the
    /// client would try again.
    pub fn from_reader(
        document_type: impl Into<DocumentType>,
        name: impl Into<String>,
        reader: impl AsyncRead + Send + 'static,
    ) -> Self {
        let reader: Pin<Box<dyn AsyncRead + Send>> = Box::pin(reader);
        let content = Content::Reader { reader: Mutex::new(Some(reader)), length: None };
        Self::new(document_type.into(), Some(name.into()), content)
    }

    fn new(document_type: DocumentType, name: Option<String>, content: Content) -> Self {
        Self { document_type, name, mime_type: None, content, progress: None }
    }

    /// The name, with an extension. Unless it is set, a document from a path has the name of its file.
    #[must_use]
    pub fn file_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The MIME type, such as `application/pdf`. Unless it is set, it is derived from the extension of the name, and is
    /// `application/octet-stream` if that is unknown.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> Self {
        self.mime_type = Some(mime_type.into());
        self
    }

    /// The length in bytes of what [`from_reader`](Self::from_reader) reads. If it is known, the request has a
    /// `Content-Length`, and is not chunked. If it is wrong, the upload fails. For other documents it has no effect.
    #[must_use]
    pub fn length(mut self, bytes: u64) -> Self {
        if let Content::Reader { length, .. } = &mut self.content {
            *length = Some(bytes);
        }
        self
    }

    /// Calls a function whenever a part of the content is handed to the connection, with the number of bytes so far. If the
    /// document is sent again, the number starts again.
    #[must_use]
    pub fn on_progress(mut self, sent: impl Fn(u64) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(sent));
        self
    }

    pub(crate) fn document_type(&self) -> &DocumentType {
        &self.document_type
    }

    /// Whether it can be sent another time.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self.content, Content::Reader { .. })
    }

    /// The form of an upload.
    pub(crate) async fn form(&self) -> Result<Form> {
        let Some(name) = self.name.clone().filter(|name| !name.is_empty()) else {
            return Err(Error::new(ErrorKind::Document, "the document has no file name"));
        };
        let mime_type = match &self.mime_type {
            Some(mime_type) => mime_type.clone(),
            None => mime_guess::from_path(&name).first_or_octet_stream().to_string(),
        };
        let file = self.part().await?.file_name(name.clone()).mime_str(&mime_type);
        let file =
            file.map_err(|_| Error::new(ErrorKind::Document, "the MIME type is malformed"))?;
        Ok(Form::new().part("file", file).text("fileName", name).text("fileType", mime_type))
    }

    async fn part(&self) -> Result<Part> {
        let unreadable = |what: &str, error: io::Error| {
            Error::new(ErrorKind::Document, format!("{what}: {error}"))
        };
        match &self.content {
            Content::Path(path) => {
                let path_error = |error| unreadable(&path.display().to_string(), error);
                // Opening a pipe would wait for its writer.
                let metadata = tokio::fs::metadata(path).await.map_err(path_error)?;
                if !metadata.is_file() {
                    let text = format!("{}: not a file", path.display());
                    return Err(Error::new(ErrorKind::Document, text));
                }
                let file = File::open(path).await.map_err(path_error)?;
                Ok(self.read(file, Some(metadata.len())))
            }
            Content::Bytes(bytes) => {
                let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                Ok(self.read(io::Cursor::new(bytes.clone()), Some(length)))
            }
            Content::Reader { reader, length } => {
                let reader = reader.lock().unwrap_or_else(PoisonError::into_inner).take();
                let Some(reader) = reader else {
                    return Err(Error::new(ErrorKind::Document, "the document was read already"));
                };
                Ok(self.read(reader, *length))
            }
        }
    }

    fn read(&self, reader: impl AsyncRead + Send + 'static, length: Option<u64>) -> Part {
        let progress = self.progress.clone();
        let parts = Box::pin(ReaderStream::with_capacity(reader, PART));
        let parts = stream::try_unfold((parts, 0), move |(mut parts, sent)| {
            let progress = progress.clone();
            async move {
                let part = parts.try_next().await.map_err(Unreadable::Failed)?;
                let sent = sent + part.as_ref().map_or(0, |part| part.len() as u64);
                // A part that is too long would be cut off, and one that is too short would be waited for.
                match (length, &part) {
                    (Some(length), Some(_)) if sent > length => {
                        return Err(Unreadable::Longer(length));
                    }
                    (Some(length), None) if sent < length => {
                        return Err(Unreadable::Shorter(length));
                    }
                    _ => {}
                }
                if let (Some(progress), Some(_)) = (&progress, &part) {
                    progress(sent);
                }
                Ok(part.map(|part| (part, (parts, sent))))
            }
        });
        let body = Body::wrap_stream(parts);
        match length {
            Some(length) => Part::stream_with_length(body, length),
            None => Part::stream(body),
        }
    }
}

/// How much is read at a time: 64 KiB.
const PART: usize = 64 * 1024;

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document")
            .field("document_type", &self.document_type)
            .field("name", &self.name)
            .field("mime_type", &self.mime_type)
            .finish_non_exhaustive()
    }
}
