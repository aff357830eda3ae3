//! Answers that keep to schemas.

use lapwing_grammar::{Answer, Form};
use lapwing_runtime::Constraint as _;
use lapwing_text::ReplyFormat;
use serde_json::{Value, json};

use crate::model::{Speech, all, byte_level};

const N_ANSWERS: u64 = 100;
const N_TOKENS_MAX: usize = 3000;

fn schemas() -> Vec<Value> {
    vec![
        json!({"type": "object"}),
        json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": 12},
                "age": {"type": "integer", "minimum": 0, "maximum": 130},
                "ratio": {"type": "number", "exclusiveMinimum": -1.5, "maximum": 2.25},
                "is_here": {"type": "boolean"},
                "nothing": {"type": "null"}
            },
            "required": ["name", "age", "is_here"],
            "additionalProperties": false
        }),
        json!({
            "type": "object",
            "properties": {
                "tags": {
                    "type": "array", "minItems": 2, "maxItems": 4,
                    "items": {"enum": ["a", "quoted \" one", "\\", "漢", 7, null, true]}
                },
                "kind": {"const": "point"},
                "pair": {
                    "type": "array", "prefixItems": [{"type": "integer"}, {"type": "string", "maxLength": 3}],
                    "items": false, "minItems": 2
                }
            },
            "required": ["tags", "kind", "pair"], "additionalProperties": false
        }),
        json!({
            "$defs": {
                "Node": {
                    "type": "object",
                    "properties": {
                        // Larger ones lose digits where they are read.
                        "value": {"type": "integer", "multipleOf": 5, "maximum": 999_999, "minimum": -50},
                        "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}, "maxItems": 2}
                    },
                    "required": ["value", "children"], "additionalProperties": false
                }
            },
            "$ref": "#/$defs/Node"
        }),
        json!({
            "type": "object",
            "properties": {
                "date": {"type": "string", "format": "date"},
                "id": {"type": "string", "format": "uuid"},
                "code": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,5}$"},
                "mail": {"anyOf": [{"type": "string", "format": "ipv4"}, {"type": "null"}]}
            },
            "required": ["date", "id", "code", "mail"], "additionalProperties": false
        }),
        json!({
            "$defs": {
                "Cat": {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer", "minimum": 1, "maximum": 9}}, "required": ["kind", "lives"], "additionalProperties": false},
                "Dog": {"type": "object", "properties": {"kind": {"const": "dog"}, "name": {"type": "string", "maxLength": 5}}, "required": ["kind", "name"], "additionalProperties": false}
            },
            "type": "object",
            "properties": {"pet": {
                "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
                "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}}
            }},
            "required": ["pet"]
        }),
        json!({
            "$defs": {
                "Cat": {"type": "object", "properties": {"kind": {"const": "cat"}}, "required": ["kind"], "additionalProperties": false},
                "Dog": {"type": "object", "properties": {"kind": {"const": "dog"}, "n": {"type": "integer"}}, "required": ["kind", "n"], "additionalProperties": false}
            },
            "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}, {"type": "null"}]
        }),
        json!({"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 3}),
        json!({"type": "array", "items": {"type": ["string", "integer"], "maxLength": 4}, "maxItems": 5}),
        json!({"allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {"type": "boolean"}}, "required": ["b"]}
        ]}),
        json!({"type": "boolean"}),
        json!({"enum": ["one", 2, [3]]}),
    ]
}

fn check(speech: &Speech, schema: &Value) {
    let reply = ReplyFormat::plain();
    let answer =
        Answer { form: Form::Schema(schema), reply: &reply, prompt_end: "", may_think: true };
    // Formats as the grammar has them: it knows no leap years.
    let validator = jsonschema::options().should_validate_formats(false).build(schema).unwrap();
    for seed in 0..N_ANSWERS {
        let mut keeper =
            speech.compile(&answer).unwrap_or_else(|error| panic!("{schema}: {error}"));
        let ids = speech.answer(&mut keeper, seed, N_TOKENS_MAX);
        let ids = ids.unwrap_or_else(|| panic!("{} {schema} {seed}: no end", speech.name));
        let text = speech.text(&ids);
        let value: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{} {schema} {seed}: {error}: {text:?}", speech.name));
        assert!(validator.is_valid(&value), "{} {schema} {seed}: {text}", speech.name);
    }
}

#[test]
fn every_answer_keeps_to_its_schema() {
    for speech in all() {
        for schema in schemas() {
            check(&speech, &schema);
        }
    }
}

#[test]
fn an_answer_to_json_is_an_object() {
    let reply = ReplyFormat::plain();
    let answer = Answer { form: Form::Json, reply: &reply, prompt_end: "", may_think: true };
    for speech in all() {
        for seed in 0..N_ANSWERS {
            let mut keeper = speech.compile(&answer).unwrap();
            let ids = speech.answer(&mut keeper, seed, N_TOKENS_MAX).expect("it ends");
            let text = speech.text(&ids);
            let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text:?}"));
            assert!(value.is_object(), "{text}");
        }
    }
}

