//! `oneOf` whose alternatives exclude one another says what `anyOf` says, and the library compiles
//! that: it sees this by itself only where no alternative is a `$ref`, which most of them are.

use serde_json::{Map, Value};

/// More alternatives than these are left to the library.
const N_ALTERNATIVES_MAX: usize = 64;
/// How far references and properties within properties are followed.
const DEPTH_MAX: usize = 6;
/// Pairs of schemas that are compared, for all of a schema.
const N_PAIRS_MAX: usize = 100_000;

/// Write `anyOf` for every `oneOf` of which at most one alternative can fit.
pub(crate) fn tell_apart(schema: &mut Value) {
    if has_one_of(schema) {
        let root = schema.clone();
        walk(schema, &mut Comparison { root: &root, n_pairs: 0 });
    }
}

fn has_one_of(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.contains_key("oneOf") || members.values().any(has_one_of),
        Value::Array(values) => values.iter().any(has_one_of),
        _ => false,
    }
}

fn walk(value: &mut Value, comparison: &mut Comparison<'_>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::Array(alternatives)) = members.get("oneOf")
                && comparison.exclude_one_another(alternatives)
            {
                any_of(members);
            }
            members.values_mut().for_each(|value| walk(value, comparison));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| walk(value, comparison)),
        _ => {}
    }
}

/// Rename `oneOf`; beside an `anyOf` both must hold.
fn any_of(members: &mut Map<String, Value>) {
    let Some(alternatives) = members.remove("oneOf") else { return };
    if !members.contains_key("anyOf") {
        members.insert("anyOf".to_owned(), alternatives);
        return;
    }
    let each = serde_json::json!({"anyOf": alternatives});
    match members.get_mut("allOf") {
        Some(Value::Array(all)) => all.push(each),
        _ => drop(members.insert("allOf".to_owned(), Value::Array(vec![each]))),
    }
}

/// Schemas of one document, compared.
struct Comparison<'a> {
    root: &'a Value,
    n_pairs: usize,
}

impl Comparison<'_> {
    fn exclude_one_another(&mut self, alternatives: &[Value]) -> bool {
        alternatives.len() <= N_ALTERNATIVES_MAX
            && alternatives.iter().enumerate().all(|(idx, one)| {
                alternatives[idx + 1..].iter().all(|other| self.are_apart(one, other, 0))
            })
    }

    /// Whether it is certain that nothing fits both.
    fn are_apart(&mut self, one: &Value, other: &Value, depth: usize) -> bool {
        self.n_pairs += 1;
        if DEPTH_MAX < depth || N_PAIRS_MAX < self.n_pairs {
            return false;
        }
        let (ones, others) = (parts(self.root, one), parts(self.root, other));
        ones.iter().any(|one| others.iter().any(|other| self.parts_are_apart(one, other, depth)))
    }

    fn parts_are_apart(
        &mut self,
        one: &Map<String, Value>,
        other: &Map<String, Value>,
        depth: usize,
    ) -> bool {
        if let (Some(ones), Some(others)) = (values(one), values(other)) {
            return ones.iter().all(|one| others.iter().all(|other| differ(one, other)));
        }
        let (Some(ones), Some(others)) = (types(one), types(other)) else { return false };
        if ones.iter().all(|one| others.iter().all(|other| !is_kind_of(one, other))) {
            return true;
        }
        let are_objects = [&ones, &others].iter().all(|types| **types == ["object"]);
        are_objects
            && (self.differ_by_property(one, other, depth)
                || self.differ_by_property(other, one, depth))
    }

    /// Whether the first requires a property that the second forbids, or describes otherwise.
    fn differ_by_property(
        &mut self,
        one: &Map<String, Value>,
        other: &Map<String, Value>,
        depth: usize,
    ) -> bool {
        let required = one.get("required").and_then(Value::as_array);
        required.into_iter().flatten().filter_map(Value::as_str).any(|name| {
            let [own, others] = [one, other].map(|of| of.get("properties")?.get(name));
            match (own, others) {
                (Some(own), Some(others)) => self.are_apart(own, others, depth + 1),
                (_, None) => {
                    other.get("additionalProperties") == Some(&Value::Bool(false))
                        && !other.contains_key("patternProperties")
                }
                (None, _) => false,
            }
        })
    }
}

/// A schema and what it refers to: all of them must fit.
fn parts<'a>(root: &'a Value, schema: &'a Value) -> Vec<&'a Map<String, Value>> {
    let mut parts = Vec::new();
    let mut next = Some(schema);
    while let Some(Value::Object(members)) = next.filter(|_| parts.len() <= DEPTH_MAX) {
        parts.push(members);
        let place = members.get("$ref").and_then(Value::as_str);
        let pointer = place.and_then(|place| place.strip_prefix('#'));
        next = pointer.and_then(|pointer| root.pointer(pointer));
    }
    parts
}

