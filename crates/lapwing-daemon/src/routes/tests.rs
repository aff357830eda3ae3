use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::document;
use crate::schemas::Schemas;

/// The paths that axum knows, as it tells them itself.
fn routed() -> BTreeSet<String> {
    let shown = format!("{:?}", crate::described_routes().with_document());
    let quoted = shown.split('"').skip(1).step_by(2);
    let paths = quoted.filter(|text| text.starts_with('/') && !text.contains("__private"));
    paths.map(|path| path.replace("{*", "{")).collect()
}

fn document() -> Value {
    let document = crate::described_routes().described;
    serde_json::to_value(document::of(&document)).unwrap()
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let document = document();
    let mut described: BTreeSet<String> =
        document["paths"].as_object().unwrap().keys().cloned().collect();
    // It is added last.
    assert!(described.insert("/openapi.json".to_owned()));
    let routed = routed();
    assert!(50 < routed.len(), "{routed:?}");
    assert_eq!(routed, described);
}

#[test]
fn no_two_schemas_share_a_name_and_every_reference_leads_somewhere() {
    let mut schemas = Schemas::new();
    let routes = crate::described_routes().described;
    document::paths(&routes, &mut schemas);
    let mut by_name: BTreeMap<String, Value> = BTreeMap::new();
    for (name, schema) in schemas {
        let schema = serde_json::to_value(schema).unwrap();
        let before = by_name.insert(name.clone(), schema.clone());
        assert!(before.is_none_or(|before| before == schema), "two are called {name}");
    }
    let document = document().to_string();
    let references = document.split("#/components/schemas/").skip(1);
    for name in references.filter_map(|rest| rest.split('"').next()) {
        assert!(by_name.contains_key(name), "there is no {name}");
    }
}

#[test]
fn refusals_are_described_as_they_are_told() {
    let document = document();
    let of = |path: &str, status: &str| {
        let response = &document["paths"][path]["post"]["responses"][status];
        response["content"]["application/json"]["schema"]["$ref"].as_str().map(str::to_owned)
    };
    let schema = |name: &str| Some(format!("#/components/schemas/{name}"));
    assert_eq!(of("/v1/chat/completions", "400"), schema("OpenAiError"));
    assert_eq!(of("/v1/chat/completions", "503"), schema("OpenAiError"));
    assert_eq!(of("/api/chat", "404"), schema("OllamaError"));
    assert_eq!(of("/api/pull", "501"), schema("OllamaError"));
    assert_eq!(of("/v1/messages", "529"), schema("AnthropicError"));
    assert_eq!(of("/v1/messages", "503"), None);
}
