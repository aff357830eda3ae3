//! Which way an address is asked: directly or through a proxy.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::Uri;
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, Proxy};

use crate::options::Proxies;

/// Text that is no address of a proxy. It is not told: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address of the proxy is none: expected one such as http://proxy:3128")]
pub struct ParseProxyError;

/// One agent for each way out.
pub(super) struct Routes<'a> {
    direct: Agent,
    http: Option<Agent>,
    https: Option<Agent>,
    no_proxy: &'a str,
}

impl<'a> Routes<'a> {
    /// Agents for who has so much `patience`.
    pub(super) fn new(proxies: &'a Proxies, patience: Duration) -> Result<Self, ParseProxyError> {
        let through = |address: &Option<String>| match address {
            None => Ok(None),
            Some(address) => match Proxy::new(address) {
                Ok(proxy) => Ok(Some(agent(Some(proxy), patience))),
                Err(_) => Err(ParseProxyError),
            },
        };
        Ok(Self {
            direct: agent(None, patience),
            http: through(&proxies.http)?,
            https: through(&proxies.https)?,
            no_proxy: proxies.no_proxy.as_deref().unwrap_or_default(),
        })
    }

    /// The agent that asks for `uri`.
    pub(super) fn to(&self, uri: &Uri) -> &Agent {
        let proxied = match uri.scheme_str() {
            Some("https") => self.https.as_ref(),
            _ => self.http.as_ref(),
        };
        let is_direct = uri.host().is_none_or(|host| is_direct(self.no_proxy, host));
        proxied.filter(|_| !is_direct).unwrap_or(&self.direct)
    }
}

/// It reads nothing from the environment, and follows no redirects: who does must know where a
/// token may go. Its own limits only end what nobody waits for any more: who waits loses patience
/// first.
fn agent(proxy: Option<Proxy>, patience: Duration) -> Agent {
    let limit = patience * 2;
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        // What the user's system trusts, so that companies can look into their own traffic.
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy)
        .user_agent(concat!("lapwing/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(limit))
        .timeout_per_read(Some(limit))
        .timeout_per_write(Some(limit))
        .build()
        .into()
}

/// Whether the list names `host`: `*`, the host itself, a domain that it belongs to (with or
/// without `.` or `*.` before it), or an IP address.
fn is_direct(no_proxy: &str, host: &str) -> bool {
    let host = bare(host);
    let is_ip = host.parse::<IpAddr>().is_ok();
    no_proxy.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let domain = bare(entry.trim_start_matches("*.").trim_start_matches('.'));
        entry == "*"
            || host == domain
            || !is_ip && host.strip_suffix(&domain).is_some_and(|start| start.ends_with('.'))
    })
}

/// Lower case, without the brackets of an IPv6 address.
fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_chooses_and_the_list_excludes() {
        let proxies = Proxies {
            http: Some("http://plain:1".into()),
            https: Some("secure:2".into()),
            no_proxy: Some("localhost, .corp.org,*.lab.org,10.0.0.1,[::1],other.org".into()),
        };
        let routes = Routes::new(&proxies, Duration::from_secs(1)).unwrap();
        let check = |url: &str, expected: Option<&str>| {
            let agent = routes.to(&url.parse().unwrap());
            assert_eq!(agent.config().proxy().map(Proxy::host), expected, "{url}");
        };
        check("https://huggingface.co/x", Some("secure"));
        check("http://huggingface.co/x", Some("plain"));
        check("https://LOCALHOST:8/x", None);
        check("https://hub.corp.org", None);
        check("https://corp.org", None);
        check("https://mycorp.org", Some("secure"));
        check("https://a.lab.org", None);
        check("https://sub.other.org", None);
        check("http://10.0.0.1/x", None);
        check("http://110.0.0.1/x", Some("plain"));
        check("http://[::1]:80/x", None);
        assert!(is_direct("a.org *", "h"));
    }

    #[test]
    fn what_is_no_proxy_is_not_repeated() {
        let proxies =
            Proxies { http: None, https: Some("gopher://me:secret@p".into()), no_proxy: None };
        let error = Routes::new(&proxies, Duration::from_secs(1)).err().unwrap();
        assert!(!error.to_string().contains("secret"));
    }
}
