use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use number7_client::{Document, DocumentType};
use serde_json::json;

use crate::{
    BoxError, Verdict,
    api::ApiArgs,
    output::{FAINT, Output, styled},
};

/// Upload a document, and print the id of its job
///
/// A document that may have arrived is not sent again, because a second upload creates a second job.
#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  number7 upload invoice.pdf
  number7 upload --type bank_statement april.pdf
  number7 upload --api http://127.0.0.1:4000/api/v1 invoice.pdf")]
pub(crate) struct Args {
    /// The document
    file: PathBuf,
    /// Its type: invoice, grn, bank_statement, aadhar_card, pan_card, or a newer one
    #[arg(long = "type", value_name = "TYPE", default_value = "invoice")]
    document_type: String,
    /// Its MIME type. By default it is derived from the name
    #[arg(long, value_name = "TYPE")]
    mime_type: Option<String>,
    #[command(flatten)]
    api: ApiArgs,
}

pub(crate) async fn run(args: Args, output: Output) -> Result<Verdict, BoxError> {
    let client = args.api.client()?;
    let bytes = tokio::fs::metadata(&args.file).await.map_or(0, |metadata| metadata.len());
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left")?;
    // It is drawn only on a terminal.
    let bar = ProgressBar::new(bytes).with_style(style);
    let mut document = Document::from_path(DocumentType::from(args.document_type), &args.file);
    if let Some(mime_type) = args.mime_type {
        document = document.mime_type(mime_type);
    }
    let sent = bar.clone();
    let upload = client.upload(document.on_progress(move |bytes| sent.set_position(bytes))).await;
    bar.finish_and_clear();
    let upload = upload?;
    let (job, status) = (upload.job_id.as_str(), upload.file_status.as_str());
    output.print(
        || format!("{job} {}", styled(FAINT, status)),
        || json!({ "jobId": job, "fileStatus": status }),
    );
    Ok(Verdict::Yes)
}
