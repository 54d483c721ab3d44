//! Real database servers, on the loopback and in temporary folders, which end with the test.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::patience::PATIENCE;

/// The program, if the build found it.
const INITDB: Option<&str> = option_env!("INITDB");
const REDIS_SERVER: Option<&str> = option_env!("REDIS_SERVER");
const PGBOUNCER: Option<&str> = option_env!("PGBOUNCER");

/// Runs a server, prints its process id, and stops it when the test ends for any reason: then the standard input
/// ends. It also deletes the folder of the server, unless it was told to [keep](KEEP) that. A server that all tests
/// of a program share is never dropped.
const KEEPER: &str = r#"
log=$1; folder=$2; shift 2
"$@" </dev/null >>"$log" 2>&1 &
pid=$!
echo $pid
keeps=$(cat)
# PostgreSQL at once, and Redis, to which the shell has forbidden QUIT.
kill -QUIT $pid 2>/dev/null
kill -TERM $pid 2>/dev/null
# A Redis that writes its first append-only file as a replica takes no TERM.
(sleep 5; kill -KILL $pid) >/dev/null 2>&1 &
wait $pid
kill $! 2>/dev/null
[ -n "$keeps" ] || rm -rf "$folder"
"#;

/// Tells the keeper to leave the folder.
const KEEP: &[u8] = b"keep";

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// PostgreSQL.
    Postgres,
    /// Redis, with its append-only file synced at every write.
    Redis,
    /// A Sentinel, which watches a Redis.
    Sentinel,
    /// A pooler in front of PostgreSQL.
    Pgbouncer,
}

/// A server that belongs to the test.
pub struct Server {
    engine: Engine,
    args: Vec<String>,
    folder: TempDir,
    port: u16,
    keeper: Child,
    pid: u32,
}

impl Server {
    /// Starts a server on a free port.
    #[must_use]
    #[track_caller]
    pub fn start(engine: Engine) -> Self {
        Self::start_with(engine, &[])
    }

    /// Starts a server with more arguments.
    #[must_use]
    #[track_caller]
    pub fn start_with(engine: Engine, args: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("number7-").tempdir().unwrap();
        if engine == Engine::Postgres {
            own(folder.path());
            let mut init = unprivileged(&postgres("initdb"));
            init.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"]);
            finish(init.arg("-D").arg(folder.path().join("data")), folder.path());
        }
        Self::run(engine, folder, args)
    }

    /// Starts a standby of a PostgreSQL, which streams from it until it is promoted.
    #[must_use]
    #[track_caller]
    pub fn standby(primary: &Self) -> Self {
        let folder = tempfile::Builder::new().prefix("number7-").tempdir().unwrap();
        own(folder.path());
        let mut copy = unprivileged(&postgres("pg_basebackup"));
        copy.args(["-h", "127.0.0.1", "-p", &primary.port.to_string(), "-U", "postgres"]);
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
        finish(copy.arg("-D").arg(folder.path().join("data")), folder.path());
        Self::run(Engine::Postgres, folder, &[])
    }

    /// Starts a pooler in front of PostgreSQL, in one of its modes.
    #[must_use]
    #[track_caller]
    pub fn pooler(server: &Self, mode: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("number7-").tempdir().unwrap();
        let file = |name: &str, text: String| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            own(&path);
            path.to_str().unwrap().to_owned()
        };
        let users = file("users", "\"postgres\" \"\"".into());
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\npool_mode = {mode}\n\
             auth_type = trust\nauth_file = {users}\nlisten_addr = 127.0.0.1\nunix_socket_dir =\n\
             ignore_startup_parameters = extra_float_digits\n",
            server.port
        );
        file("settings", settings);
        own(folder.path());
        Self::run(Engine::Pgbouncer, folder, &[])
    }

    /// Starts a Sentinel that watches a Redis as `main`, with further lines of configuration.
    #[must_use]
    #[track_caller]
    pub fn sentinel(master: &Self, lines: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("number7-").tempdir().unwrap();
        let settings = format!(
            "bind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n{}\n",
            folder.path().display(),
            master.port,
            lines.join("\n")
        );
        std::fs::write(folder.path().join("settings"), settings).unwrap();
        Self::run(Engine::Sentinel, folder, &[])
    }

    #[track_caller]
    fn run(engine: Engine, folder: TempDir, args: &[&str]) -> Self {
        let args: Vec<_> = args.iter().map(ToString::to_string).collect();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (keeper, pid) = run(engine, &folder, port, &args);
        Self { engine, args, folder, port, keeper, pid }
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database on it, through another port if that belongs to a proxy.
    #[must_use]
    pub fn url(&self, port: u16, database: &str) -> String {
        match self.engine {
            Engine::Postgres | Engine::Pgbouncer => {
                format!("postgres://postgres@127.0.0.1:{port}/{database}")
            }
            Engine::Redis | Engine::Sentinel => format!("redis://127.0.0.1:{port}/{database}"),
        }
    }

    /// Sends a signal, such as `STOP` or `CONT`, to the server and its children.
    pub fn signal(&self, signal: &str) {
        let children = Command::new("ps")
            .args(["-o", "pid=", "--ppid", &self.pid.to_string()])
            .output()
            .unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        let pids = children.split_whitespace().map(str::to_owned).chain([self.pid.to_string()]);
        let flag = format!("-{signal}");
        // A child may have ended by itself.
        _ = Command::new("kill").arg(flag).args(pids).stderr(Stdio::null()).status().unwrap();
    }

    /// Kills it like a crash, and waits until it is gone.
    #[track_caller]
    pub fn kill(&mut self) {
        self.signal("KILL");
        if let Some(mut keeper) = self.keeper.stdin.take() {
            keeper.write_all(KEEP).unwrap();
        }
        assert!(ended(&mut self.keeper).is_some(), "it does not end: {}", self.log());
    }

    /// Starts it again on the same port and data.
    #[track_caller]
    pub fn restart(&mut self) {
        (self.keeper, self.pid) = run(self.engine, &self.folder, self.port, &self.args);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal("CONT");
        drop(self.keeper.stdin.take());
        if ended(&mut self.keeper).is_none() {
            eprintln!("the {:?} at port {} does not end", self.engine, self.port);
        }
    }
}

