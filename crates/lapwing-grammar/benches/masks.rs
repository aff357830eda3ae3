//! What a token of a form costs: the mask of what may come next, and how long it takes to compile a
//! form. `MASKS_TOKENIZER` names a `tokenizer.json` at compile time, since large ones are not at hand
//! everywhere.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use divan::Bencher;
use lapwing_grammar::{Answer, Form, Vocabulary, compile};
use lapwing_runtime::Constraint as _;
use lapwing_text::{ReplyFormat, Tokenizer};
use serde_json::{Value, json};

/// SmolLM2's, 49 k tokens.
const SMOLLM2: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../../shared/exports/smollm2-135m-instruct-ov-int4/tokenizer.json"
);

fn main() {
    divan::main();
}

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer", "minimum": 0},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}}
        },
        "required": ["name", "age", "tags"], "additionalProperties": false
    })
}

const TEXT: &str =
    r#"{"name": "A somewhat longer name", "age": 42, "tags": ["one", "two", "three"]}"#;

/// A tokenizer by its file, which `MASKS_TOKENIZER` names; SmolLM2's otherwise.
fn speech() -> Option<&'static (Tokenizer, Arc<Vocabulary>)> {
    static SPEECH: OnceLock<Option<(Tokenizer, Arc<Vocabulary>)>> = OnceLock::new();
    let read = || {
        let path = option_env!("MASKS_TOKENIZER").unwrap_or(SMOLLM2);
        let tokenizer = Tokenizer::open(Path::new(path)).ok()?;
        let vocabulary = Arc::new(Vocabulary::new(&tokenizer, &[0]).ok()?);
        Some((tokenizer, vocabulary))
    };
    SPEECH.get_or_init(read).as_ref()
}

#[divan::bench]
fn compile_a_schema(bencher: Bencher) {
    let Some((_, vocabulary)) = speech() else { return };
    let (schema, reply) = (schema(), ReplyFormat::plain());
    let form = Form::Schema(&schema);
    let answer = Answer { form, reply: &reply, prompt_end: "", may_think: false };
    bencher.bench_local(|| compile(vocabulary, &answer).map(|_| ()));
}

/// All masks of an answer, one behind the other: nothing is computed meanwhile.
#[divan::bench]
fn an_answer(bencher: Bencher) {
    let Some((tokenizer, vocabulary)) = speech() else { return };
    let (schema, reply) = (schema(), ReplyFormat::plain());
    let form = Form::Schema(&schema);
    let answer = Answer { form, reply: &reply, prompt_end: "", may_think: false };
    let ids = tokenizer.encode(TEXT, false).unwrap_or_default();
    let row = vec![0.0_f32; tokenizer.n_vocab()];
    bencher
        .counter(divan::counter::ItemsCount::new(ids.len()))
        .with_inputs(|| (compile(vocabulary, &answer).ok(), row.clone()))
        .bench_local_values(|(keeper, mut row)| {
            let Some(mut keeper) = keeper else { return };
            for &id in &ids {
                if keeper.forbid(&mut row).is_err() || keeper.take(id) {
                    break;
                }
            }
        });
}

#[divan::bench]
fn read_a_vocabulary(bencher: Bencher) {
    let Some((tokenizer, _)) = speech() else { return };
    bencher.bench_local(|| Vocabulary::new(tokenizer, &[0]).map(|_| ()));
}
