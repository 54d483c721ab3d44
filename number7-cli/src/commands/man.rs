use std::path::PathBuf;

use clap::CommandFactory;

use crate::{BoxError, Verdict};

/// Write the man pages into a folder
///
/// For yourself, put them where `man` looks for them:
///
///   mkdir -p ~/.local/share/man/man1 && number7 man ~/.local/share/man/man1
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The folder, which has to exist
    folder: PathBuf,
}

pub(crate) fn run<C: CommandFactory>(args: &Args) -> Result<Verdict, BoxError> {
    clap_mangen::generate_to(C::command(), &args.folder)
        .map_err(|error| format!("{}: {error}", args.folder.display()))?;
    Ok(Verdict::Yes)
}
