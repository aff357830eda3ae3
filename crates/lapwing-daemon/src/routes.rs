//! Routes that say what they take and give: the document at `/openapi.json` is made from them, so that
//! neither can have what the other lacks.
//!
//! What a handler takes and gives is read from its type ([`Operation`]). Only what it hides behind a
//! bare [`Response`] is told beside it ([`Told`]).

mod document;
mod operation;

use axum::Router;
use axum::handler::Handler;
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, on};
use utoipa::openapi::HttpMethod;

use crate::app::App;
use crate::protocol::Protocol;
use operation::{Gives, Operation, Takes};
pub(crate) use operation::{Told, told};

/// Routes of one protocol, or of several.
pub(crate) struct Routes {
    router: Router<App>,
    described: Vec<Described>,
}

/// A route as the document tells of it. Schemas are functions: nothing is made before it is asked for.
#[derive(Clone)]
struct Described {
    protocol: Protocol,
    method: HttpMethod,
    path: String,
    takes: Vec<Takes>,
    gives: Option<Gives>,
    told: Told,
}

impl Routes {
    pub(crate) fn new() -> Routes {
        Routes { router: Router::new(), described: Vec::new() }
    }

    pub(crate) fn get<H, T, D>(self, path: &str, handler: H, told: Told) -> Routes
    where
        H: Handler<T, App> + Operation<D>,
        T: 'static,
    {
        self.route(HttpMethod::Get, path, handler, told)
    }

    pub(crate) fn post<H, T, D>(self, path: &str, handler: H, told: Told) -> Routes
    where
        H: Handler<T, App> + Operation<D>,
        T: 'static,
    {
        self.route(HttpMethod::Post, path, handler, told)
    }

    /// A handler at a path, which is written as axum does.
    pub(crate) fn route<H, T, D>(
        mut self,
        method: HttpMethod,
        path: &str,
        handler: H,
        told: Told,
    ) -> Routes
    where
        H: Handler<T, App> + Operation<D>,
        T: 'static,
    {
        let filter = match method {
            HttpMethod::Get => MethodFilter::GET,
            HttpMethod::Head => MethodFilter::HEAD,
            HttpMethod::Delete => MethodFilter::DELETE,
            HttpMethod::Put => MethodFilter::PUT,
            HttpMethod::Patch => MethodFilter::PATCH,
            HttpMethod::Options => MethodFilter::OPTIONS,
            HttpMethod::Trace => MethodFilter::TRACE,
            HttpMethod::Post => MethodFilter::POST,
        };
        self.described.push(Described {
            protocol: Protocol::of(path),
            method,
            path: path.replace("{*", "{"),
            takes: H::takes(),
            gives: H::gives(),
            told,
        });
        self.router = self.router.route(path, on(filter, handler));
        self
    }

    pub(crate) fn merge(mut self, other: Routes) -> Routes {
        self.described.extend(other.described);
        self.router = self.router.merge(other.router);
        self
    }

    /// The routes, with one more that tells of all of them.
    pub(crate) fn with_document(self) -> Router<App> {
        let about = told("This document");
        let described = std::sync::Arc::new(std::sync::OnceLock::<Vec<Described>>::new());
        let all = std::sync::Arc::clone(&described);
        let document = move || {
            let all = std::sync::Arc::clone(&all);
            async move {
                let all = all.get().map(Vec::as_slice).unwrap_or_default();
                axum::Json(document::of(all)).into_response()
            }
        };
        let routes = self.get("/openapi.json", document, about.gives_any("application/json"));
        described.get_or_init(|| routes.described);
        routes.router
    }
}

#[cfg(test)]
mod tests;
