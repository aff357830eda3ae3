//! The loop, the session and the score over a backend without a library.

mod answers;
mod bad_input;
mod corrections;
mod generations;
mod models;
mod real;
mod replies;
mod scores;
mod sessions;

use std::ops::ControlFlow;
use std::path::Path;

use lapwing_logits::{Details, SamplerOptions};
use lapwing_runtime::{Event, Generated, Request, Session, generate};
use lapwing_text::{SpecialPieces, Tokenizer};

/// At an address, for requests to point to.
static GREEDY: SamplerOptions = SamplerOptions::greedy();

/// A greedy request for five tokens without anything else.
fn request(prompt: &[u32]) -> Request<'_> {
    Request {
        prompt,
        tokenizer: None,
        special: SpecialPieces::Skip,
        reply: None,
        sampler: &GREEDY,
        details: Details::NONE,
        n_tokens_max: 5,
        stop_ids: &[],
        ignore_stop_ids: false,
        stop_texts: &[],
        n_first_step_top: 0,
    }
}

/// Generate to the end; the events' texts must be the answer's text.
fn run(session: &mut Session, request: &Request<'_>) -> Generated {
    let mut text = String::new();
    let generated = generate(session, request, &mut |event| {
        if let Event::Token { text: chunk, .. } = event {
            text.push_str(chunk);
        }
        ControlFlow::Continue(())
    });
    let generated = generated.expect("the request is fine");
    assert_eq!(text, generated.text);
    generated
}

/// A tokenizer whose token `i` is `pieces[i]`; `decoder` is the JSON of its decoder.
fn tokenizer(pieces: &[&str], decoder: &str) -> Tokenizer {
    let vocabulary: Vec<String> =
        pieces.iter().enumerate().map(|(id, piece)| format!("\"{piece}\":{id}")).collect();
    let json = format!(
        r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],
            "normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":{decoder},
            "model":{{"type":"WordLevel","vocab":{{{}}},"unk_token":"{}"}}}}"#,
        vocabulary.join(","),
        pieces[0]
    );
    Tokenizer::from_bytes(json.as_bytes(), Path::new("made.json")).expect("it is well formed")
}

/// Pieces are joined as they are.
const FUSE: &str = r#"{"type":"Fuse"}"#;

/// As in Llama 2: spaces as `▁`, bytes as `<0xNN>`, no space before the first word.
const LLAMA: &str = r#"{"type":"Sequence","decoders":[
    {"type":"Replace","pattern":{"String":"▁"},"content":" "},
    {"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}"#;
