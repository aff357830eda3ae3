//! The addresses that a pull asks: the hub's own, those below it, and where it sends on to.

use std::fmt;

use ureq::http::Uri;
use ureq::http::uri::Scheme;

/// The address of a hub. Name and password in it are kept apart, so that nobody ever reads them.
#[derive(Clone)]
pub(super) struct Endpoint {
    /// With scheme and host, without `/` at the end.
    base: String,
    user: Option<String>,
}

/// Text that is no address of a hub. It is not told: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address of the hub is none: expected one such as https://huggingface.co")]
pub struct ParseEndpointError;

impl Endpoint {
    pub(super) fn parse(text: &str) -> Result<Self, ParseEndpointError> {
        let text = text.trim().trim_end_matches('/');
        let uri: Uri = text.parse().map_err(|_| ParseEndpointError)?;
        let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme));
        let (Some(scheme), Some(authority)) = (scheme, uri.authority()) else {
            return Err(ParseEndpointError);
        };
        let (user, host) = match authority.as_str().rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, authority.as_str()),
        };
        if host.is_empty() || uri.query().is_some() {
            return Err(ParseEndpointError);
        }
        let path = uri.path().trim_end_matches('/');
        Ok(Self { base: format!("{scheme}://{host}{path}"), user })
    }

    /// `url` as this hub is to be asked for it, with name and password if there are any. For
    /// requests only.
    pub(super) fn with_user(&self, url: &str) -> String {
        match (&self.user, url.split_once("://")) {
            (Some(user), Some((scheme, rest))) => format!("{scheme}://{user}@{rest}"),
            _ => url.to_owned(),
        }
    }

    /// The address of something below this one; each part is escaped as a whole.
    pub(super) fn below<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> String {
        let mut url = self.base.clone();
        for part in parts {
            url.push('/');
            url.push_str(&escape(part));
        }
        url
    }

    /// Whether `url` is on the same host, port and scheme: only there may a token go.
    pub(super) fn is_origin_of(&self, url: &str) -> bool {
        let own = origin(&self.base);
        own.is_some() && own == origin(url)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.base)
    }
}

/// Scheme, host and port.
fn origin(url: &str) -> Option<(Scheme, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme()?.clone();
    let usual = if scheme == Scheme::HTTPS { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(usual);
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

/// The scheme of an address that is none of the web: `file`, of `file:///etc/passwd`.
pub(super) fn other_scheme(location: &str) -> Option<&str> {
    let (scheme, _) = location.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let is_of_web = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    (is_scheme && !is_of_web).then_some(scheme)
}

/// Where `location`, in an answer from `url`, leads; none when it is no address.
pub(super) fn join(url: &str, location: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let joined = if location.starts_with("http://") || location.starts_with("https://") {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else {
        let folder = uri.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    joined.parse::<Uri>().ok().filter(|uri| uri.host().is_some()).map(|_| joined)
}

/// One part of a path, as it stands in an address.
fn escape(part: &str) -> String {
    let mut escaped = String::new();
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(byte.into());
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_password_are_kept_apart() {
        let check = |text: &str, told: &str, asked: &str| {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!(endpoint.to_string(), told);
            assert_eq!(endpoint.with_user(&endpoint.below(["a"])), asked);
        };
        check("https://huggingface.co/", "https://huggingface.co", "https://huggingface.co/a");
        check("http://127.0.0.1:8080", "http://127.0.0.1:8080", "http://127.0.0.1:8080/a");
        check("https://me:s%40@h.org/hf/", "https://h.org/hf", "https://me:s%40@h.org/hf/a");
    }

    #[test]
    fn what_is_no_address_is_not_repeated() {
        for text in ["", "huggingface.co", "ftp://h", "https://", "https://a:b@", "https://h?a=b"] {
            let error = Endpoint::parse(text).err().unwrap().to_string();
            assert!(!error.contains("a:b"), "{error}");
        }
    }

    #[test]
    fn parts_are_escaped() {
        let endpoint = Endpoint::parse("https://h/x").unwrap();
        let url = endpoint.below(["api", "refs/pr/1", "a b#?%é"]);
        assert_eq!(url, "https://h/x/api/refs%2Fpr%2F1/a%20b%23%3F%25%C3%A9");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let endpoint = Endpoint::parse("https://Hub.example/x").unwrap();
        let check = |url: &str, expected| assert_eq!(endpoint.is_origin_of(url), expected, "{url}");
        check("https://hub.example:443/y", true);
        check("https://hub.example/y?z", true);
        check("http://hub.example/y", false);
        check("https://hub.example:444/y", false);
        check("https://hub.example.evil/y", false);
        check("https://hub.example@evil/y", false);
        check("nonsense", false);
    }

    #[test]
    fn schemes_other_than_those_of_the_web_are_told() {
        for (location, expected) in [
            ("file:///etc/passwd", Some("file")),
            ("ftp://h/x", Some("ftp")),
            ("data:,x", Some("data")),
            ("HTTPS://h/x", None),
            ("/a:b", None),
            ("x/y:z", None),
            ("1:2", None),
        ] {
            assert_eq!(other_scheme(location), expected, "{location}");
        }
    }

    #[test]
    fn where_redirects_lead() {
        let check = |location: &str, expected: Option<&str>| {
            let joined = join("https://h:8/a/b?c=d", location);
            assert_eq!(joined.as_deref(), expected, "{location}");
        };
        check("https://other/x", Some("https://other/x"));
        check("//other/x", Some("https://other/x"));
        check("/x?y", Some("https://h:8/x?y"));
        check("x", Some("https://h:8/a/x"));
        check("https://", None);
        check("/a b", None);
    }
}
