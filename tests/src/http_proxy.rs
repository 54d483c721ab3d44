//! nginx and HAProxy in front of a receiver, on the loopback, which end with the test.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Child,
};

use tempfile::TempDir;

use crate::engine::{ended, keep, own, unprivileged};

/// The program, if the build found it.
const NGINX: Option<&str> = option_env!("NGINX");
const HAPROXY: Option<&str> = option_env!("HAPROXY");

/// A proxy that belongs to the test.
pub struct HttpProxy {
    /// Where it listens.
    pub addr: SocketAddr,
    keeper: Child,
    _folder: TempDir,
}

impl HttpProxy {
    /// Starts nginx with its defaults, and with further lines for the location of the receiver.
    #[must_use]
    pub fn nginx(receiver: SocketAddr, lines: &str) -> Self {
        let program = NGINX.expect("nginx is not installed");
        Self::start(program, &["-e", "stderr", "-c"], |addr, folder| {
            let folder = folder.display();
            let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|name| format!("{name}_temp_path {folder}/{name};"))
                .concat();
            format!(
                "daemon off; pid {folder}/pid; events {{}}
                http {{ access_log off; {paths}
                    server {{ listen {addr}; location / {{ proxy_pass http://{receiver}; {lines} }} }} }}"
            )
        })
    }

    /// Starts HAProxy with its defaults, and with timeouts, because it warns without them.
    #[must_use]
    pub fn haproxy(receiver: SocketAddr) -> Self {
        let program = HAPROXY.expect("haproxy is not installed");
        Self::start(program, &["-f"], |addr, _| {
            format!(
                "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
                 listen receiver\n bind {addr}\n server receiver {receiver}\n"
            )
        })
    }

    fn start(
        program: &str,
        args: &[&str],
        settings: impl FnOnce(SocketAddr, &Path) -> String,
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("number7-").tempdir().unwrap();
        own(folder.path());
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let path = folder.path().join("settings");
        std::fs::write(&path, settings(addr, folder.path())).unwrap();
        own(&path);
        let mut command = unprivileged(Path::new(program));
        let (keeper, _) = keep(command.args(args).arg(&path), folder.path(), port);
        Self { addr, keeper, _folder: folder }
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        if ended(&mut self.keeper).is_none() {
            eprintln!("the proxy at {} does not end", self.addr);
        }
    }
}