fn run(engine: Engine, folder: &TempDir, port: u16, args: &[String]) -> (Child, u32) {
    let data = folder.path().join("data");
    let (data, port_text) = (data.to_str().unwrap(), port.to_string());
    let mut command = match engine {
        Engine::Postgres => {
            // A crash leaves this behind, and its process id may belong to another process by now.
            _ = std::fs::remove_file(folder.path().join("data/postmaster.pid"));
            let mut command = unprivileged(&postgres("postgres"));
            command.args(["-D", data, "-p", &port_text, "-h", "127.0.0.1", "-k", ""]);
            command.args(["-c", "max_connections=300", "-c", "shared_buffers=32MB"]);
            command
        }
        Engine::Redis => {
            let program = REDIS_SERVER.expect("redis-server is not installed");
            let mut command = Command::new(program);
            command.args(["--port", &port_text, "--bind", "127.0.0.1", "--databases", "1000"]);
            command.args(["--dir", folder.path().to_str().unwrap(), "--save", ""]);
            command.args(["--appendonly", "yes", "--appendfsync", "always"]);
            command.args(["--maxmemory-policy", "noeviction"]);
            command
        }
        Engine::Sentinel => {
            let settings = folder.path().join("settings");
            let mut file = File::options().append(true).open(&settings).unwrap();
            writeln!(file, "port {port}").unwrap();
            let mut command = Command::new(REDIS_SERVER.expect("redis-server is not installed"));
            command.arg(settings).arg("--sentinel");
            command
        }
        Engine::Pgbouncer => {
            let settings = folder.path().join("settings");
            let mut file = File::options().append(true).open(&settings).unwrap();
            writeln!(file, "listen_port = {port}").unwrap();
            let program = PGBOUNCER.expect("pgbouncer is not installed");
            let mut command = unprivileged(Path::new(program));
            command.arg(settings);
            command
        }
    };
    keep(command.args(args), folder.path(), port)
}

/// Runs a server until the standard input of its keeper ends, and waits until it listens. Returns the keeper, and
/// the process id of the server.
pub(crate) fn keep(command: &Command, folder: &Path, port: u16) -> (Child, u32) {
    let log = folder.join("log");
    File::options().create(true).append(true).open(&log).unwrap();
    let mut keeper = Command::new("sh")
        .args(["-c", KEEPER, "keeper", log.to_str().unwrap(), folder.to_str().unwrap()])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut pid = String::new();
    BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let is_over = keeper.try_wait().unwrap().is_some() || begun.elapsed() > PATIENCE;
        assert!(!is_over, "no start: {}", std::fs::read_to_string(&log).unwrap());
        sleep(Duration::from_millis(20));
    }
    (keeper, pid.trim().parse().unwrap())
}

/// Runs a program that must end by itself, with success.
#[track_caller]
fn finish(command: &mut Command, folder: &Path) {
    let log = folder.join("log");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
    let mut process = command.spawn().unwrap();
    let status = ended(&mut process);
    if status.is_none() {
        _ = process.kill();
    }
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(status.is_some_and(|status| status.success()), "{command:?}: {status:?}: {said}");
}

/// Waits a short time for the end of a process. `None` if it does not end.
pub(crate) fn ended(process: &mut Child) -> Option<ExitStatus> {
    let begun = Instant::now();
    loop {
        let status = process.try_wait().unwrap();
        if status.is_some() || begun.elapsed() > PATIENCE {
            return status;
        }
        sleep(Duration::from_millis(5));
    }
}

/// Another program of PostgreSQL, beside the one that the build found.
fn postgres(program: &str) -> PathBuf {
    let initdb = INITDB.expect("PostgreSQL is not installed");
    // The one in the path may be a link, and not all programs are beside that.
    Path::new(initdb).canonicalize().unwrap().with_file_name(program)
}

/// As the user nobody, if the tests run as root, because PostgreSQL refuses to run as root.
pub(crate) fn unprivileged(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program);
    command.current_dir("/");
    command
}

pub(crate) fn own(folder: &Path) {
    if is_root() {
        let status = Command::new("chown").arg("nobody").arg(folder).status().unwrap();
        assert!(status.success());
    }
}

/// Whether the tests run as root.
#[must_use]
pub fn is_root() -> bool {
    Command::new("id").arg("-u").output().unwrap().stdout.trim_ascii() == b"0"
}
