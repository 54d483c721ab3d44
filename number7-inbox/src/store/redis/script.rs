//! Scripts, and calls of them.

use std::{mem, sync::Arc};

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, ToRedisArgs, Value};

use super::connection::Connection;

/// A script, from the parts that are joined: `script!("events", "requeue")`.
macro_rules! script {
    ($($name:literal),+) => {{
        static CODE: &str = concat!(
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/redis/keys.lua")),
            $(include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"), "/src/store/redis/", $name, ".lua"
            ))),+
        );
        static DIGEST: std::sync::LazyLock<String> =
            std::sync::LazyLock::new(|| redis::Script::new(CODE).get_hash().to_owned());
        $crate::store::redis::script::Script { code: CODE, digest: &DIGEST }
    }};
}
pub(super) use script;

#[derive(Clone, Copy)]
pub(super) struct Script {
    pub(super) code: &'static str,
    pub(super) digest: &'static str,
}

/// A call of a script, with its arguments. It names all keys of the inbox, or only the first ones.
pub(super) struct Call {
    script: Script,
    keys: Arc<[String]>,
    first: usize,
    args: Vec<Vec<u8>>,
}

impl Call {
    pub(super) fn new(script: Script, keys: Arc<[String]>) -> Self {
        Self { script, first: keys.len(), keys, args: Vec::new() }
    }

    /// Names only this many of the keys.
    pub(super) fn first_keys(&mut self, first: usize) -> &mut Self {
        self.first = first;
        self
    }

    pub(super) fn arg(&mut self, arg: impl ToRedisArgs) -> &mut Self {
        arg.write_redis_args(&mut self.args);
        self
    }

    /// One of the keys, which stands for the inbox.
    pub(super) fn inbox(&self) -> &str {
        &self.keys[0]
    }

    /// The finished call, for a caller that needs to own it.
    pub(super) fn take(&mut self) -> Self {
        Self { keys: Arc::clone(&self.keys), args: mem::take(&mut self.args), ..*self }
    }

    /// Names the script by its digest, which the server may not know.
    fn by_digest(&self) -> Cmd {
        self.command("EVALSHA", self.script.digest)
    }

    /// Sends the script itself. From then on the server knows its digest.
    pub(super) fn by_code(&self) -> Cmd {
        self.command("EVAL", self.script.code)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let keys = &self.keys[..self.first];
        let mut command = redis::cmd(name);
        command.arg(script).arg(keys.len()).arg(keys).arg(&self.args);
        command
    }

    pub(super) async fn make(&self, mut connection: Connection) -> Result<Value, RedisError> {
        match self.by_digest().query_async(&mut connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.by_code().query_async(&mut connection).await
            }
            answer => answer,
        }
    }
}
