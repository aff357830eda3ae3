//! Schemas that are made to do harm, or cannot be kept to.

use std::time::{Duration, Instant};

use lapwing_grammar::{Answer, Form};
use lapwing_text::ReplyFormat;
use serde_json::{Map, Value, json};

use crate::model::{Speech, all, byte_level};

/// Compilation and some tokens end within it, in a build without much optimisation.
const TIME_MAX: Duration = Duration::from_secs(10);

/// An error in words, or `None` for an answer that was begun.
fn outcome(speech: &Speech, schema: &Value) -> Option<String> {
    let reply = ReplyFormat::plain();
    let answer =
        Answer { form: Form::Schema(schema), reply: &reply, prompt_end: "", may_think: true };
    let started = Instant::now();
    let outcome = match speech.compile(&answer) {
        Ok(mut keeper) => {
            speech.try_answer(&mut keeper, 1, 20).err().map(|error| error.to_string())
        }
        Err(error) => Some(error.to_string()),
    };
    let elapsed = started.elapsed();
    assert!(elapsed < TIME_MAX, "{elapsed:?} for {:.80}", schema.to_string());
    eprintln!("{elapsed:?} {outcome:?} {:.60}", schema.to_string());
    outcome
}

fn properties(n: usize) -> Value {
    let properties: Map<String, Value> =
        (0..n).map(|idx| (format!("p{idx}"), json!({"type": "string"}))).collect();
    json!({"type": "object", "properties": properties})
}

/// `n` definitions, each of which refers to the next one twice.
fn laughs(n: usize, keyword: &str) -> Value {
    let mut definitions = Map::new();
    for idx in 0..n {
        let next = json!({"$ref": format!("#/$defs/d{}", idx + 1)});
        definitions.insert(format!("d{idx}"), json!({keyword: [next, next]}));
    }
    definitions.insert(
        format!("d{n}"),
        json!({"type": "object", "properties": {"a": {"type": "integer"}}}),
    );
    json!({"$defs": definitions, "$ref": "#/$defs/d0"})
}

fn nested(n: usize) -> Value {
    (0..n).fold(json!({"type": "string"}), |inner, _| json!({"type": "array", "items": inner}))
}

#[test]
fn hostile_schemas_end_in_time() {
    let cases = || {
        vec![
            properties(1000),
            properties(5000),
            json!({"type": "string", "pattern": "^((a+)+)+$"}),
            json!({"type": "string", "pattern": "^(([a-z]+)*[0-9]?)*(x|y)*([a-z]{1,30}){1,30}$"}),
            json!({"type": "string", "pattern": "(a{1,1000}){1,1000}"}),
            json!({"type": "string", "pattern": "((((((a{0,9}){0,9}){0,9}){0,9}){0,9}){0,9}){0,9}"}),
            json!({"type": "string", "pattern": "(.*a.{20})&(.*b.{20})"}),
            json!({"type": "string", "pattern": ".*(a|b).{30}"}),
            json!({"type": "array", "items": {"type": "integer"}, "minItems": 100_000}),
            json!({"type": "array", "items": {"type": "integer"}, "minItems": 1000}),
            json!({"type": "array", "items": properties(30), "minItems": 1000, "maxItems": 1001}),
            json!({"type": "array", "items": {}, "maxItems": 4_000_000_000_u64}),
            json!({"type": "string", "minLength": 100_000}),
            json!({"type": "string", "minLength": 1000, "maxLength": 100_000}),
            json!({"$ref": "#"}),
            json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
            json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}),
            json!({"$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 1}}, "$ref": "#/$defs/a"}),
            laughs(30, "allOf"),
            laughs(30, "anyOf"),
            laughs(30, "oneOf"),
            nested(60),
            nested(100),
            json!({"enum": (0..10_000).collect::<Vec<_>>()}),
            json!({"enum": (0..5_000).map(|idx| format!("{idx} word")).collect::<Vec<_>>()}),
            json!({"type": "integer", "multipleOf": 1_234_567_891}),
            json!({"type": "number", "multipleOf": 1e-9, "minimum": 0.1, "maximum": 1e300}),
            json!({"patternProperties": {"^a.*b.*c.*d$": {}, "^.*a.*b.*$": {}, "x{1,900}": {}}}),
            json!({"type": "string", "pattern": "x".repeat(2000)}),
            json!({"not": {"type": "object"}}),
        ]
    };
    for speech in all() {
        eprintln!("{}", speech.name);
        for schema in cases() {
            outcome(&speech, &schema);
        }
    }
}

#[test]
fn what_cannot_be_kept_to_is_an_error_that_says_why() {
    let speech = byte_level(&[], &[]);
    let check = |schema: Value, expected: &str| {
        let told = outcome(&speech, &schema).unwrap_or_else(|| panic!("{schema} was taken"));
        assert!(told.contains(expected), "{schema}: {told}");
    };
    check(json!({"$ref": "https://example.org/schema.json"}), "example.org");
    check(json!({"$ref": "file:///etc/passwd"}), "passwd");
    check(json!({"$ref": "#/$defs/none"}), "none");
    check(json!({"type": "array", "items": {}, "uniqueItems": true}), "uniqueItems");
    check(json!({"not": {"type": "string"}}), "not");
    check(json!({"type": "string", "pattern": "(?=a)b"}), "look-around");
    check(json!({"type": "string", "format": "no such format"}), "no such format");
    check(json!({"type": "text"}), "text");
    check(json!({"type": "array", "items": {}, "minItems": 100_000}), "minItems is 100000");
    check(json!({"type": "string", "minLength": 5, "maxLength": 3}), "minLength");
    assert_eq!(outcome(&speech, &properties(1000)), None, "a large schema is kept to");
    check(json!(7), "no JSON object");
    check(json!(false), "");
}
