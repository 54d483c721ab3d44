use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::{BoxError, Verdict};

/// Print the completions for a shell
///
/// For bash, put them where it looks for them:
///
///   number7 completions bash > ~/.local/share/bash-completion/completions/number7
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run<C: CommandFactory>(args: &Args) -> Result<Verdict, BoxError> {
    let mut script = Vec::new();
    generate(args.shell, &mut C::command(), "number7", &mut script);
    _ = io::stdout().write_all(&script);
    Ok(Verdict::Yes)
}
