//! Thoughts and calls apart from the text.

#![allow(clippy::unwrap_used, reason = "the lint knows tests, not their helpers")]

use std::ops::ControlFlow;
use std::path::Path;

use lapwing_runtime::{Event, Finish, Generated, Request, generate};
use lapwing_text::{Reply, ReplyFormat, SpecialPieces, Tokenizer, ToolCall};

use crate::models::session;
use crate::{LLAMA, request};

/// A tokenizer whose token `i` is `pieces[i]`; those in brackets are special tokens.
fn tokenizer(pieces: &[&str], decoder: &str) -> Tokenizer {
    let vocabulary: Vec<String> =
        pieces.iter().enumerate().map(|(id, piece)| format!("{piece:?}:{id}")).collect();
    let special = pieces.iter().enumerate().filter(|(_, piece)| piece.starts_with("["));
    let special = special.map(|(id, piece)| {
        format!(
            r#"{{"id":{id},"content":"{piece}","single_word":false,"lstrip":false,
                "rstrip":false,"normalized":false,"special":true}}"#
        )
    });
    let json = format!(
        r#"{{"version":"1.0","added_tokens":[{}],"decoder":{decoder},
            "model":{{"type":"WordLevel","vocab":{{{}}},"unk_token":"a"}}}}"#,
        special.collect::<Vec<_>>().join(","),
        vocabulary.join(",")
    );
    Tokenizer::from_bytes(json.as_bytes(), Path::new("made.json")).unwrap()
}

/// The fake model counts up; the parts of all events must be the answer.
fn answer(request: &Request<'_>) -> Generated {
    let mut reply = Reply::default();
    let mut text = String::new();
    let mut session = session(20, 100, true);
    let generated = generate(&mut session, request, &mut |event| {
        if let Event::Token { parts, text: newest, .. } = event {
            parts.iter().for_each(|part| reply.add(part));
            text.push_str(newest);
        }
        ControlFlow::Continue(())
    });
    let generated = generated.unwrap();
    let Reply { content, reasoning, tool_calls } = reply;
    assert_eq!((&content, &reasoning), (&generated.text, &generated.reasoning));
    assert_eq!((text, tool_calls), (content, generated.tool_calls.clone()));
    generated
}

#[test]
fn thoughts_and_calls_are_apart_whatever_the_detokenizer_holds_back() {
    let suffixed = r#"{"type":"BPEDecoder","suffix":"</w>"}"#;
    let byte_level = r#"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,
        "use_regex":false}"#;
    let check = |pieces: &[&str], decoder: &str, content: &str, reasoning: &str| {
        let pieces = [&["a"], pieces].concat();
        let words = tokenizer(&pieces, decoder);
        let format = ReplyFormat::detect(None, &words);
        let n_tokens_max = pieces.len() - 1;
        let apart = Request {
            tokenizer: Some(&words),
            reply: Some(&format),
            n_tokens_max,
            ..request(&[0])
        };
        let generated = answer(&apart);
        let found = (generated.text.as_str(), generated.reasoning.as_str());
        assert_eq!(found, (content, reasoning), "{pieces:?}");
        assert_eq!(generated.token_ids.len(), n_tokens_max);
    };
    check(&["[THINK]", "▁Hm", "▁so", "[/THINK]", "▁four"], LLAMA, "four", "Hm so");
    check(&["[THINK]", "<0xC3>", "<0xA9>", "[/THINK]", "▁a", "▁b"], LLAMA, "a b", "é");
    check(&["[THINK]", "Hm</w>", "so</w>", "[/THINK]", "fo", "ur</w>"], suffixed, "four", "Hm so");
    check(&["[THINK]", "Ã", "©", "[/THINK]", "a", "Ġ"], byte_level, "a ", "é");
    // A character that a marker breaks off.
    check(&["[THINK]", "b", "Ã", "[/THINK]", "c"], byte_level, "c", "b\u{fffd}");
    // A special token that is no marker leaves no trace.
    check(&["[THINK]", "Hm", "[X]", "so", "[/THINK]", "b"], byte_level, "b", "Hmso");
}

#[test]
fn the_prompt_may_open_the_thought_and_a_stop_string_may_end_it() {
    let words = tokenizer(&["[THINK]", "b", "c", "[/THINK]", "a", "d"], r#"{"type":"Fuse"}"#);
    let format = ReplyFormat::detect(None, &words);
    let apart = Request { tokenizer: Some(&words), reply: Some(&format), ..request(&[0]) };
    let generated = answer(&apart);
    assert_eq!((generated.text.as_str(), generated.reasoning.as_str()), ("ad", "bc"));
    let stops = ["c".to_owned()];
    let generated = answer(&Request { stop_texts: &stops, ..apart });
    assert_eq!((generated.text.as_str(), generated.reasoning.as_str()), ("", "b"));
    assert_eq!(generated.finish, Finish::StopText { text: "c".to_owned() });
    // Nothing is taken apart where special tokens are shown, or no format is given.
    let generated = answer(&Request { special: SpecialPieces::Show, ..apart });
    assert_eq!((generated.text.as_str(), generated.reasoning.as_str()), ("bc[/THINK]ad", ""));
    let generated = answer(&Request { reply: None, ..apart });
    assert_eq!((generated.text.as_str(), generated.reasoning.as_str()), ("bcad", ""));
}

#[test]
fn a_stop_string_may_hold_the_marker_of_a_thought() {
    let words = tokenizer(&["[THINK]", "b", "c", "[/THINK]", "ad", "e"], r#"{"type":"Fuse"}"#);
    let format = ReplyFormat::detect(None, &words);
    let check = |stop: &str, content: &str, reasoning: &str, n_tokens: usize| {
        let stops = [stop.to_owned()];
        let generated = answer(&Request {
            tokenizer: Some(&words),
            reply: Some(&format),
            stop_texts: &stops,
            ..request(&[0])
        });
        let found = (generated.text.as_str(), generated.reasoning.as_str());
        assert_eq!(found, (content, reasoning), "{stop}");
        let ended = Finish::StopText { text: stop.to_owned() };
        assert_eq!(generated.finish == ended, n_tokens < 5, "{stop} {:?}", generated.finish);
        assert_eq!(generated.token_ids.len(), n_tokens, "{stop}");
    };
    check("[/THINK]", "", "bc", 3);
    check("[/THINK]a", "", "bc", 4);
    check("c[/THINK]ad", "", "b", 4);
    check("[/THINK]b", "ade", "bc", 5);
    // A thought and what comes behind it are no one text.
    check("ca", "ade", "bc", 5);
}

#[test]
fn a_call_that_ends_with_the_answer_is_whole() {
    let pieces = ["a", "b", "[TOOL_CALLS]", "f", "[ARGS]", "{", "}"];
    let words = tokenizer(&pieces, r#"{"type":"Fuse"}"#);
    let format = ReplyFormat::detect(None, &words);
    let check = |n_tokens_max: usize, stop_ids: &[u32], arguments: &str| {
        let generated = answer(&Request {
            tokenizer: Some(&words),
            reply: Some(&format),
            n_tokens_max,
            stop_ids,
            ..request(&[0])
        });
        let call = ToolCall { name: "f".to_owned(), arguments: arguments.to_owned() };
        assert_eq!((generated.text.as_str(), generated.tool_calls), ("b", vec![call]));
    };
    check(6, &[], "{}");
    check(5, &[], "{");
    check(20, &[6], "{");
}
