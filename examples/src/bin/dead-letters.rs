//! Lists the events whose last attempt failed, or puts one of them back to work.

use std::process::ExitCode;

use clap::Parser;
use number7_examples::inbox::InboxArgs;
use number7_inbox::BoxError;

/// List the dead letters of an inbox, or put one back to work.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    inbox: InboxArgs,
    /// Put the dead letter of this key back to work
    #[arg(long, value_name = "KEY")]
    requeue: Option<String>,
}

#[tokio::main]
async fn main() -> Result<ExitCode, BoxError> {
    let args = Args::parse();
    let inbox = args.inbox.open().await?;
    match args.requeue {
        Some(key) if inbox.requeue(&key).await? => println!("{key} is back at work"),
        Some(key) => {
            println!("{key} is no dead letter");
            return Ok(ExitCode::FAILURE);
        }
        None => {
            let letters = inbox.dead_letters(100).await?;
            println!("{} dead letters", letters.len());
            for letter in letters {
                println!(
                    "{} after {} attempts: {}",
                    letter.key(),
                    letter.attempts(),
                    letter.error()
                );
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
