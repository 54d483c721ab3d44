//! The receivers, on real sockets on the loopback.

use std::{
    net::{SocketAddr, TcpListener},
    thread::{self, JoinHandle},
};

use actix_web::{App, HttpServer, dev::ServerHandle, rt::System};
use number7_core::Verifier;
use tokio::{runtime, sync::oneshot};

use crate::in_process::{actix_app_behind, axum_app_behind};

/// A receiver on a free port, which ends when it is dropped.
pub struct Server {
    /// `axum` or `actix-web`.
    pub framework: &'static str,
    /// Where it listens.
    pub addr: SocketAddr,
    stop: Option<Stop>,
    thread: Option<JoinHandle<()>>,
}

enum Stop {
    Axum(oneshot::Sender<()>),
    Actix(ServerHandle),
}

impl Server {
    /// One receiver for each framework. They share the verifier's limits but not its count.
    #[must_use]
    pub fn both(verifier: impl Fn() -> Verifier) -> [Self; 2] {
        let layer = number7_tower::VerifyNumber7::new(verifier());
        Self::both_behind(layer, number7_actix::VerifyNumber7::new(verifier()))
    }

    /// One receiver for each framework, behind these.
    #[must_use]
    pub fn both_behind(
        layer: number7_tower::VerifyNumber7,
        middleware: number7_actix::VerifyNumber7,
    ) -> [Self; 2] {
        [Self::axum(layer), Self::actix(middleware)]
    }

    fn axum(verify: number7_tower::VerifyNumber7) -> Self {
        let (listener, addr) = listener();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let server = async { axum::serve(listener, axum_app_behind(verify)).await };
                tokio::select! {
                    served = server => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self { framework: "axum", addr, stop: Some(Stop::Axum(stop)), thread: Some(thread) }
    }

    fn actix(verify: number7_actix::VerifyNumber7) -> Self {
        let (listener, addr) = listener();
        let (handle, started) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            System::new().block_on(async {
                let app = move || App::new().configure(actix_app_behind(verify.clone()));
                let server = HttpServer::new(app).workers(1).disable_signals();
                let server = server.listen(listener).unwrap().run();
                handle.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        let stop = Stop::Actix(started.recv().unwrap());
        Self { framework: "actix-web", addr, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match self.stop.take() {
            Some(Stop::Axum(stop)) => drop(stop.send(())),
            // The call sends the command. The future only waits until it is done.
            Some(Stop::Actix(handle)) => drop(handle.stop(false)),
            None => {}
        }
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "the receiver panicked");
        }
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}
