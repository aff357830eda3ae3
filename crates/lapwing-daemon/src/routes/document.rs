//! The document at `/openapi.json`.

use axum::http::StatusCode;
use utoipa::PartialSchema as _;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder, ParameterIn, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::{ResponseBuilder, ResponsesBuilder};
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, Content, HeaderBuilder, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder,
    OpenApiVersion, PathItem, Paths, RefOr, Required, Schema,
};

use super::operation::{EVENTS, Form, Gives, Takes};
use super::{Described, Told};
use crate::schemas::Schemas;

/// The name under which the key stands among the schemes.
const KEY: &str = "key";

/// All routes, in OpenAPI's words.
pub(super) fn of(routes: &[Described]) -> OpenApi {
    let mut schemas = Schemas::new();
    let paths = paths(routes, &mut schemas);
    let mut components = Components::new();
    components.schemas.extend(schemas);
    let key = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.security_schemes.insert(KEY.to_owned(), key.into());
    let info = InfoBuilder::new().title("Lapwing").version(env!("CARGO_PKG_VERSION"));
    OpenApiBuilder::new()
        .openapi(OpenApiVersion::Version32)
        .info(info.build())
        .paths(paths)
        .components(Some(components))
        .build()
}

/// What can be asked; the schemas that it names come to the others.
pub(super) fn paths(routes: &[Described], schemas: &mut Schemas) -> Paths {
    let mut paths = PathsBuilder::new();
    for route in routes {
        let item = PathItem::new(route.method.clone(), operation(route, schemas));
        paths = paths.path(route.path.clone(), item);
    }
    paths.build()
}

fn operation(route: &Described, schemas: &mut Schemas) -> OperationBuilder {
    let tag = match route.path.starts_with("/v1/lapwing") {
        true => "lapwing",
        false => route.protocol.name(),
    };
    let mut operation = OperationBuilder::new().summary(Some(route.told.summary)).tag(tag);
    if !route.told.is_open {
        // Without a key of its own the daemon asks for none.
        let key = SecurityRequirement::new(KEY, Vec::<String>::new());
        operation = operation.security(key).security(SecurityRequirement::default());
    }
    let mut has_body = false;
    for part in &route.takes {
        operation = match part {
            Takes::Body(schema) => {
                has_body = true;
                let body = RequestBodyBuilder::new()
                    .content("application/json", Content::new(Some(schema(schemas))))
                    .required(Some(Required::True));
                operation.request_body(Some(body.build()))
            }
            Takes::Parameters(parameters) => operation.parameters(Some(parameters())),
        };
    }
    if route.path.contains("{digest}") {
        let digest = ParameterBuilder::new()
            .name("digest")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(String::schema()));
        operation = operation.parameter(digest);
    }
    operation.responses(responses(route, has_body, schemas))
}

fn responses(route: &Described, has_body: bool, schemas: &mut Schemas) -> ResponsesBuilder {
    let Described { protocol, method, told, gives, .. } = route;
    let mut responses = ResponsesBuilder::new();
    let error = (protocol.error())(schemas);
    if let Some(answer) = answer(told, gives.as_ref(), &error, schemas) {
        responses = responses.response("200", answer);
    }
    for status in refusals(route, has_body) {
        let reason = status.canonical_reason().unwrap_or("Overloaded");
        let mut response = ResponseBuilder::new().description(reason);
        if *method != HttpMethod::Head {
            response = response.content("application/json", Content::new(Some(error.clone())));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE || status.as_u16() == 529 {
            let seconds = HeaderBuilder::new()
                .schema(Some(u64::schema()))
                .description(Some("Seconds after which to come again"));
            response = response.header("Retry-After", seconds.build());
        }
        responses = responses.response(status.as_str(), response);
    }
    responses
}

/// The answer with the status 200, if there is one.
fn answer(
    told: &Told,
    gives: Option<&Gives>,
    error: &RefOr<Schema>,
    schemas: &mut Schemas,
) -> Option<ResponseBuilder> {
    let mut response = ResponseBuilder::new().description(told.summary);
    let mut is_answer = false;
    if let Some(Gives::Json(schema)) = gives {
        is_answer = true;
        response = response.content("application/json", Content::new(Some(schema(schemas))));
    }
    for form in &told.forms {
        is_answer = true;
        let (content_type, content) = match form {
            Form::Whole { content_type, schema } => {
                (content_type, Content::builder().schema(Some(schema(schemas))))
            }
            Form::Items { content_type, item } => {
                // Once it has begun, its status can tell of nothing that goes wrong.
                let item = AnyOfBuilder::new().item(item(schemas)).item(error.clone());
                let item = Schema::AnyOf(item.build());
                let item = if *content_type == EVENTS { event(item) } else { item };
                (content_type, Content::builder().item_schema(Some(item)))
            }
        };
        response = response.content(*content_type, content.build());
    }
    is_answer.then_some(response)
}

/// An event whose data is `item`, in JSON, or the word that ends the streams of some protocols.
fn event(item: Schema) -> Schema {
    let with = |data: ObjectBuilder| {
        let event = ObjectBuilder::new().property("event", String::schema());
        event.property("data", data).required("data")
    };
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let json = text().content_media_type("application/json").content_schema(Some(item));
    let end = text().enum_values(Some(["[DONE]"]));
    Schema::AnyOf(AnyOfBuilder::new().item(with(json)).item(with(end)).build())
}

/// With which statuses a route may refuse: as everywhere, and as its kind does.
fn refusals(route: &Described, has_body: bool) -> Vec<StatusCode> {
    use StatusCode as S;
    let mut statuses = vec![S::FORBIDDEN, S::URI_TOO_LONG, S::MISDIRECTED_REQUEST];
    if !route.told.is_open {
        statuses.push(S::UNAUTHORIZED);
    }
    if let Some(status) = route.told.refuses {
        statuses.push(status);
    }
    let asks_models = !route.takes.is_empty();
    if asks_models {
        statuses.extend([S::BAD_REQUEST, S::NOT_FOUND, S::INTERNAL_SERVER_ERROR]);
    }
    if has_body {
        let of_body = [
            S::REQUEST_TIMEOUT,
            S::PAYLOAD_TOO_LARGE,
            S::UNSUPPORTED_MEDIA_TYPE,
            S::GATEWAY_TIMEOUT,
        ];
        statuses.extend(of_body);
        statuses.push(route.protocol.busy());
    }
    if route.gives.is_some() && !has_body {
        // The store may be unreadable.
        statuses.push(S::INTERNAL_SERVER_ERROR);
    }
    statuses.sort();
    statuses.dedup();
    statuses
}
