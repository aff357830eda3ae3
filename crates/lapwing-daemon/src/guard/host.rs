//! Requests must name this machine. A page whose name was made to lead here names another one.

use axum::extract::Request;
use axum::http::{StatusCode, header};

use crate::options::{Address, Options};
use crate::refusal::{Code, Refusal};

/// Demand exactly one `Host`, of a name that is ours, with any port or none.
pub(super) fn check(request: &Request, options: &Options) -> Result<(), Refusal> {
    let refused = |message: &str| {
        Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, Code::Forbidden, message))
    };
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return refused("more than one Host is named");
    }
    let Some(Ok(host)) = first.map(|host| host.to_str()) else {
        return refused("no Host is named");
    };
    // What an absolute target names counts too.
    let names = [Some(host), request.uri().authority().map(|authority| authority.as_str())];
    match names.into_iter().flatten().all(|name| is_ours(name, options)) {
        true => Ok(()),
        false => refused("this Host is not served here; it can be allowed by name"),
    }
}

fn is_ours(authority: &str, options: &Options) -> bool {
    let Some(name) = without_port(authority) else { return false };
    let name = name.to_ascii_lowercase();
    let is_loopback = match name.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => name == "localhost",
    };
    let is_bound = options.addresses.iter().any(|address| match address {
        Address::Tcp(address) => !address.ip().is_unspecified() && name == address.ip().to_string(),
        Address::Unix(_) => false,
    });
    is_loopback || is_bound || options.hosts.iter().any(|host| host.eq_ignore_ascii_case(&name))
}

/// The name of `name:port`, `name`, `[v6]:port` or `[v6]`.
fn without_port(authority: &str) -> Option<&str> {
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (name, behind) = rest.split_once(']')?;
            (name, behind.strip_prefix(':').or_else(|| behind.is_empty().then_some("0"))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "0")),
    };
    let is_port = !port.is_empty() && port.parse::<u16>().is_ok();
    (is_port && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_told_from_a_name() {
        assert_eq!(without_port("localhost:80"), Some("localhost"));
        assert_eq!(without_port("localhost"), Some("localhost"));
        assert_eq!(without_port("[::1]:80"), Some("::1"));
        assert_eq!(without_port("[::1]"), Some("::1"));
        for wrong in ["", ":80", "localhost:", "localhost:x", "a:1:2", "[::1", "[::1]x", "a:99999"]
        {
            assert_eq!(without_port(wrong), None, "{wrong}");
        }
    }
}
