use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::message::{ReplyEvent, Why};
use crate::mouth::Lines;

/// Everything that is said to requests until each of `n_requests` had its last word.
fn answers(asks: Vec<(u64, Ask)>, n_requests: usize) -> Vec<(u64, Said)> {
    let served = crate::fake::named("fake", DeviceRequest::Auto).unwrap();
    let (said, lines) = mpsc::channel();
    let mouth = Mouth::of(Lines(said));
    let reader = Reader { served: &served, forms: Forms::default(), mouth: &mouth };
    let options = TurnsOptions { n_sequences_max: 4, n_kept_bytes_max: 0 };
    let (sender, turns) = mpsc::channel();
    let mut heard = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| take_turns(&served, options, turns, &mouth));
        for (number, ask) in asks {
            reader.read(number, ask, &sender, scope);
        }
        let mut n_over = 0;
        while n_over < n_requests {
            let line = match lines.recv_timeout(Duration::from_secs(60)) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            };
            let words: Vec<&str> = line.trim().splitn(4, ' ').collect();
            n_over += usize::from(words[1] == "last");
            heard.push((words[2].parse().unwrap(), serde_json::from_str(words[3]).unwrap()));
        }
        drop(sender);
    });
    heard
}

fn generate(form: Option<Form>) -> Ask {
    let prompt = Prompt::Text { text: "!".to_owned(), add_special: false };
    let json = json!({"prompt": prompt, "n_tokens_max": 200, "form": form,
        "sampling": {"temperature": 1.0, "seed": 3}});
    Ask::Generate(Box::new(serde_json::from_value(json).unwrap()))
}

fn text(heard: &[(u64, Said)], of: u64) -> String {
    let pieces = heard.iter().filter(|(number, _)| *number == of).map(|(_, said)| said);
    let parts = pieces.filter_map(|said| match said {
        Said::Piece(piece) => Some(&piece.parts),
        _ => None,
    });
    let text = |part: &ReplyEvent| match part {
        ReplyEvent::Content(text) => Some(text.clone()),
        _ => None,
    };
    parts.flatten().filter_map(text).collect()
}

fn why(heard: &[(u64, Said)], of: u64) -> Option<Why> {
    heard.iter().filter(|(number, _)| *number == of).find_map(|(_, said)| match said {
        Said::Ended(ended) => Some(ended.why),
        _ => None,
    })
}

#[test]
fn an_answer_keeps_to_its_form_and_ends_when_it_is_complete() {
    let schema = json!({
        "type": "object",
        "properties": {"a": {"type": "integer", "maximum": 99, "minimum": 0}, "b": {"enum": ["x", "yy"]}},
        "required": ["a", "b"], "additionalProperties": false
    });
    let heard = answers(vec![(1, generate(Some(Form::Schema(schema)))), (2, generate(None))], 2);
    let value: Value = serde_json::from_str(&text(&heard, 1)).unwrap();
    assert!((0..=99).contains(&value["a"].as_i64().unwrap()), "{value}");
    assert!(["x", "yy"].contains(&value["b"].as_str().unwrap()), "{value}");
    assert_eq!((why(&heard, 1), why(&heard, 2)), (Some(Why::Stop), Some(Why::Length)));
    assert_eq!(text(&heard, 2).chars().count(), 200);
}

#[test]
fn a_form_that_cannot_be_kept_to_is_refused_before_the_answer_begins() {
    let check = |form: Form, expected: &str| {
        let heard = answers(vec![(1, generate(Some(form)))], 1);
        let [(1, Said::Failed(failure))] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!(failure.kind, FailureKind::Request);
        assert!(failure.message.contains(expected), "{failure:?}");
    };
    check(Form::Schema(json!({"$ref": "https://example.org/x"})), "example.org");
    check(Form::Schema(json!({"type": "array", "uniqueItems": true})), "uniqueItems");
    check(Form::Call { name: None }, "no function");
}

#[test]
fn a_request_can_be_given_up_while_its_form_is_compiled() {
    let served = crate::fake::named("fake", DeviceRequest::Auto).unwrap();
    let (said, lines) = mpsc::channel();
    let mouth = Mouth::of(Lines(said));
    let reader = Reader { served: &served, forms: Forms::default(), mouth: &mouth };
    let (sender, turns) = mpsc::channel();
    reader.forms.begin(7);
    reader.cancel(7, &sender);
    assert!(lines.try_recv().unwrap().contains("cancelled"));
    assert!(turns.try_recv().is_err(), "nobody else is told");
    let Ask::Generate(generate) = generate(None) else { unreachable!("it is one") };
    let (wanted, _) = wanted(&served, 7, *generate, Instant::now()).unwrap();
    let form = WantedForm { form: Form::Json, may_think: false };
    reader.compile(wanted, &form, &sender);
    assert!(lines.try_recv().is_err() && turns.try_recv().is_err(), "it was given up");
    reader.cancel(8, &sender);
    assert!(matches!(turns.try_recv(), Ok(Turn::Cancel(8))));
}
