//! Which inbox to open.

use clap::{Error, error::ErrorKind};
use number7_inbox::{Inbox, InboxOptions};

use crate::BoxError;

#[derive(clap::Args)]
pub(crate) struct StoreArgs {
    /// The store of the inbox: sqlite:PATH, postgres://…, redis://… or redis+sentinel://…
    #[arg(long, value_name = "URL", env = "NUMBER7_STORE", hide_env_values = true)]
    store: String,
    /// The name of the inbox, if the receiver opens it by Inbox::named
    #[arg(long, value_name = "NAME", value_parser = name)]
    inbox: Option<String>,
    /// The schema of the inbox on PostgreSQL, if it is not `number7`
    #[arg(long, value_name = "NAME")]
    schema: Option<String>,
}

pub(super) fn name(name: &str) -> Result<String, &'static str> {
    match Inbox::is_name(name) {
        true => Ok(name.to_owned()),
        false => Err("use up to 64 letters, digits, -, _ or ."),
    }
}

impl StoreArgs {
    /// The URL, if it is the URL of a store.
    pub(crate) fn url(&self) -> &str {
        // clap would print the value, which may have a password.
        if !Inbox::is_url(&self.store) {
            let text = "invalid value for '--store <URL>': use sqlite:, postgres://, redis:// or \
                redis+sentinel://\n";
            Error::raw(ErrorKind::ValueValidation, text).exit();
        }
        &self.store
    }

    /// Its name, if it has one.
    pub(crate) fn inbox(&self) -> Option<&String> {
        self.inbox.as_ref()
    }

    pub(crate) fn options(&self) -> InboxOptions {
        match &self.schema {
            Some(schema) => Inbox::options().schema(schema),
            None => Inbox::options(),
        }
    }

    pub(crate) async fn open(&self) -> Result<Inbox, BoxError> {
        let inbox = self.options().migrate(false).open(self.url()).await?;
        Ok(match &self.inbox {
            Some(name) => inbox.named(name)?,
            None => inbox,
        })
    }
}
