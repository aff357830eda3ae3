//! What a route takes and gives, as its handler's type says.

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Object, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::app::App;
use crate::body::{Json, Path, Query};
use crate::refusal::Refusal;
use crate::schemas::{SchemaOf, named};

/// A part of a request.
#[derive(Clone)]
pub(crate) enum Takes {
    /// Its body, as JSON.
    Body(SchemaOf),
    /// Fields of its target.
    Parameters(fn() -> Vec<Parameter>),
}

/// What a handler gives.
#[derive(Clone)]
pub(crate) enum Gives {
    /// JSON with the status 200.
    Json(SchemaOf),
    /// Nothing but a refusal.
    Refusal,
}

/// What a handler's type does not say.
#[derive(Clone)]
pub(crate) struct Told {
    /// What it does, for people.
    pub(super) summary: &'static str,
    /// With the status 200, in one of these forms.
    pub(super) forms: Vec<Form>,
    /// A status with which it refuses beside those of its kind.
    pub(super) refuses: Option<StatusCode>,
    /// Whether anybody may ask.
    pub(super) is_open: bool,
}

/// The type of server-sent events.
pub(super) const EVENTS: &str = "text/event-stream";

/// A form of an answer.
#[derive(Clone)]
pub(super) enum Form {
    /// As a whole.
    Whole { content_type: &'static str, schema: SchemaOf },
    /// As items of this kind, one after the other.
    Items { content_type: &'static str, item: SchemaOf },
}

/// What `summary` says.
pub(crate) fn told(summary: &'static str) -> Told {
    Told { summary, forms: Vec::new(), refuses: None, is_open: false }
}

impl Told {
    /// Answers with a `T`.
    pub(crate) fn gives<T: ToSchema>(self) -> Told {
        self.with(Form::Whole { content_type: "application/json", schema: named::<T> })
    }

    /// Answers with something of this type.
    pub(crate) fn gives_any(self, content_type: &'static str) -> Told {
        let schema: SchemaOf = match content_type.starts_with("application/json") {
            true => |_| Object::new().into(),
            false => |_| Object::with_type(Type::String).into(),
        };
        self.with(Form::Whole { content_type, schema })
    }

    /// Answers with a server-sent event for each `T`.
    pub(crate) fn events<T: ToSchema>(self) -> Told {
        self.with(Form::Items { content_type: EVENTS, item: named::<T> })
    }

    /// Answers with a line for each `T`.
    pub(crate) fn lines<T: ToSchema>(self) -> Told {
        self.with(Form::Items { content_type: "application/x-ndjson", item: named::<T> })
    }

    /// Refuses so, too.
    pub(crate) fn refuses(self, status: StatusCode) -> Told {
        Told { refuses: Some(status), ..self }
    }

    /// Anybody may ask.
    pub(crate) fn open(self) -> Told {
        Told { is_open: true, ..self }
    }

    fn with(mut self, form: Form) -> Told {
        self.forms.push(form);
        self
    }
}

/// A handler; `D` is the tuple of what it takes.
pub(crate) trait Operation<D> {
    fn takes() -> Vec<Takes>;
    fn gives() -> Option<Gives>;
}

/// A part of a request that a handler takes.
pub(crate) trait Part {
    fn taken() -> Option<Takes> {
        None
    }
}

/// What a handler gives.
pub(crate) trait Given {
    fn given() -> Option<Gives>;
}

macro_rules! operations {
    ($(($($part:ident),*))+) => {$(
        impl<F, W, R, $($part),*> Operation<($($part,)*)> for F
        where
            F: Fn($($part),*) -> W,
            W: Future<Output = R>,
            R: Given,
            $($part: Part,)*
        {
            fn takes() -> Vec<Takes> {
                let parts: Vec<Option<Takes>> = vec![$($part::taken()),*];
                parts.into_iter().flatten().collect()
            }

            fn gives() -> Option<Gives> {
                R::given()
            }
        }
    )+};
}

operations!(()(A)(A, B)(A, B, C)(A, B, C, E));

impl Part for State<App> {}
impl<T> Part for Extension<T> {}
impl Part for HeaderMap {}

impl<T: ToSchema> Part for Json<T> {
    fn taken() -> Option<Takes> {
        Some(Takes::Body(named::<T>))
    }
}

impl<T: IntoParams> Part for Query<T> {
    fn taken() -> Option<Takes> {
        Some(Takes::Parameters(|| T::into_params(|| Some(ParameterIn::Query))))
    }
}

impl Part for Path {
    fn taken() -> Option<Takes> {
        Some(Takes::Parameters(|| {
            let name = ParameterBuilder::new()
                .name("name")
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(String::schema()));
            vec![name.build()]
        }))
    }
}

impl<T: ToSchema> Given for axum::Json<T> {
    fn given() -> Option<Gives> {
        Some(Gives::Json(named::<T>))
    }
}

impl<T: Given> Given for Result<T, Refusal> {
    fn given() -> Option<Gives> {
        T::given()
    }
}

impl Given for Refusal {
    fn given() -> Option<Gives> {
        Some(Gives::Refusal)
    }
}

/// Whoever gives this tells the rest.
impl Given for Response {
    fn given() -> Option<Gives> {
        None
    }
}
