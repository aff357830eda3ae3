//! Score a text: how likely a model finds each token of it.
//!
//! ```text
//! cargo run --release --example score -- FOLDER MODEL "The capital of France is Paris."
//! ```
//!
//! Prints a line for each token, its logarithmic probability in nats, and the perplexity.
#![allow(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::path::Path;

use lapwing_host::runtime::score_rows;
use lapwing_host::text::SpecialPieces;
use lapwing_host::{Caller, Engine, Host, OpenRequest};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, model, text] = &arguments[..] else {
        return Err("usage: score FOLDER MODEL TEXT".into());
    };
    let host = Host::below(Path::new(folder));
    let engine = Engine::open(&host, &OpenRequest::of(model, &host), Caller::NOBODY)?;
    let tokenizer = engine.tokenizer()?;
    let tokens = tokenizer.encode(text, true)?;
    if tokens.len() < 2 {
        return Err("the text is too short: a token is judged by those before it".into());
    }

    // The row of a token says what may follow it.
    let mut ln_probabilities = Vec::new();
    let mut decoder = engine.model.decoder()?;
    score_rows(&*engine.model, &mut *decoder, &tokens, &mut |row| {
        if let Some(&next) = tokens.get(row.token_idx + 1) {
            ln_probabilities.push(ln_softmax(row.logits, next as usize));
        }
    })?;

    for (token, ln_probability) in tokens[1..].iter().zip(&ln_probabilities) {
        let text = tokenizer.decode(&[*token], SpecialPieces::Show);
        println!("{ln_probability:9.4}  {text:?}");
    }
    let mean = ln_probabilities.iter().sum::<f64>() / ln_probabilities.len() as f64;
    println!("perplexity {:.4} over {} tokens", (-mean).exp(), ln_probabilities.len());
    Ok(())
}

/// The logarithm of one token's share: `logits[token] - ln sum exp logits`, in f64.
fn ln_softmax(logits: &[f32], token: usize) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
    f64::from(logits[token] - largest) - sum.ln()
}
