//! The other side of [`crate::own`]: the program asks a daemon of the same user over its socket.

use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use lapwing_serving::message::{Failure, Generate, Said};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::in_use::Used;
use crate::own::{self, About, AnswerRequest, ModelState, Models, OfModel, Unloaded};

/// How often whoever waits for an answer is asked whether to go on.
const TICK: Duration = Duration::from_millis(50);
/// How long a daemon may take to tell how it is: longer than to start it and read its store.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same where it reads the files of all models first that it answered with.
const PATIENCE_TO_READ: Duration = Duration::from_secs(600);
/// Bytes of an answer of which no word is text.
const N_STATE_BYTES_MAX: usize = 64 << 20;
/// Bytes of a line of an answer.
const N_LINE_BYTES_MAX: usize = 16 << 20;

/// A daemon that was found. Each request is a connection of its own; none is open between them.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
}

/// Why a daemon gives no answer.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum ClientError {
    /// Nobody hears.
    #[error("cannot ask the daemon at {}", socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    /// It was lost while it answered.
    #[error("the daemon was lost while it answered")]
    Exchange(#[source] hyper::Error),
    /// It says nothing.
    #[error("the daemon said nothing for {} s", patience.as_secs())]
    Silent { patience: Duration },
    /// It ended the connection.
    #[error("the daemon ended the connection before its answer was complete")]
    CutOff,
    /// It refuses.
    #[error("the daemon refuses: {message}")]
    Refused { status: u16, code: Option<String>, message: String },
    /// The model's side failed.
    #[error("{}", .0.message)]
    Failed(Failure),
    /// It is not understood.
    #[error("the daemon answers what this version does not understand")]
    Garbled(#[source] serde_json::Error),
    /// It answers more than it may.
    #[error("the daemon answers with more than {n_bytes_max} bytes")]
    TooMuch { n_bytes_max: usize },
}

impl ClientError {
    /// Whether the prompt is longer than the context.
    pub fn is_too_long(&self) -> bool {
        use lapwing_serving::message::FailureKind;
        match self {
            ClientError::Refused { code, .. } => code.as_deref() == Some("context_length_exceeded"),
            ClientError::Failed(failure) => failure.kind == FailureKind::TooLong,
            _ => false,
        }
    }
}

impl Client {
    /// The daemon that listens on `socket`; `None` where nobody does.
    ///
    /// # Errors
    ///
    /// When somebody might, and cannot be asked.
    pub fn find(socket: &Path) -> Result<Option<Client>, ClientError> {
        let failed = |source| ClientError::Connect { socket: socket.to_owned(), source };
        if !is_answered(socket).map_err(failed)? {
            return Ok(None);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Some(Client { socket: socket.to_owned(), runtime: runtime.map_err(failed)? }))
    }

    /// Which daemon it is.
    ///
    /// # Errors
    ///
    /// When it does not say.
    pub fn about(&self) -> Result<About, ClientError> {
        self.runtime.block_on(self.asked("GET", own::ABOUT, Bytes::new()))
    }

    /// What there is and what is loaded.
    ///
    /// # Errors
    ///
    /// When it does not say.
    pub fn models(&self) -> Result<Vec<ModelState>, ClientError> {
        let models: Models = self.runtime.block_on(self.asked("GET", own::MODELS, Bytes::new()))?;
        Ok(models.models)
    }

    /// What its answers took.
    ///
    /// # Errors
    ///
    /// When it does not say.
    pub fn used(&self) -> Result<Used, ClientError> {
        self.runtime.block_on(self.asked_for(PATIENCE_TO_READ, "GET", own::USED, Bytes::new()))
    }

    /// Unload a model; whether it was loaded.
    ///
    /// # Errors
    ///
    /// When there is no such model.
    pub fn unload(&self, model: &str) -> Result<bool, ClientError> {
        let body = json(&OfModel { model: model.to_owned() });
        let unloaded: Unloaded = self.runtime.block_on(self.asked("POST", own::UNLOAD, body))?;
        Ok(unloaded.was_loaded)
    }

    /// Let `model` answer. All that is said of it goes to `hear`, which also is asked now and then,
    /// with `None`, whether to go on; once it breaks off nobody hears the rest, and the model stops.
    ///
    /// # Errors
    ///
    /// When there is no answer, or not all of one.
    pub fn answer(
        &self,
        model: &str,
        generate: Generate,
        hear: &mut dyn FnMut(Option<&Said>) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let body = json(&AnswerRequest { model: model.to_owned(), generate });
        self.runtime.block_on(async {
            let exchange = self.send("POST", own::ANSWER, body);
            let Some(response) = until_stopped(exchange, hear).await else { return Ok(()) };
            let mut body = accepted(response?).await?.into_body();
            let mut line = Vec::new();
            loop {
                let Some(frame) = until_stopped(body.frame(), hear).await else { return Ok(()) };
                let frame = frame.ok_or(ClientError::CutOff)?.map_err(ClientError::Exchange)?;
                let Ok(data) = frame.into_data() else { continue };
                for part in data.split_inclusive(|&byte| byte == b'\n') {
                    line.extend_from_slice(part);
                    if N_LINE_BYTES_MAX < line.len() {
                        return Err(ClientError::TooMuch { n_bytes_max: N_LINE_BYTES_MAX });
                    }
                    if line.last() != Some(&b'\n') {
                        continue;
                    }
                    let said = serde_json::from_slice(&line).map_err(ClientError::Garbled)?;
                    line.clear();
                    if let Said::Failed(failure) = said {
                        return Err(ClientError::Failed(failure));
                    }
                    let is_over = hear(Some(&said)).is_break();
                    if is_over || matches!(said, Said::Ended(_)) {
                        return Ok(());
                    }
                }
            }
        })
    }

    async fn asked<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        self.asked_for(PATIENCE, method, path, body).await
    }

    async fn asked_for<T: DeserializeOwned>(
        &self,
        patience: Duration,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let asked = async { whole(accepted(self.send(method, path, body).await?).await?).await };
        let silent = |_| ClientError::Silent { patience };
        let bytes = tokio::time::timeout(patience, asked).await.map_err(silent)??;
        serde_json::from_slice(&bytes).map_err(ClientError::Garbled)
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let failed = |source| ClientError::Connect { socket: self.socket.clone(), source };
        let stream = connect(&self.socket).await.map_err(failed)?;
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(io).await.map_err(ClientError::Exchange)?;
        // Ends with the response's body.
        tokio::spawn(connection);
        poll_fn(|context| sender.poll_ready(context)).await.map_err(ClientError::Exchange)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("user-agent", concat!("lapwing/", env!("CARGO_PKG_VERSION")))
            // Programs get turns in turn.
            .header("x-session-id", std::process::id())
            .body(Full::new(body))
            .expect("methods and paths are our own");
        sender.send_request(request).await.map_err(ClientError::Exchange)
    }
}

