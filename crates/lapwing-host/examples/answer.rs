//! Open a model and stream an answer.
//!
//! ```text
//! cargo run --release --example answer -- FOLDER MODEL "What is the capital of France?"
//! ```
//!
//! FOLDER is where `lapwing` keeps its things (`~/.local/share/lapwing`, or `LAPWING_HOME`), MODEL a
//! name in it or a path.
#![allow(clippy::print_stdout, reason = "an example")]

use std::error::Error;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;

use lapwing_host::runtime::{Event, generate};
use lapwing_host::sampling::{self, SamplingRequest};
use lapwing_host::text::Message;
use lapwing_host::{Caller, Engine, Host, OpenRequest, conversation};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, model, question] = &arguments[..] else {
        return Err("usage: answer FOLDER MODEL QUESTION".into());
    };
    let host = Host::below(Path::new(folder));
    let engine = Engine::open(&host, &OpenRequest::of(model, &host), Caller::NOBODY)?;

    let messages = [Message::new("user", question.as_str())];
    let prompt = conversation::encode(&engine, &messages, false)?;
    conversation::check_length(&engine, prompt.len())?;
    let sampler = sampling::options(&SamplingRequest::default(), &engine.folder.generation);

    let mut session = engine.session(None)?;
    let answer = generate(&mut session, &engine.request(&prompt, &sampler, 256), &mut |event| {
        if let Event::Token { text, .. } = event {
            print!("{text}");
            // Whoever reads may be gone: then there is nobody to answer.
            if std::io::stdout().flush().is_err() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    println!();
    let device = &engine.model.device_used().id;
    println!("[{} tokens on {device}]", answer.usage.n_completion_tokens);
    Ok(())
}
