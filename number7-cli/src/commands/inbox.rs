use clap::Subcommand;
use number7_inbox::{DeadLetter, Inbox};
use serde_json::{Value, json};

use crate::{
    BoxError, Verdict,
    output::{BAD, Output, styled},
};

/// List, show, requeue or discard the dead letters of an inbox
#[derive(Subcommand)]
#[command(after_long_help = "Examples:
  number7 inbox list --store sqlite:inbox.db
  number7 inbox show job.failed:job_7 --store postgres://localhost/app
  number7 inbox requeue job.failed:job_7 --store redis://localhost/")]
pub(crate) enum Command {
    /// List the events whose last attempt failed, the oldest first
    List {
        /// List at most so many
        #[arg(long, value_name = "N", default_value_t = 100)]
        most: u32,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Show a dead letter: its error, its attempts, and its event
    Show(KeyArgs),
    /// Put a dead letter back to work, with all its attempts
    Requeue(KeyArgs),
    /// Give a dead letter up for good: it is not tried again, and its key is forgotten when the
    /// retention of the workers is over, which is a week by default. Until then a delivery of its key
    /// is answered 200, and not handled
    Discard(KeyArgs),
}

#[derive(clap::Args)]
pub(crate) struct KeyArgs {
    /// The key, such as job.failed:job_7
    key: String,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(clap::Args)]
pub(crate) struct StoreArgs {
    /// The store of the inbox: sqlite:PATH, postgres://… or redis://…
    #[arg(long, value_name = "URL", env = "NUMBER7_STORE", hide_env_values = true, value_parser = store)]
    store: String,
}

fn store(url: &str) -> Result<String, &'static str> {
    const SCHEMES: [&str; 5] = ["sqlite:", "postgres://", "postgresql://", "redis://", "rediss://"];
    match SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
        true => Ok(url.to_owned()),
        false => Err("it begins with sqlite:, postgres:// or redis://"),
    }
}

impl StoreArgs {
    async fn open(&self) -> Result<Inbox, BoxError> {
        // Who asks after letters makes no new file.
        if let Some(path) = self.store.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            std::fs::metadata(path).map_err(|error| format!("{path}: {error}"))?;
        }
        Ok(Inbox::open(&self.store).await?)
    }
}

pub(crate) async fn run(command: Command, output: Output) -> Result<Verdict, BoxError> {
    match command {
        Command::List { most, store } => {
            let letters = store.open().await?.dead_letters(most).await?;
            output.print(|| list(&letters), || letters.iter().map(json).collect());
            Ok(Verdict::Yes)
        }
        Command::Show(KeyArgs { key, store }) => {
            let letter = store.open().await?.dead_letter(&key).await?;
            output.print(
                || letter.as_ref().map_or_else(|| none(&key), show),
                || letter.as_ref().map_or(Value::Null, json),
            );
            Ok(Verdict::from(letter.is_some()))
        }
        Command::Requeue(KeyArgs { key, store }) => {
            let requeued = store.open().await?.requeue(&key).await?;
            Ok(changed(&key, requeued, "is back at work", output))
        }
        Command::Discard(KeyArgs { key, store }) => {
            let discarded = store.open().await?.discard(&key).await?;
            Ok(changed(&key, discarded, "is given up", output))
        }
    }
}

fn changed(key: &str, is_changed: bool, how: &str, output: Output) -> Verdict {
    output.print(
        || if is_changed { format!("{key} {how}") } else { none(key) },
        || json!({ "key": key, "changed": is_changed }),
    );
    Verdict::from(is_changed)
}

fn none(key: &str) -> String {
    format!("{key} is no dead letter")
}

fn list(letters: &[DeadLetter]) -> String {
    let line = |letter: &DeadLetter| {
        let error = styled(BAD, letter.error());
        format!("{} {} after {} attempts: {error}", since(letter), letter.key(), letter.attempts())
    };
    let head = match letters.len() {
        1 => "1 dead letter".into(),
        number => format!("{number} dead letters"),
    };
    [head].into_iter().chain(letters.iter().map(line)).collect::<Vec<_>>().join("\n")
}

fn show(letter: &DeadLetter) -> String {
    format!(
        "key       {}\nattempts  {}\nsince     {}\nerror     {}\nevent     {}",
        letter.key(),
        letter.attempts(),
        since(letter),
        styled(BAD, letter.error()),
        String::from_utf8_lossy(letter.stored().json()),
    )
}

fn json(letter: &DeadLetter) -> Value {
    let event: Option<Value> = serde_json::from_slice(letter.stored().json()).ok();
    json!({
        "key": letter.key(),
        "attempts": letter.attempts(),
        "since": since(letter),
        "error": letter.error(),
        "event": event,
    })
}

fn since(letter: &DeadLetter) -> String {
    jiff::Timestamp::try_from(letter.since())
        .map_or_else(|_| String::new(), |time| time.to_string())
}
