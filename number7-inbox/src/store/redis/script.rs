//! The scripts, and the calls of them.

use std::mem;

use redis::{
    Cmd, ErrorKind, RedisError, ServerErrorKind, ToRedisArgs, Value, aio::MultiplexedConnection,
};

/// A call of a script, by the parts of it that are joined: `script!("note", "requeue")`.
macro_rules! script {
    ($($name:literal),+) => {{
        static CODE: &str = concat!($(include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"), "/src/engine/redis/", $name, ".lua"
        ))),+);
        static DIGEST: std::sync::LazyLock<String> =
            std::sync::LazyLock::new(|| redis::Script::new(CODE).get_hash().to_owned());
        $crate::engine::redis::script::Call::new(CODE, &DIGEST)
    }};
}
pub(super) use script;

/// A call of a script, with its arguments.
pub(super) struct Call {
    code: &'static str,
    digest: &'static str,
    keys: Vec<Vec<u8>>,
    args: Vec<Vec<u8>>,
}

impl Call {
    pub(super) fn new(code: &'static str, digest: &'static str) -> Self {
        Self { code, digest, keys: Vec::new(), args: Vec::new() }
    }

    pub(super) fn key(&mut self, key: impl ToRedisArgs) -> &mut Self {
        key.write_redis_args(&mut self.keys);
        self
    }

    pub(super) fn arg(&mut self, arg: impl ToRedisArgs) -> &mut Self {
        arg.write_redis_args(&mut self.args);
        self
    }

    /// What was put together, for a caller that needs to own it.
    pub(super) fn take(&mut self) -> Self {
        let Self { code, digest, .. } = *self;
        Self { code, digest, keys: mem::take(&mut self.keys), args: mem::take(&mut self.args) }
    }

    /// Names the script by its digest, which the server may not know.
    fn by_digest(&self) -> Cmd {
        self.command("EVALSHA", self.digest)
    }

    /// Carries the script, which the server knows by its digest from then on.
    pub(super) fn by_code(&self) -> Cmd {
        self.command("EVAL", self.code)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.args);
        command
    }

    pub(super) async fn make(
        &self,
        mut connection: MultiplexedConnection,
    ) -> Result<Value, RedisError> {
        match self.by_digest().query_async(&mut connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.by_code().query_async(&mut connection).await
            }
            answer => answer,
        }
    }
}