/// What comes of `work`, or `None` once `hear` wants no more.
async fn until_stopped<T>(
    work: impl Future<Output = T>,
    hear: &mut dyn FnMut(Option<&Said>) -> ControlFlow<()>,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        match tokio::time::timeout(TICK, work.as_mut()).await {
            Ok(done) => return Some(done),
            Err(_) if hear(None).is_break() => return None,
            Err(_) => {}
        }
    }
}

fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).expect("wire types have only string keys").into()
}

/// The response, unless it is a refusal.
async fn accepted(response: Response<Incoming>) -> Result<Response<Incoming>, ClientError> {
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let body: Value = serde_json::from_slice(&whole(response).await?).unwrap_or_default();
    let text = |field: &str| body["error"][field].as_str().map(str::to_owned);
    Err(ClientError::Refused {
        status: status.as_u16(),
        code: text("code"),
        message: text("message").unwrap_or_else(|| status.to_string()),
    })
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(ClientError::Exchange)?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if N_STATE_BYTES_MAX < bytes.len() {
            return Err(ClientError::TooMuch { n_bytes_max: N_STATE_BYTES_MAX });
        }
    }
    Ok(bytes.into())
}

#[cfg(unix)]
async fn connect(socket: &Path) -> io::Result<tokio::net::UnixStream> {
    tokio::net::UnixStream::connect(socket).await
}

#[cfg(unix)]
fn is_answered(socket: &Path) -> io::Result<bool> {
    use io::ErrorKind::{ConnectionRefused, InvalidInput, NotFound};
    match std::os::unix::net::UnixStream::connect(socket) {
        Ok(_) => Ok(true),
        // Nobody can listen at a path that is too long for a socket.
        Err(error) if [ConnectionRefused, InvalidInput, NotFound].contains(&error.kind()) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
async fn connect(_socket: &Path) -> io::Result<tokio::net::TcpStream> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(unix))]
fn is_answered(_socket: &Path) -> io::Result<bool> {
    Ok(false)
}