#[test]
fn a_complete_object_ends_its_answer_without_another_token() {
    let speech = byte_level(&[], &[]);
    let schema = json!({"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": false});
    let reply = ReplyFormat::plain();
    let answer =
        Answer { form: Form::Schema(&schema), reply: &reply, prompt_end: "", may_think: true };
    let mut keeper = speech.compile(&answer).unwrap();
    let ids = speech.tokenizer.encode(r#"{"a": 1}"#, false).unwrap();
    for (idx, id) in ids.iter().enumerate() {
        let mut row = vec![0.0; speech.tokenizer.n_vocab()];
        keeper.forbid(&mut row).unwrap();
        assert_eq!(row[*id as usize], 0.0, "token {idx} may come");
        assert_eq!(row[speech.stop_ids[0] as usize], f32::NEG_INFINITY, "no end before {idx}");
        assert_eq!(keeper.take(*id), idx + 1 == ids.len(), "{idx}");
    }
}

#[test]
fn special_tokens_are_in_no_string() {
    let speech = byte_level(&["<|special|>"], &[]);
    let special = speech.tokenizer.token_id("<|special|>").unwrap();
    let reply = ReplyFormat::plain();
    let answer = Answer { form: Form::Json, reply: &reply, prompt_end: "", may_think: true };
    let mut keeper = speech.compile(&answer).unwrap();
    for id in speech.tokenizer.encode("{\"key\": \"te", false).unwrap() {
        let mut row = vec![0.0; speech.tokenizer.n_vocab()];
        keeper.forbid(&mut row).unwrap();
        assert_eq!(row[special as usize], f32::NEG_INFINITY);
        assert_eq!(row[id as usize], 0.0);
        assert!(!keeper.take(id));
    }
    let mut row = vec![0.0; speech.tokenizer.n_vocab()];
    keeper.forbid(&mut row).unwrap();
    assert_eq!(row[special as usize], f32::NEG_INFINITY);
    assert_eq!(row[speech.stop_ids[0] as usize], f32::NEG_INFINITY);
    // The same spelled as text is text.
    assert_eq!(row[usize::from(b'<')], 0.0);
}

/// How many of the digits in `text` may come behind `start`, one by one.
fn n_digits(schema: &Value, start: &str, text: &str) -> usize {
    let speech = byte_level(&[], &[]);
    let reply = ReplyFormat::plain();
    let answer =
        Answer { form: Form::Schema(schema), reply: &reply, prompt_end: "", may_think: true };
    let mut keeper = speech.compile(&answer).unwrap();
    let mut n_taken = 0;
    for byte in start.bytes().chain(text.bytes()) {
        let id = speech.tokenizer.encode(&char::from(byte).to_string(), false).unwrap()[0];
        let mut row = vec![0.0; speech.tokenizer.n_vocab()];
        keeper.forbid(&mut row).unwrap();
        if row[id as usize] != 0.0 {
            break;
        }
        n_taken += 1;
        assert!(!keeper.take(id));
    }
    n_taken - start.len()
}

#[test]
fn the_digits_of_numbers_are_bounded() {
    let of = |schema: Value| {
        let properties = json!({"a": schema});
        json!({"type": "object", "properties": properties, "required": ["a"]})
    };
    let check = |schema: Value, start: &str, digit: &str, expected: usize| {
        let n = n_digits(&of(schema.clone()), start, &digit.repeat(60));
        assert_eq!(n, expected, "{schema} {start}");
    };
    check(json!({"type": "integer"}), r#"{"a": "#, "7", 20);
    check(json!({"type": "number"}), r#"{"a": -0."#, "3", 20);
    check(json!({"type": "number"}), r#"{"a": 1.5e-"#, "3", 20);
    check(json!({"type": "number", "exclusiveMinimum": 0, "maximum": 9}), r#"{"a": 0."#, "0", 20);
    check(json!({"type": "string", "format": "time"}), r#"{"a": "12:00:00."#, "0", 20);
    // What is text, or must be so long, is as long as it is.
    check(json!({"type": "string"}), r#"{"a": ""#, "7", 60);
    check(json!({"type": "string", "pattern": "^[0-9]{40}$"}), r#"{"a": ""#, "7", 40);
}

#[test]
fn white_space_is_bounded() {
    let speech = byte_level(&[], &[]);
    let reply = ReplyFormat::plain();
    let answer = Answer { form: Form::Json, reply: &reply, prompt_end: "", may_think: true };
    let mut keeper = speech.compile(&answer).unwrap();
    let mut n_spaces = 0;
    keeper.forbid(&mut vec![0.0; 300]).unwrap();
    keeper.take(u32::from(b'{'));
    for space in std::iter::once('\n').chain(std::iter::repeat(' ')) {
        let id = speech.tokenizer.encode(&space.to_string(), false).unwrap()[0];
        let mut row = vec![0.0; speech.tokenizer.n_vocab()];
        keeper.forbid(&mut row).unwrap();
        if row[id as usize] != 0.0 {
            break;
        }
        n_spaces += 1;
        assert!(n_spaces < 100, "white space without end");
        keeper.take(id);
    }
    assert_eq!(n_spaces, 21, "a line's end and its indentation");
}
