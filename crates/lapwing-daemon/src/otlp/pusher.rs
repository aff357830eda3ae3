//! Sends what is pushed: the client that pulls models, without its proxies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};

/// A collector that takes longer loses what was pushed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of its answer, which says little.
const N_BYTES_MAX: u64 = 1 << 16;

/// Sends to a collector, and says once when that is gone, and once when it is there again.
#[derive(Debug)]
pub(super) struct Pusher {
    agent: Agent,
    is_away: AtomicBool,
}

impl Pusher {
    pub(super) fn new() -> Pusher {
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::PlatformVerifier)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .user_agent(concat!("lapwing/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(PATIENCE))
            // No connection stays open between pushes.
            .max_idle_connections(0)
            .build()
            .into();
        Pusher { agent, is_away: AtomicBool::new(false) }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ureq::Error> {
        let (head, body) = request.into_parts();
        let response = self.agent.run(Request::from_parts(head, &body[..]))?;
        let (head, mut body) = response.into_parts();
        let body = body.with_config().limit(N_BYTES_MAX).read_to_vec()?;
        Ok(Response::from_parts(head, body.into()))
    }
}

#[async_trait]
impl HttpClient for Pusher {
    /// Waits in the thread that pushes, which has nothing else to do.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.send(request);
        let problem = match &sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(response.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        let was_away = self.is_away.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(problem) if !was_away => {
                tracing::warn!(problem, "the collector takes no metrics; answers go on without it");
            }
            None if was_away => tracing::info!("the collector takes metrics again"),
            _ => {}
        }
        Ok(sent?)
    }
}
