//! `number7`: the command line for Number7 AI's webhooks.
#![expect(clippy::doc_markdown, reason = "clap prints doc comments as they are")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod api;
mod client;
mod commands;
mod connection;
mod duration;
mod many;
mod output;
mod recording;
mod secret;
mod tls;

use commands::{
    completions, doctor, inbox, listen, man, replay, result, sandbox, send, sign, upload, verify,
};
use output::Output;

/// Sign, verify, send, receive and replay Number7 AI's webhooks, check a receiver, look after an inbox,
/// upload documents, and stand in for the vendor.
#[derive(Parser)]
#[command(name = "number7", version, after_help = STATUS)]
struct Args {
    /// Print JSON, for scripts
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const STATUS: &str = "Exit status:
  0  yes: verified, delivered, all rules kept, done
  1  no: a signature, a delivery, a job or a rule failed, or there is no such key or job
  2  the arguments are wrong
  3  it could not be found out: a file, a connection or a store failed";

#[derive(Subcommand)]
enum Command {
    Sign(sign::Args),
    Verify(verify::Args),
    Send(send::Args),
    Listen(listen::Args),
    Replay(replay::Args),
    Doctor(doctor::Args),
    Sandbox(sandbox::Args),
    Upload(upload::Args),
    Result(result::Args),
    #[command(subcommand)]
    Inbox(inbox::Command),
    Completions(completions::Args),
    Man(man::Args),
}

/// The result of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Yes,
    No,
}

impl From<bool> for Verdict {
    fn from(is_good: bool) -> Self {
        if is_good { Self::Yes } else { Self::No }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let args = Args::parse();
    let output = Output::new(args.json);
    let verdict = match args.command {
        Command::Sign(args) => sign::run(&args, output),
        Command::Verify(args) => verify::run(&args, output),
        Command::Send(args) => send::run(&args, output),
        Command::Listen(args) => on_runtime(listen::run(args, output)),
        Command::Replay(args) => replay::run(&args, output),
        Command::Doctor(args) => on_runtime(doctor::run(args, output)),
        Command::Sandbox(args) => on_runtime(sandbox::run(args, output)),
        Command::Upload(args) => on_runtime(upload::run(args, output)),
        Command::Result(args) => on_runtime(result::run(args, output)),
        Command::Inbox(command) => on_runtime(inbox::run(command, output)),
        Command::Completions(args) => completions::run::<Args>(&args),
        Command::Man(args) => man::run::<Args>(&args),
    };
    match verdict {
        Ok(Verdict::Yes) => ExitCode::SUCCESS,
        Ok(Verdict::No) => ExitCode::from(1),
        Err(error) => {
            output.error(&*error);
            ExitCode::from(3)
        }
    }
}

fn on_runtime(
    command: impl Future<Output = Result<Verdict, BoxError>>,
) -> Result<Verdict, BoxError> {
    tokio::runtime::Runtime::new()?.block_on(command)
}
