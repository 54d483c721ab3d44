//! The board of an inbox, on an address of this machine.

use std::{
    env, fmt, fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use number7_inbox::{Board, Inbox};
use serde_json::json;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;

use super::store::{StoreArgs, name};
use crate::{BoxError, Verdict, commands::listen, output::Output};

/// The shortest password, in bytes: nothing slows down guessing.
const SHORTEST: usize = 16;

#[derive(clap::Args)]
#[command(after_long_help = "Examples:
  number7 inbox board --store sqlite:inbox.db
  number7 inbox board --store sqlite:inbox.db --allow-actions
  number7 inbox board --store postgres://localhost/app --inbox live --also staging
  openssl rand -hex 16 > password
  number7 inbox board --store redis://localhost/ --addr 0.0.0.0:7707 --host ops.example.com \\
    --password-file password")]
pub(crate) struct BoardArgs {
    /// Where to listen. An address that is not on the loopback needs a password
    #[arg(long, default_value = "127.0.0.1:7707")]
    addr: SocketAddr,
    /// Also answer requests for this host, such as the name of a proxy that serves the board
    #[arg(long, value_name = "NAME", value_parser = host)]
    host: Vec<String>,
    /// Also show the inbox with this name in the same store
    #[arg(long, value_name = "NAME", value_parser = name)]
    also: Vec<String>,
    /// Let those who reach the board requeue, rerun, run now and discard events, and pause and resume the inbox
    #[arg(long)]
    allow_actions: bool,
    /// The environment variable that has the password. Without this option, NUMBER7_BOARD_PASSWORD is used if it is set.
    /// Browsers ask for the password, and accept any user name
    #[arg(long, value_name = "NAME")]
    password_env: Option<String>,
    /// The file that has the password; a newline at its end is not part of it
    #[arg(long, value_name = "FILE", conflicts_with = "password_env")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

fn host(name: &str) -> Result<String, &'static str> {
    match Board::is_host(name) {
        true => Ok(name.to_owned()),
        false => Err("use a name or an address, without a scheme or a port"),
    }
}

pub(crate) async fn run(args: BoardArgs, output: Output) -> Result<Verdict, BoxError> {
    let password = args.password()?;
    let is_open = password.is_none();
    if is_open && !args.addr.ip().is_loopback() {
        let text = "off the loopback a password is needed: set NUMBER7_BOARD_PASSWORD, or give --password-file";
        return Err(text.into());
    }
    let bound = TcpListener::bind(args.addr).await;
    let bound = bound.map_err(|error| format!("cannot listen on {}: {error}", args.addr))?;
    let addr = bound.local_addr()?;
    let pages = args.board(args.store.open().await?)?.router();
    let pages = match password {
        Some(password) => pages.layer(from_fn_with_state(Arc::new(password), check)),
        None => pages,
    };
    let url = format!("http://{addr}/");
    let who = if is_open { "anybody who can connect to it" } else { "those who know the password" };
    output.print(
        || format!("the board is at {url}, for {who}"),
        || json!({ "listening": url, "password": !is_open }),
    );
    listen::serve(bound, pages).await?;
    Ok(Verdict::Yes)
}

impl BoardArgs {
    fn board(&self, inbox: Inbox) -> Result<Board, BoxError> {
        let mut board = Board::new(inbox.clone());
        for (place, name) in self.also.iter().enumerate() {
            if self.store.inbox() == Some(name) || self.also[..place].contains(name) {
                return Err(format!("--also: the inbox {name} is shown already").into());
            }
            board = board.also(inbox.named(name)?);
        }
        let bound = Some(self.addr.ip()).filter(|addr| !addr.is_unspecified());
        let hosts = bound.as_ref().map(IpAddr::to_string).into_iter().chain(self.host.clone());
        let board = hosts.fold(board, Board::host);
        Ok(if self.allow_actions { board.allow_actions() } else { board })
    }

    fn password(&self) -> Result<Option<Password>, BoxError> {
        let text = match &self.password_file {
            Some(file) => {
                let text = fs::read_to_string(file);
                text.map_err(|error| format!("{}: {error}", file.display()))?
            }
            None => {
                let name = self.password_env.as_deref().unwrap_or("NUMBER7_BOARD_PASSWORD");
                match env::var(name) {
                    Ok(text) => text,
                    Err(env::VarError::NotPresent) if self.password_env.is_none() => {
                        return Ok(None);
                    }
                    Err(error) => return Err(format!("{name}: {error}").into()),
                }
            }
        };
        let text = text.trim_end_matches(['\r', '\n']);
        if text.len() < SHORTEST {
            return Err(format!("the password of a board has at least {SHORTEST} bytes").into());
        }
        Ok(Some(Password::new(text.as_bytes())))
    }
}

/// The hash of a password. Hashes are compared, so the time does not reveal the length of the password.
struct Password([u8; 32]);

impl Password {
    fn new(password: &[u8]) -> Self {
        Self(Sha256::digest(password).into())
    }

    /// Whether a request has the password in HTTP's Basic authentication, with any user name.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let basic = given.and_then(|given| given.split_once(' '));
        let basic = basic.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Basic"));
        let decoded = basic.and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok());
        decoded.is_some_and(|both| {
            let colon = both.iter().position(|byte| *byte == b':');
            colon.is_some_and(|colon| Self::new(&both[colon + 1..]).0.ct_eq(&self.0).into())
        })
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

async fn check(State(password): State<Arc<Password>>, request: Request, next: Next) -> Response {
    if password.is_in(request.headers()) {
        return next.run(request).await;
    }
    let headers = [
        (header::WWW_AUTHENTICATE, "Basic realm=\"inbox board\", charset=\"UTF-8\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (StatusCode::UNAUTHORIZED, headers, "A password is needed.\n").into_response()
}
