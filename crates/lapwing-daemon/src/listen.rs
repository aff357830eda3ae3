//! Connections: sockets, their limits, and the end.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tower::ServiceExt as _;

/// The header of a request must come within this time.
const HEADER_TIME: Duration = Duration::from_secs(15);
/// Bytes of the header of a request.
const N_HEADER_BYTES_MAX: usize = 32 << 10;
/// Fields of the header of a request.
const N_HEADERS_MAX: usize = 100;
/// Connections in all, and of one address.
const N_CONNECTIONS_MAX: [usize; 2] = [512, 256];
/// What is waited after the system gave no connection.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A test, which has no connection.
    Local,
    /// The socket in the file system.
    Socket,
    /// An address.
    Ip(IpAddr),
}

impl Peer {
    /// Clients are told apart by their key and their name for themselves, else by their address.
    pub(crate) fn client(self, headers: &HeaderMap) -> u64 {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        for name in ["authorization", "x-api-key", "user-agent", "x-session-id"] {
            headers.get(name).map(HeaderValue::as_bytes).hash(&mut hasher);
        }
        match self {
            Peer::Ip(address) => address.hash(&mut hasher),
            Peer::Local | Peer::Socket => {}
        }
        hasher.finish()
    }
}

/// A socket that was bound.
#[derive(Debug)]
pub enum Listener {
    /// A port.
    Tcp(TcpListener),
    /// A socket in the file system.
    Unix {
        /// It.
        listener: UnixListener,
        /// Whether it is to be taken away at the end: who made it does that.
        is_ours: bool,
    },
}

impl Listener {
    /// Where clients find it.
    pub fn shown(&self) -> String {
        let unknown = || "an address that the system does not tell".to_owned();
        match self {
            Listener::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| unknown(), |at| format!("http://{at}"))
            }
            Listener::Unix { listener, .. } => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                path.map_or_else(unknown, |path| path.display().to_string())
            }
        }
    }
}

impl Listener {
    /// Take no more connections, and take the socket away: whoever looks for it finds nobody.
    fn close(self) {
        if let Listener::Unix { listener, is_ours: true } = self {
            let address = listener.local_addr().ok();
            if let Some(path) = address.as_ref().and_then(|address| address.as_pathname()) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

/// How many connections there are.
#[derive(Default)]
struct Connections(Mutex<HashMap<Option<IpAddr>, usize>>);

struct Open {
    of: Option<IpAddr>,
    connections: Arc<Connections>,
}

impl Connections {
    fn open(self: &Arc<Self>, of: Option<IpAddr>) -> Option<Open> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [n_max, n_each_max] = N_CONNECTIONS_MAX;
        let n_open: usize = open.values().sum();
        let n_of = open.entry(of).or_default();
        if n_max <= n_open || n_each_max <= *n_of {
            return None;
        }
        *n_of += 1;
        Some(Open { of, connections: Arc::clone(self) })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut open = self.connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = open.get_mut(&self.of) {
            *n -= 1;
            if *n == 0 {
                open.remove(&self.of);
            }
        }
    }
}

/// Answer the requests of all connections until `stop` says so; connections that are open then may
/// end what they do.
pub(crate) async fn serve(
    listener: Listener,
    router: Router,
    mut stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let connections = Arc::new(Connections::default());
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = tasks.join_next() => continue,
        };
        let (io, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection was to be had");
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            }
        };
        let of = match peer {
            Peer::Ip(address) => Some(address),
            Peer::Local | Peer::Socket => None,
        };
        let Some(open) = connections.open(of) else { continue };
        tasks.spawn(connection(io, peer, router.clone(), stop.clone(), open));
    }
    listener.close();
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, ended).await.is_err() {
        tracing::warn!("connections are cut: their time is over");
    }
}

trait Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Io for T {}

async fn accept(listener: &Listener) -> io::Result<(Box<dyn Io>, Peer)> {
    Ok(match listener {
        Listener::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            // A token is a packet.
            stream.set_nodelay(true)?;
            (Box::new(stream), Peer::Ip(address.ip().to_canonical()))
        }
        Listener::Unix { listener, .. } => loop {
            let (stream, _) = listener.accept().await?;
            match is_ours(&stream) {
                Ok(true) => break (Box::new(stream), Peer::Socket),
                Ok(false) => tracing::warn!("another user was turned away from the socket"),
                Err(error) => tracing::debug!(%error, "a connection was broken off"),
            }
        },
    })
}

/// Whether this user asks, or root. The socket's folder keeps others away already.
fn is_ours(stream: &UnixStream) -> io::Result<bool> {
    Ok([0, own_user()?].contains(&stream.peer_cred()?.uid()))
}

/// The number of this user.
pub(crate) fn own_user() -> io::Result<u32> {
    let [ours, _] = <[UnixStream; 2]>::from(UnixStream::pair()?);
    Ok(ours.peer_cred()?.uid())
}

async fn connection(
    io: Box<dyn Io>,
    peer: Peer,
    router: Router,
    mut stop: watch::Receiver<bool>,
    _open: Open,
) {
    let service = router.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        request.map(axum::body::Body::new)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(N_HEADER_BYTES_MAX)
        .max_headers(N_HEADERS_MAX);
    let connection = http.serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let stopped = async { drop(stop.wait_for(|stop| *stop).await) };
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection was broken off");
    }
}
