//! The page: a conversation in a browser, from files that are part of the program.
//!
//! What it loads is named in [`FILES`] and nothing else is; it holds no data, so it needs no key, and
//! what it asks for does. The headers keep it that way: no script and no style but these files, no
//! string that becomes markup, no request to anywhere else, no other page around it.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::ollama;
use crate::routes::{Routes, told};

/// What the page may do.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // Another version of the program has other files at the same paths.
    (header::CACHE_CONTROL, "no-cache"),
];

/// A file of the page.
struct File {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

/// The file of `page/` with this name, at `/page/`.
macro_rules! file {
    ($name:literal, $content_type:literal) => {
        File {
            path: concat!("/page/", $name),
            content_type: $content_type,
            text: include_str!(concat!("../page/", $name)),
        }
    };
}

const INDEX: File = File {
    path: "/",
    content_type: "text/html; charset=utf-8",
    text: include_str!("../page/index.html"),
};

/// What the page loads.
const FILES: [File; 11] = [
    file!("icon.svg", "image/svg+xml"),
    file!("page.css", "text/css; charset=utf-8"),
    file!("theme.js", "text/javascript; charset=utf-8"),
    file!("page.js", "text/javascript; charset=utf-8"),
    file!("answer.js", "text/javascript; charset=utf-8"),
    file!("daemon.js", "text/javascript; charset=utf-8"),
    file!("dom.js", "text/javascript; charset=utf-8"),
    file!("log.js", "text/javascript; charset=utf-8"),
    file!("markdown.js", "text/javascript; charset=utf-8"),
    file!("models.js", "text/javascript; charset=utf-8"),
    file!("store.js", "text/javascript; charset=utf-8"),
];

pub(crate) fn routes() -> Routes {
    let page = told("The page, or a word for programs").gives_any("text/html");
    let page = page.gives_any("text/plain").open();
    let routes = Routes::new().get(INDEX.path, door, page);
    FILES.iter().fold(routes, |routes, file| {
        let about = told("A file of the page").gives_any(file.content_type).open();
        routes.get(file.path, move || async { file.response() }, about)
    })
}

/// Whether somebody without a key may ask for it.
pub(crate) fn is_part(path: &str) -> bool {
    FILES.iter().chain([&INDEX]).any(|file| file.path == path)
}

/// The page for browsers, a word for programs that watch whether the server is there.
async fn door(headers: HeaderMap) -> Response {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split(','));
    let is_html = |accepted: &str| {
        let name = accepted.split(';').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("text/html")
    };
    let mut response = match types.any(is_html) {
        true => INDEX.response(),
        false => ollama::alive(),
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept"));
    response
}

impl File {
    fn response(&self) -> Response {
        let mut response = self.text.into_response();
        let headers = HEADERS.into_iter().chain([(header::CONTENT_TYPE, self.content_type)]);
        for (name, value) in headers {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths that a text names in quotes behind `word`.
    fn named<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
        text.split(word).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn what_the_page_loads_is_there_and_all_of_it_is_loaded() {
        let mut loaded: Vec<String> = Vec::new();
        for word in ["src=\"", "href=\""] {
            loaded.extend(named(INDEX.text, word).into_iter().map(str::to_owned));
        }
        loaded.retain(|path| !path.starts_with('#') && !path.starts_with("/v1/"));
        for file in &FILES {
            let imports = named(file.text, "from \"./").into_iter();
            loaded.extend(imports.map(|name| format!("/page/{name}")));
        }
        loaded.sort();
        loaded.dedup();
        let mut there: Vec<&str> = FILES.iter().map(|file| file.path).collect();
        there.sort_unstable();
        assert_eq!(loaded, there);
    }

    #[test]
    fn nothing_is_written_into_the_page_that_its_policy_forbids() {
        let n_bytes: usize = FILES.iter().chain([&INDEX]).map(|file| file.text.len()).sum();
        assert!(n_bytes <= 77_000, "{n_bytes} bytes");
        for forbidden in [" style=", " onclick=", "<style", "javascript:"] {
            assert!(!INDEX.text.contains(forbidden), "{forbidden}");
        }
        for file in FILES.iter().filter(|file| file.path.ends_with(".js")) {
            for forbidden in ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "Function("]
            {
                assert!(!file.text.contains(forbidden), "{}: {forbidden}", file.path);
            }
        }
    }
}
