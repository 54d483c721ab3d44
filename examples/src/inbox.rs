//! The store of an inbox, as the examples are told it.

use std::{env, fs, io, path::PathBuf};

use clap::{Args, ValueEnum};
use number7_inbox::{BoxError, Inbox};

/// Which inbox.
#[derive(Args)]
pub struct InboxArgs {
    /// The store of the inbox
    #[arg(long, value_enum, default_value = "sqlite")]
    engine: Engine,
    /// Its URL; of sqlite, a folder or a file [default: number7-inbox in the temporary folder]
    #[arg(long)]
    url: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    Sqlite,
    Postgres,
    Redis,
}

impl InboxArgs {
    /// Opens it. This is where the stores differ, and nowhere else.
    ///
    /// # Errors
    ///
    /// The store cannot be opened, or needs a URL.
    pub async fn open(self) -> Result<Inbox, BoxError> {
        let needs_url = || "this engine needs a --url";
        Ok(match self.engine {
            Engine::Sqlite => Inbox::sqlite(file(self.url)?).await?,
            Engine::Postgres => Inbox::postgres(self.url.ok_or_else(needs_url)?).await?,
            Engine::Redis => Inbox::redis(self.url.ok_or_else(needs_url)?).await?,
        })
    }
}

/// A file, or `inbox.db` in a folder, which is made if it is not there.
fn file(url: Option<String>) -> io::Result<PathBuf> {
    let path = match &url {
        Some(url) => url.trim_start_matches("sqlite:").trim_start_matches("//").into(),
        None => env::temp_dir().join("number7-inbox"),
    };
    let path = match path.extension() {
        Some(_) if !path.is_dir() => path,
        _ => {
            fs::create_dir_all(&path)?;
            path.join("inbox.db")
        }
    };
    eprintln!("the inbox is in {}", path.display());
    Ok(path)
}
