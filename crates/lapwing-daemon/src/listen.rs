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
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt as _;

use crate::body::STALL;
use crate::stream::Stream;

/// The header of a request must come within this time.
const HEADER_TIME: Duration = Duration::from_secs(15);
/// Bytes of the header of a request.
const N_HEADER_BYTES_MAX: usize = 32 << 10;
/// Fields of the header of a request.
const N_HEADERS_MAX: usize = 100;
/// Connections in all, and of one address.
const N_CONNECTIONS_MAX: [usize; 2] = [512, 256];
/// What a client that sends no more may go on to read.
const AFTER_HANG_UP: Duration = Duration::from_millis(200);
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
    let mut was_refused = false;
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener) => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = tasks.join_next() => continue,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Once for all that follow: it may last.
                if !std::mem::replace(&mut was_refused, true) {
                    tracing::warn!(%error, "no connection was to be had");
                }
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            }
        };
        was_refused = false;
        let of = match peer {
            Peer::Ip(address) => Some(address),
            Peer::Local | Peer::Socket => None,
        };
        let Some(open) = connections.open(of) else { continue };
        let watched = stream.clone();
        let hung_up = async move {
            watched.hung_up().await;
            tokio::time::sleep(AFTER_HANG_UP).await;
        };
        let (router, stop) = (router.clone(), stop.clone());
        tasks.spawn(connection(Box::new(stream), hung_up, peer, router, stop, open));
    }
    listener.close();
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(grace, ended).await.is_err() {
        tracing::warn!("connections are cut: their time is over");
    }
}

trait Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Io for T {}

async fn accept(listener: &Listener) -> io::Result<(Stream, Peer)> {
    Ok(match listener {
        Listener::Tcp(listener) => {
            let (stream, address) = listener.accept().await?;
            // A token is a packet. A connection that is broken off already is found to be so later.
            let _ = stream.set_nodelay(true);
            (stream.into(), Peer::Ip(address.ip().to_canonical()))
        }
        Listener::Unix { listener, .. } => loop {
            let (stream, _) = listener.accept().await?;
            match is_ours(&stream) {
                Ok(true) => break (stream.into(), Peer::Socket),
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

/// Answer the requests of a connection until the client has `hung_up`.
async fn connection(
    io: Box<dyn Io>,
    hung_up: impl Future<Output = ()>,
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
    // Who takes nothing of what is ready for him holds no connection for ever.
    let mut io = Box::pin(TimeoutStream::new(io));
    io.as_mut().set_write_timeout_pinned(Some(STALL));
    let connection = http.serve_connection(TokioIo::new(io), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    let stopped = async { drop(stop.wait_for(|stop| *stop).await) };
    let served = async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = stopped => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    let ended = tokio::select! {
        ended = served => ended,
        () = hung_up => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection was broken off");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::post;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::time::Instant as Played;

    use super::*;

    const HEAD: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: ";

    /// A connection whose clock goes on as soon as everybody waits; tells when it has ended.
    fn connected() -> (DuplexStream, tokio::task::JoinHandle<()>) {
        let (client, server) = tokio::io::duplex(1000);
        let answer = |request: axum::extract::Request| async {
            match crate::body::read(request, 1 << 20).await {
                Ok(bytes) => (axum::http::StatusCode::OK, "x".repeat(bytes.len() * 1000)),
                Err(refusal) => (refusal.status, refusal.message),
            }
        };
        let router = Router::new().route("/", post(answer));
        let open = Arc::new(Connections::default()).open(None).unwrap();
        let (stop, stopped) = watch::channel(false);
        let of_connection = connection(
            Box::new(server),
            std::future::pending(),
            Peer::Local,
            router,
            stopped,
            open,
        );
        let until_it_ends = async move {
            of_connection.await;
            drop(stop);
        };
        (client, tokio::spawn(until_it_ends))
    }

    /// Seconds until the connection ends by itself, after the client has sent `sent`.
    async fn ends(sent: &str) -> u64 {
        let (mut client, connection) = connected();
        client.write_all(sent.as_bytes()).await.unwrap();
        let began = Played::now();
        tokio::time::timeout(Duration::from_secs(1000), connection)
            .await
            .expect("it ends")
            .unwrap();
        began.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_holds_a_connection_by_doing_nothing() {
        let really = Instant::now();
        assert_eq!(ends("").await, 15, "nothing is said");
        assert_eq!(ends("POST / HTT").await, 15, "a head that never ends");
        assert_eq!(ends(&format!("{HEAD}100\r\n\r\n{{")).await, 30, "a body that never ends");
        assert_eq!(ends(&format!("{HEAD}5\r\n\r\nabcde")).await, 60, "an answer that nobody reads");
        assert!(really.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_but_goes_on_is_served() {
        let (mut client, connection) = connected();
        client.write_all(format!("{HEAD}5\r\n\r\n").as_bytes()).await.unwrap();
        for byte in b"abcde" {
            tokio::time::sleep(Duration::from_secs(25)).await;
            client.write_all(&[*byte]).await.unwrap();
        }
        let mut answer = Vec::new();
        while !answer.ends_with(&[b'x'; 10]) || answer.len() < 5000 {
            tokio::time::sleep(Duration::from_secs(50)).await;
            let mut some = [0; 1000];
            let n_bytes = client.read(&mut some).await.unwrap();
            assert_ne!(n_bytes, 0, "it was cut off");
            answer.extend_from_slice(&some[..n_bytes]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        // Nobody asks any more.
        connection.await.unwrap();
    }

    #[tokio::test]
    async fn connections_are_counted_in_all_and_of_each() {
        let connections = Arc::new(Connections::default());
        let [n_max, n_each_max] = N_CONNECTIONS_MAX;
        let of = |last: u8| Some(IpAddr::from([127, 0, 0, last]));
        let mut held: Vec<_> = (0..n_each_max).map(|_| connections.open(of(1)).unwrap()).collect();
        assert!(connections.open(of(1)).is_none());
        held.extend((n_each_max..n_max).map(|_| connections.open(of(2)).unwrap()));
        assert!(connections.open(of(3)).is_none());
        held.pop();
        assert!(connections.open(of(3)).is_some());
        drop(held);
        assert!(lock_of(&connections).is_empty());
    }

    fn lock_of(
        connections: &Connections,
    ) -> std::sync::MutexGuard<'_, HashMap<Option<IpAddr>, usize>> {
        connections.0.lock().unwrap()
    }
}