/// The values that a schema allows, if it lists them.
fn values(schema: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(Value::Array(values))) => Some(values.iter().collect()),
        _ => None,
    }
}

/// Numbers are the same however they are written.
fn differ(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() != other.as_f64(),
        // What holds numbers may hold them written otherwise.
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => false,
        _ => one != other,
    }
}

/// The types that a schema allows, if it says.
fn types(schema: &Map<String, Value>) -> Option<Vec<&str>> {
    if let Some(values) = values(schema) {
        return Some(values.into_iter().map(type_of).collect());
    }
    match schema.get("type")? {
        Value::String(name) => Some(vec![name]),
        Value::Array(names) => names.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether values may be of both types.
fn is_kind_of(one: &str, other: &str) -> bool {
    let [one, other] = [one, other].map(|name| if name == "integer" { "number" } else { name });
    one == other
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(one: Value, other: Value, are_apart: bool) {
        let mut schema = json!({
            "$defs": {"one": one, "other": other, "self": {"$ref": "#/$defs/self"}},
            "type": "array", "items": {"oneOf": [{"$ref": "#/$defs/one"}, {"$ref": "#/$defs/other"}]}
        });
        let before = schema.clone();
        tell_apart(&mut schema);
        let items = &schema["items"];
        assert_eq!(items.get("anyOf").is_some(), are_apart, "{schema}");
        assert_eq!(items.get("anyOf").or(items.get("oneOf")), before["items"].get("oneOf"));
    }

    #[test]
    fn alternatives_that_exclude_one_another_are_known() {
        let kind = |kind: Value| json!({"type": "object", "properties": {"kind": kind}, "required": ["kind"]});
        let is = |value: &str| json!({"const": value});
        check(kind(is("a")), kind(is("b")), true);
        check(kind(is("a")), kind(is("a")), false);
        check(kind(json!({"enum": ["a", "b"]})), kind(json!({"enum": ["c", 5]})), true);
        check(kind(json!({"enum": ["a", "b"]})), kind(is("b")), false);
        check(kind(json!({"const": 1})), kind(json!({"const": 1.0})), false);
        check(kind(is("a")), kind(json!({"type": "integer"})), true);
        check(kind(is("a")), kind(json!({"type": "string"})), false);
        check(kind(kind(is("a"))), kind(kind(is("b"))), true);
        // Only where it must be there.
        let may_have = |value: &str| json!({"type": "object", "properties": {"kind": is(value)}});
        check(may_have("a"), may_have("b"), false);
        check(kind(is("a")), may_have("b"), true);
        let other =
            json!({"type": "object", "properties": {"n": {}}, "additionalProperties": false});
        check(kind(is("a")), other.clone(), true);
        check(may_have("a"), other, false);
        // Only objects have properties.
        let open = json!({"properties": {"kind": is("b")}, "required": ["kind"]});
        check(kind(is("a")), open, false);
        check(json!({"type": "string"}), json!({"type": ["integer", "null"]}), true);
        check(json!({"type": "number"}), json!({"type": ["integer", "null"]}), false);
        check(json!({"type": "string"}), json!({}), false);
        check(json!(true), json!({"type": "string"}), false);
        check(json!({"const": {"a": 1}}), json!({"const": {"a": 1.0}}), false);
        check(json!({"$ref": "#/$defs/self"}), json!({"type": "string"}), false);
        check(json!({"$ref": "#/$defs/one"}), json!({"$ref": "#/$defs/nothing"}), false);
    }

    #[test]
    fn what_stands_beside_the_alternatives_still_holds() {
        let alternatives = json!([{"const": 1}, {"const": 2}]);
        let mut schema = json!({"oneOf": alternatives, "anyOf": [{"const": 2}], "allOf": [true]});
        tell_apart(&mut schema);
        let expected = json!({"anyOf": [{"const": 2}], "allOf": [true, {"anyOf": alternatives}]});
        assert_eq!(schema, expected);
        // A property of that name is none.
        let mut schema = json!({"properties": {"oneOf": {"type": "string"}}});
        let before = schema.clone();
        tell_apart(&mut schema);
        assert_eq!(schema, before);
    }

    #[test]
    fn many_alternatives_take_bounded_time() {
        let within = json!({"$ref": "#/$defs/a"});
        let object = json!({
            "type": "object", "properties": {"a": within, "b": within}, "required": ["a", "b"]
        });
        let mut schema = json!({"$defs": {"a": object}, "oneOf": vec![object.clone(); 64]});
        let started = std::time::Instant::now();
        tell_apart(&mut schema);
        assert!(schema.get("oneOf").is_some());
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    }
}
