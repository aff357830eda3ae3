use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{ChatTemplate, SpecialPieces, SpecialTokens, Tokenizer};

/// A byte-level tokenizer without merges, with these special tokens and these that are text: tokens
/// are bytes, so that every one but ASCII's ends inside a character.
fn tokenizer(special: &[&str], plain: &[&str]) -> Tokenizer {
    let mut vocab = serde_json::Map::new();
    for byte in 0..=255_u8 {
        vocab.insert(symbol_of(byte).to_string(), json!(byte));
    }
    let added =
        special.iter().map(|text| (text, true)).chain(plain.iter().map(|text| (text, false)));
    let added: Vec<Value> = added
        .enumerate()
        .map(|(idx, (text, is_special))| {
            json!({
                "id": 256 + idx, "content": text, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": is_special
            })
        })
        .collect();
    let level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false
    });
    let json = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": []
        }
    });
    Tokenizer::from_bytes(json.to_string().as_bytes(), Path::new("test")).unwrap()
}

/// What stands for a byte in a byte-level vocabulary.
fn symbol_of(byte: u8) -> char {
    let is_itself = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    if is_itself(byte) {
        return char::from(byte);
    }
    let n_before = (0..byte).filter(|&byte| !is_itself(byte)).count();
    char::from_u32(256 + u32::try_from(n_before).unwrap()).unwrap()
}

/// A model's side of an answer.
struct Model {
    tokenizer: Tokenizer,
    format: ReplyFormat,
    prompt_end: &'static str,
}

impl Model {
    fn new(special: &[&str], plain: &[&str], template: &str) -> Model {
        let tokenizer = tokenizer(special, plain);
        let path = Path::new("test.jinja");
        let template = ChatTemplate::from_source(template, SpecialTokens::default(), path);
        let format = ReplyFormat::detect(Some(&template), &tokenizer);
        Model { tokenizer, format, prompt_end: "" }
    }

    fn with_tools(mut self, tools: &Value) -> Model {
        self.format = self.format.with_tools(tools.as_array().unwrap());
        self
    }

    fn after(mut self, prompt_end: &'static str) -> Model {
        self.prompt_end = prompt_end;
        self
    }

    fn parser(&self) -> ReplyParser {
        ReplyParser::new(&self.format, self.prompt_end)
    }

    /// The answer as pieces: text, and markers that are tokens.
    fn pieces(&self, answer: &str) -> Vec<Owned> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut rest = answer;
        while let Some(symbol) = rest.chars().next() {
            let is_here =
                |marker: &&Marker| marker.token.is_some() && rest.starts_with(marker.spelling);
            match self.format.markers().iter().find(is_here) {
                Some(marker) => {
                    pieces.push(Owned::Text(std::mem::take(&mut text)));
                    pieces.push(Owned::Special(marker.token.unwrap()));
                    rest = &rest[marker.spelling.len()..];
                }
                None => {
                    text.push(symbol);
                    rest = &rest[symbol.len_utf8()..];
                }
            }
        }
        pieces.push(Owned::Text(text));
        pieces
    }

    /// All at once, cut at every place, character by character, and byte tokens through the
    /// detokenizer: all the same.
    #[track_caller]
    fn reply(&self, answer: &str) -> Reply {
        let pieces = self.pieces(answer);
        let whole = self.read(&pieces);
        for (piece_idx, piece) in pieces.iter().enumerate() {
            let Owned::Text(text) = piece else { continue };
            for (cut, _) in text.char_indices() {
                let mut pieces = pieces.clone();
                pieces[piece_idx] = Owned::Text(text[..cut].to_owned());
                pieces.insert(piece_idx + 1, Owned::Text(text[cut..].to_owned()));
                assert_eq!(self.read(&pieces), whole, "{answer:?} cut in {text:?} at {cut}");
            }
        }
        let single = |piece: &Owned| match piece {
            Owned::Text(text) => text.chars().map(|it| Owned::Text(it.to_string())).collect(),
            Owned::Special(_) => vec![piece.clone()],
        };
        assert_eq!(
            self.read(&pieces.iter().flat_map(single).collect::<Vec<_>>()),
            whole,
            "{answer:?}"
        );
        assert_eq!(self.read_tokens(&pieces), whole, "{answer:?} as bytes");
        whole
    }

    fn read(&self, pieces: &[Owned]) -> Reply {
        let mut parser = self.parser();
        let mut events = Vec::new();
        for piece in pieces {
            parser.push(match piece {
                Owned::Text(text) => Piece::Text(text),
                Owned::Special(token) => Piece::Special(*token),
            });
            assert!(parser.held.len() < 40, "{:?} is held", parser.held);
            events.extend(parser.take_events());
        }
        parser.finish();
        events.extend(parser.take_events());
        joined(&events)
    }

    fn read_tokens(&self, pieces: &[Owned]) -> Reply {
        let mut detokenizer = self.tokenizer.detokenizer(SpecialPieces::Skip);
        let mut parser = self.parser();
        for piece in pieces {
            match piece {
                Owned::Special(token) => parser.push(Piece::Special(*token)),
                Owned::Text(text) => {
                    for byte in text.bytes() {
                        parser.push(Piece::Text(detokenizer.push(byte.into())));
                    }
                }
            }
        }
        parser.finish();
        joined(&parser.take_events())
    }

    #[track_caller]
    fn check(&self, answer: &str, expected: (&str, &str, &[(&str, &str)])) {
        let reply = self.reply(answer);
        let calls: Vec<(&str, &str)> = reply
            .tool_calls
            .iter()
            .map(|call| (call.name.as_str(), call.arguments.as_str()))
            .collect();
        let found = (reply.content.as_str(), reply.reasoning.as_str(), calls.as_slice());
        assert_eq!(found, expected, "{answer:?}");
    }
}

#[derive(Clone, Debug)]
enum Owned {
    Text(String),
    Special(TokenId),
}

/// The events joined, once they were seen to be in order: a call begins, has arguments, ends, and
/// nothing comes between.
fn joined(events: &[ReplyEvent]) -> Reply {
    let mut reply = Reply::default();
    let mut open = None;
    let mut n_calls = 0;
    for event in events {
        match event {
            ReplyEvent::Content(text) | ReplyEvent::Reasoning(text) => {
                assert!(open.is_none() && !text.is_empty(), "{events:?}");
            }
            ReplyEvent::CallStart { index, name } => {
                assert!(open.is_none() && *index == n_calls && !name.is_empty(), "{events:?}");
                open = Some(*index);
                n_calls += 1;
            }
            ReplyEvent::CallArguments { index, delta } => {
                assert!(open == Some(*index) && !delta.is_empty(), "{events:?}");
            }
            ReplyEvent::CallEnd { index } => {
                assert_eq!(open.take(), Some(*index), "{events:?}");
            }
        }
        reply.add(event);
    }
    assert_eq!(open, None, "a call has no end: {events:?}");
    reply
}

fn qwen() -> Model {
    let plain = ["<think>", "</think>", "<tool_call>", "</tool_call>"];
    Model::new(&["<|im_start|>", "<|im_end|>"], &plain, "")
}

fn harmony() -> Model {
    let tokens = ["<|start|>", "<|channel|>", "<|message|>", "<|end|>"];
    let more = ["<|constrain|>", "<|call|>", "<|return|>"];
    Model::new(&[&tokens[..], &more[..]].concat(), &[], "")
}

#[test]
fn plain_models_say_only_content() {
    let model = Model::new(&["<s>"], &[], "{{ messages[0].content }}");
    assert!(model.format.is_plain());
    model.check("a <think>b</think> {\"name\": 1}", ("a <think>b</think> {\"name\": 1}", "", &[]));
}

#[test]
fn thoughts_between_tags() {
    let model = qwen();
    model.check("<think>\nIch möchte 日本.\n</think>\n\nJa.", ("Ja.", "Ich möchte 日本.", &[]));
    model.check("<think>\n\n</think>\n\nJa.\n", ("Ja.\n", "", &[]));
    model.check("Yes <think>a\n\nb </think> no <think>c</think>", ("Yes no ", "a\n\nb\n\nc", &[]));
    model.check("<think>never closed <tool_call>", ("", "never closed <tool_call>", &[]));
    model.check("a </think> b", ("a </think> b", "", &[]));
    model.check("x<thin<think", ("x<thin<think", "", &[]));
    // The template opened the thought.
    let opened = qwen().after("<|im_start|>assistant\n<think>\n");
    opened.check("Hm.\n</think>\n\nJa.", ("Ja.", "Hm.", &[]));
    opened.check("Hm.", ("", "Hm.", &[]));
    let closed = qwen().after("<|im_start|>assistant\n<think>\n\n</think>\n\n");
    closed.check("Ja.", ("Ja.", "", &[]));
    // Markers that only the template knows are text.
    let distilled = Model::new(&["<s>"], &[], "{{ content.split('</think>')[-1] }}");
    distilled.check("<think>\na\n</think>\nb", ("b", "a", &[]));
    distilled.after("<think>\n").check("a</think>b", ("b", "a", &[]));
}

#[test]
fn thoughts_between_tokens() {
    let model =
        Model::new(&["[THINK]", "[/THINK]", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"], &[], "");
    model.check("[THINK]Vier?[/THINK]Vier.", ("Vier.", "Vier?", &[]));
    model.check(
        "[THINK]a[/THINK][TOOL_CALLS]f[ARGS]{\"a\": [1, {\"b\": \"}\"}]}[TOOL_CALLS]g[CALL_ID]x1[ARGS]{}",
        ("", "a", &[("f", "{\"a\": [1, {\"b\": \"}\"}]}"), ("g", "{}")]),
    );
    // What spells a token is text.
    let reply = model.read(&[Owned::Text("[THINK]a[/THINK]".to_owned())]);
    assert_eq!((reply.content.as_str(), reply.reasoning.as_str()), ("[THINK]a[/THINK]", ""));
    model.after("[INST]x[/INST][THINK]").check("a[/THINK]b", ("b", "a", &[]));
}

#[test]
fn thoughts_of_granite() {
    let tags =
        Model::new(&["<|tool_call|>"], &[], "between <think></think> and <response></response>");
    tags.check("<think>a</think>\n<response>b</response>", ("b", "a", &[]));
    tags.check(
        "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]",
        ("", "", &[("f", "{\"a\": 1}")]),
    );
    let words = Model::new(&[], &[], "after 'Here is my thought process:' 'Here is my response:'");
    words.check("Here is my thought process: a\nHere is my response: b", ("b", "a", &[]));
    words.check("Here is my response: b", ("Here is my response: b", "", &[]));
    words
        .check("So. Here is my thought process: a", ("So. Here is my thought process: a", "", &[]));
    words.check("Here is my cat", ("Here is my cat", "", &[]));
}

#[test]
fn channels_of_gemma() {
    let markers = ["<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|\"|>"];
    let model = Model::new(&markers, &[], "");
    model.check("<|channel>thought\nHm.\n<channel|>Ja.", ("Ja.", "Hm.", &[]));
    model.check("<|channel>thought\n<channel|>Ja.", ("Ja.", "", &[]));
    model.check("<|channel>thoughtful<channel|>Ja.", ("Ja.", "thoughtful", &[]));
    model.check("<|channel>thou<channel|>Ja.", ("Ja.", "thou", &[]));
    model.check(
        "<|tool_call>call:get_weather{city:<|\"|>\"Tōkyō\"{,<|\"|>,n:5,on:true,\
         at:[1,<|\"|>b<|\"|>],in:{x:1.5,},}<tool_call|>",
        (
            "",
            "",
            &[(
                "get_weather",
                "{\"city\":\"\\\"Tōkyō\\\"{,\",\"n\":5,\"on\":true,\"at\":[1,\"b\"],\"in\":{\"x\":1.5}}",
            )],
        ),
    );
    model.check("a<|tool_call>call:f{}<tool_call|>b", ("ab", "", &[("f", "{}")]));
    model.check("<|tool_call>cat<tool_call|>b", ("<|tool_call>cat<tool_call|>b", "", &[]));
    model.check("<|tool_call>call:f{a:<|\"|>cut off", ("", "", &[("f", "{\"a\":\"cut off")]));
    Model { prompt_end: "<|channel>thought\n", ..model }.check("a<channel|>b", ("b", "a", &[]));
}

#[test]
fn channels_of_gpt_oss() {
    let model = harmony();
    model.check(
        "<|channel|>analysis<|message|>I should say four.<|end|>\
         <|start|>assistant<|channel|>final<|message|>four<|return|>",
        ("four", "I should say four.", &[]),
    );
    let call = "<|channel|>analysis<|message|>Look.<|end|><|start|>assistant<|channel|>commentary \
                to=functions.get_weather <|constrain|>json<|message|>{\"city\":\"Köln\"}";
    let calls: &[(&str, &str)] = &[("get_weather", "{\"city\":\"Köln\"}")];
    model.check(call, ("", "Look.", calls));
    model.check(&format!("{call}<|call|>"), ("", "Look.", calls));
    model.check(
        "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant to=functions.f\
         <|channel|>commentary<|message|>{}<|call|><|start|>assistant<|channel|>final<|message|>ok",
        ("I look.\n\nok", "", &[("f", "{}")]),
    );
    model.check("no header <|return|>", ("no header ", "", &[]));
    model.check("<|channel|>final", ("", "", &[]));
    let long = "a".repeat(2000);
    model.check(&format!("<|channel|>{long}"), (&format!("<|channel|>{long}"), "", &[]));
    // The template began the message, and may have begun its header.
    let begun = harmony().after("<|end|><|start|>assistant");
    begun.check("<|channel|>analysis<|message|>a<|end|>", ("", "a", &[]));
    begun.check(" to=functions.f<|channel|>commentary<|message|>{}", ("", "", &[("f", "{}")]));
    begun.check("four", ("four", "", &[]));
    begun.check(" to be", (" to be", "", &[]));
    begun.check(" to", (" to", "", &[]));
    let channel = harmony().after("<|start|>assistant<|channel|>analysis<|message|>");
    channel.check("a<|end|><|start|>assistant<|channel|>final<|message|>b", ("b", "a", &[]));
    harmony().after("<|start|>user<|message|>x<|end|>").check("b", ("b", "", &[]));
}

#[test]
fn calls_of_qwen_and_hermes() {
    let model = qwen();
    model.check(
        "I look.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"</tool_call>\\\" é\"}}\n\
         </tool_call>\n<tool_call>\n{\"arguments\": {\"b\": []}, \"name\": \"g\"}\n</tool_call>",
        ("I look.\n", "", &[("f", "{\"a\": \"</tool_call>\\\" é\"}"), ("g", "{\"b\": []}")]),
    );
    model.check("<tool_call>{\"name\": \"f\"}</tool_call> ok", ("ok", "", &[("f", "{}")]));
    model.check(
        "<tool_call>{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {}}}",
        ("", "", &[("f", "{}")]),
    );
    model.check(
        "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>",
        ("", "", &[("f", "{\"a\": 1}")]),
    );
    model.check(
        "<tool_call>{\"name\": \"f\", \"arguments\": {}}\n{\"name\": \"g\", \"arguments\": {}}\
         </tool_call>",
        ("", "", &[("f", "{}"), ("g", "{}")]),
    );
    // The closing marker was forgotten.
    model.check(
        "<tool_call>{\"name\": \"f\", \"arguments\": {}}<tool_call>{\"name\": \"g\"}",
        ("", "", &[("f", "{}"), ("g", "{}")]),
    );
    // Cut off, or no JSON: the arguments are what was written.
    model.check(
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": ",
        ("", "", &[("f", "{\"a\": ")]),
    );
    model.check(
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1</tool_call> ok",
        ("ok", "", &[("f", "{\"a\": 1")]),
    );
    // Not a call at all.
    for text in [
        "<tool_call></tool_call>",
        "<tool_call>{\"name\": \"f\"",
        "<tool_call>{\"name\": 5}</tool_call> b",
        "<tool_call>a</tool_call> b",
        "<tool_call>{}</tool_call>",
        "<tool_call>{\"a\": {\"name\": \"f\", \"arguments\": {}}}</tool_call>",
        "<tool_call",
    ] {
        model.check(text, (text, "", &[]));
    }
    model.check(
        "<tool_call>{\"name\": \"f\", \"arguments\": {}} and </tool_call> b",
        ("and b", "", &[("f", "{}")]),
    );
}

#[test]
fn calls_of_small_models_that_leave_their_markers_out() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}, {"name": "g"}]);
    let model = qwen().with_tools(&tools);
    let f = "{\"name\": \"f\", \"arguments\": {\"a\": \"```\\n}\"}}";
    let g = "{\n  \"name\": \"g\",\n  \"arguments\": {}\n}";
    let arguments = "{\"a\": \"```\\n}\"}";
    let one: &[(&str, &str)] = &[("f", arguments)];
    let both: &[(&str, &str)] = &[("f", arguments), ("g", "{}")];
    // Qwen2.5-Coder-1.5B: as code, bare, and with the braces that its template shows doubled.
    model.check(&format!("```json\n{f}\n```"), ("", "", one));
    model.check(&format!("```json\n{f}\n{g}\n```"), ("", "", both));
    model.check(&format!("```\n[{f}, {g}]\n```\n"), ("", "", both));
    model.check(&format!("I look.\n\n```json\n{f}\n```\nok"), ("I look.\n\nok", "", one));
    model.check(&format!("```json\n{f}\n```\n\n```json\n{g}\n```"), ("", "", both));
    model.check(&format!("```json\n{f}"), ("", "", one));
    model.check(f, ("", "", one));
    model.check(&format!("{{{f}}}"), ("", "", one));
    model.check(&format!("{{{f}}}\n{{{g}}}"), ("", "", both));
    model.check(&format!("<think>\nhm\n</think>\n\n{f}"), ("", "hm", one));
    let marked = format!("<tool_call>\n{{{f}}}\n</tool_call>\n<tool_call>\n{g}\n</tool_call>");
    model.check(&marked, ("", "", both));
    qwen().check(&marked, ("", "", both));
    model.check(&format!("{f}\n</tool_call>"), ("", "", one));
    // Its function is not offered, it is an example within a text, or no call at all.
    for text in [
        "```json\n{\"name\": \"h\", \"arguments\": {}}\n```",
        "```json\n{\"name\": \"f\", \"age\": 5}\n```\n\nSo.",
        "```json\n{\"a\": 1}\n```\n```\n[]\n```",
        "```python\nf()\n```\n",
        "see ```json\n{\"name\": \"f\", \"arguments\": {}}\n```",
        "```json\n```\n``````\n`f`",
        "see {\"name\": \"f\", \"arguments\": {}}",
        "{{\"name\": \"f\"}}",
        "{{{\"name\": \"f\", \"arguments\": {}}}}",
        "``",
        "```",
    ] {
        model.check(text, (text, "", &[]));
    }
    // Where a call stands behind markers, a later block of code is a text's.
    model.check(
        &format!("<tool_call>{f} so:\n```python\nf()\n```"),
        ("so:\n```python\nf()\n```", "", one),
    );
    // Without functions nothing but markers makes a call.
    for text in [&*format!("```json\n{f}\n```"), f] {
        qwen().check(text, (text, "", &[]));
    }
}

#[test]
fn calls_of_qwen_coder() {
    let template = "<tool_call>\n<function=NAME>";
    let model = Model::new(&[], &["<tool_call>", "</tool_call>"], template);
    let call = "<function=f>\n<parameter=a>\n5\n</parameter>\n<parameter=b>\nx <b>\n\"y\" ü\n\
                </parameter>\n</function>";
    let calls: &[(&str, &str)] = &[("f", "{\"a\":5,\"b\":\"x <b>\\n\\\"y\\\" ü\"}")];
    model.check(&format!("<tool_call>\n{call}\n</tool_call>"), ("", "", calls));
    model.check(&format!("ok\n{call}\n</tool_call>"), ("ok\n", "", calls));
    model.check("<tool_call><function=f></function></tool_call>", ("", "", &[("f", "{}")]));
    model.check("<tool_call><function=f></tool_call> b", ("b", "", &[("f", "{}")]));
    model.check(
        "<function=f><parameter=a>1</parameter></function><function=g></function>",
        ("", "", &[("f", "{\"a\":1}"), ("g", "{}")]),
    );
    model.check("<function=f><parameter=a>cut \"off", ("", "", &[("f", "{\"a\":\"cut \\\"off")]));
    model.check("<function=f><parameter=a>1</parameter>", ("", "", &[("f", "{\"a\":1")]));
    model.check("<function=", ("<function=", "", &[]));
    model.check("<tool_call><b>x</tool_call>", ("<tool_call><b>x</tool_call>", "", &[]));
    // A schema says what is a string.
    let tools = json!([{"type": "function", "function": {"name": "f", "parameters": {
        "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}}}]);
    model.with_tools(&tools).check(
        "<function=f><parameter=a>5</parameter><parameter=b>5</parameter></function>",
        ("", "", &[("f", "{\"a\":\"5\",\"b\":5}")]),
    );
}

#[test]
fn calls_of_llama() {
    let model = || Model::new(&["<|python_tag|>"], &[], "");
    model().check(
        "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"a\": 1}}",
        ("", "", &[("f", "{\"a\": 1}")]),
    );
    model().check(
        "<|python_tag|>brave_search.call(query=\"Köln\")",
        ("", "", &[("brave_search", "{\"query\":\"Köln\"}")]),
    );
    model().check("<|python_tag|>print(1)", ("<|python_tag|>print(1)", "", &[]));
    // Without a marker it is a call only if the function is offered.
    let bare = "{\"name\": \"f\", \"parameters\": {\"a\": \"b\"}}";
    model().check(bare, (bare, "", &[]));
    let tools = json!([{"type": "function", "function": {"name": "f"}}, {"name": "g"}]);
    let offered = model().with_tools(&tools);
    offered.check(bare, ("", "", &[("f", "{\"a\": \"b\"}")]));
    offered.check(
        &format!("\n{bare}; {{\"type\": \"function\", \"name\": \"g\", \"parameters\": {{}}}}"),
        ("", "", &[("f", "{\"a\": \"b\"}"), ("g", "{}")]),
    );
    offered.check(&format!("{bare} done"), ("done", "", &[("f", "{\"a\": \"b\"}")]));
    for text in [
        "{\"name\": \"Bob\", \"parameters\": {}}",
        "{\"name\": \"f\", \"age\": 5}",
        "{\"name\": \"f\"}",
        "{\"name\": \"f\", \"parameters\": 5}",
        "{\"name\"",
        "{}",
        "\n [1]",
        "see {\"name\": \"f\", \"parameters\": {}}",
        " ",
    ] {
        offered.check(text, (text, "", &[]));
    }
}

#[test]
fn calls_of_mistral() {
    let model = Model::new(&["[TOOL_CALLS]"], &[], "");
    model.check(
        "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"x12345678\"}, \
         {\"name\": \"g\", \"arguments\": {}}]",
        ("", "", &[("f", "{\"a\": 1}"), ("g", "{}")]),
    );
    model.check("Ok.[TOOL_CALLS]f{\"a\": \"[\"}", ("Ok.", "", &[("f", "{\"a\": \"[\"}")]));
    model.check("[TOOL_CALLS]no call", ("[TOOL_CALLS]no call", "", &[]));
    model.check("[TOOL_CALLS]no call {}", ("[TOOL_CALLS]no call {}", "", &[]));
    model.check("[TOOL_CALLS]f{\"a\": 1} then", ("then", "", &[("f", "{\"a\": 1}")]));
    model.check("[TOOL_CALLS]", ("[TOOL_CALLS]", "", &[]));
}

#[test]
fn calls_of_phi_and_granite() {
    let model = Model::new(&["<|tool_call|>", "<|/tool_call|>"], &["<tool_call>"], "");
    let list =
        "[{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"g\", \"arguments\": {}}]";
    let calls: &[(&str, &str)] = &[("f", "{\"a\": 1}"), ("g", "{}")];
    model.check(&format!("<|tool_call|>{list}<|/tool_call|>"), ("", "", calls));
    model.check(&format!("<tool_call>{list}"), ("", "", calls));
    model
        .check("<|tool_call|>[1, 2]<|/tool_call|>", ("<|tool_call|>[1, 2]<|/tool_call|>", "", &[]));
    model.check("<|tool_call|>[]<|/tool_call|> a", ("<|tool_call|>[]<|/tool_call|> a", "", &[]));
    // A token closes a block even where a quotation mark is missing.
    model.check(
        "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"a\": \"b}}]<|/tool_call|>ok",
        ("ok", "", &[("f", "{\"a\": \"b}}]")]),
    );
}

#[test]
fn calls_of_lfm2() {
    let model = Model::new(&["<|tool_call_start|>", "<|tool_call_end|>"], &[], "");
    model.check(
        "<|tool_call_start|>[f(a=1, b=\"x)\", c=['y', True, None,], d={'k': -1.5}), g()]\
         <|tool_call_end|>Ok.",
        (
            "Ok.",
            "",
            &[
                ("f", "{\"a\":1,\"b\":\"x)\",\"c\":[\"y\",true,null],\"d\":{\"k\":-1.5}}"),
                ("g", "{}"),
            ],
        ),
    );
    model.check(
        "<|tool_call_start|>[f(a='it\\'s \"ü\"\\n\\x41', b=(1,), c=foo)]<|tool_call_end|>",
        ("", "", &[("f", "{\"a\":\"it's \\\"ü\\\"\\n\\u0041\",\"b\":[1],\"c\":\"foo\"}")]),
    );
    model.check(
        "<|tool_call_start|>[{\"name\": \"f\", \"arguments\": {}}]<|tool_call_end|>",
        ("", "", &[("f", "{}")]),
    );
    // Arguments without names are passed on as they are written.
    model
        .check("<|tool_call_start|>[f(1, \")\")]<|tool_call_end|>", ("", "", &[("f", "1, \")\"")]));
    model.check("<|tool_call_start|>[f(x)]<|tool_call_end|>", ("", "", &[("f", "x")]));
    model.check("<|tool_call_start|>[f(a=[1, 'cut", ("", "", &[("f", "{\"a\":[1,\"cut")]));
    model.check("<|tool_call_start|>[f(", ("", "", &[("f", "{")]));
    model.check("<|tool_call_start|>[f", ("<|tool_call_start|>[f", "", &[]));
    model.check(
        "<|tool_call_start|>no calls<|tool_call_end|>.",
        ("<|tool_call_start|>no calls<|tool_call_end|>.", "", &[]),
    );
}

#[test]
fn calls_of_deepseek() {
    let template = "<｜tool▁calls▁begin｜> </think>";
    let model = Model::new(&[], &["<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"], template);
    let call = |head: &str, arguments: &str| {
        format!("<｜tool▁call▁begin｜>{head}<｜tool▁sep｜>{arguments}<｜tool▁call▁end｜>")
    };
    let calls: &[(&str, &str)] = &[("f", "{\"a\": \"`ü\"}"), ("g", "{}")];
    let block = |calls: [String; 2]| {
        format!("Ok.<｜tool▁calls▁begin｜>{}<｜tool▁calls▁end｜>", calls.join("\n"))
    };
    model.check(&block([call("f", "{\"a\": \"`ü\"}"), call("g", "{}")]), ("Ok.", "", calls));
    let fenced =
        |name: &str, json: &str| call("function", &format!("{name}\n```json\n{json}\n```"));
    model.check(&block([fenced("f", "{\"a\": \"`ü\"}"), fenced("g", "{}")]), ("Ok.", "", calls));
    model.check(
        "<think>a</think><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"a\": ",
        ("", "a", &[("f", "{\"a\": ")]),
    );
    let none = "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁call▁end｜>";
    model.check(none, (none, "", &[]));
    model.check("<｜tool▁calls▁begin｜>text", ("<｜tool▁calls▁begin｜>text", "", &[]));
    model.check(&format!("<｜tool▁calls▁begin｜>{}", call("f", "5")), ("", "", &[("f", "5")]));
}

#[test]
fn calls_of_others() {
    let model = Model::new(&[], &[], "<TOOLCALL>");
    model.check(
        "<TOOLCALL>[{\"name\": \"f\", \"arguments\": {}}]</TOOLCALL>",
        ("", "", &[("f", "{}")]),
    );
    let markers = ["<|START_THINKING|>", "<|END_THINKING|>", "<|START_ACTION|>", "<|END_ACTION|>"];
    let model =
        Model::new(&[&markers[..], &["<|START_RESPONSE|>", "<|END_RESPONSE|>"]].concat(), &[], "");
    model.check(
        "<|START_THINKING|>a<|END_THINKING|><|START_ACTION|>[\n{\"tool_call_id\": \"0\", \
         \"tool_name\": \"f\", \"parameters\": {\"a\": 1}}\n]<|END_ACTION|>",
        ("", "a", &[("f", "{\"a\": 1}")]),
    );
    model.check("<|START_RESPONSE|>b<|END_RESPONSE|>", ("b", "", &[]));
}

/// Every format, with fragments that its answers are made of.
fn models() -> Vec<(Model, Vec<&'static str>)> {
    let think = vec!["<think>", "</think>", "<tool_call>", "</tool_call>", "<function=", "w>"];
    let mistral = ["[THINK]", "[/THINK]", "[TOOL_CALLS]", "[ARGS]"];
    let gemma = ["<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", "<|\"|>"];
    let deepseek = ["<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>"];
    let deepseek = [&deepseek[..], &["<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"]].concat();
    let lfm2 = ["<|tool_call_start|>", "<|tool_call_end|>"];
    let tools = json!([{"name": "f"}]);
    let fenced = vec!["```json\n", "```", "{{", "</tool_call>", "}}", "\n{"];
    vec![
        (Model::new(&[], &[], "<think><tool_call><function="), think),
        (qwen().with_tools(&tools), fenced),
        (Model::new(&mistral, &[], ""), mistral.to_vec()),
        (Model::new(&[], &[], "[THINK][TOOL_CALLS]"), mistral.to_vec()),
        (Model::new(&gemma, &[], ""), gemma.to_vec()),
        (Model::new(&[], &[], "<｜tool▁calls▁begin｜>"), deepseek.clone()),
        (Model::new(&deepseek, &[], ""), deepseek),
        (Model::new(&lfm2, &[], ""), lfm2.to_vec()),
        (Model::new(&["<|python_tag|>"], &[], ""), vec!["<|python_tag|>"]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_word_is_lost_and_cuts_make_no_difference(
        fragments in prop::collection::vec((0..14_usize, 0..1000_u32), 0..12)
    ) {
        for (model, markers) in models() {
            let mut answer = String::new();
            let mut words = Vec::new();
            for &(kind, number) in &fragments {
                match kind {
                    0..6 => answer.push_str(markers[kind % markers.len()]),
                    6..10 => {
                        let word = format!("wört{number}");
                        answer.push_str(&word);
                        words.push(word);
                    }
                    10 => answer.push_str("{\"name\": \"f\", \"arguments\": {"),
                    11 => answer.push('}'),
                    12 => answer.push_str("f(a="),
                    _ => answer.push_str("\n "),
                }
            }
            let reply = model.reply(&answer);
            let mut all = reply.content + &reply.reasoning;
            for call in reply.tool_calls {
                all.push_str(&call.name);
                all.push_str(&call.arguments);
            }
            for word in words {
                prop_assert!(all.contains(&word), "{} of {:?} is not in {:?}", word, answer, all);
            }
        }
    }

    #[test]
    fn messages_of_gpt_oss_cut_anywhere(
        fragments in prop::collection::vec(0..11_usize, 0..14), begun in any::<bool>()
    ) {
        let parts = ["<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|constrain|>", "<|call|>",
            "assistant", "analysis", " to=functions.f ", "{\"a\": \"é\"}", "to"];
        let answer: String = fragments.iter().map(|&idx| parts[idx]).collect();
        let model = harmony().after(if begun { "<|start|>assistant" } else { "" });
        model.reply(&answer);
    }
}

#[test]
fn hostile_answers_take_linear_time_and_bounded_memory() {
    let n = 1_000_000;
    let markers: Vec<_> = models();
    let starts = [
        "",
        "<think>",
        "<tool_call>",
        "<tool_call>{\"name\": \"",
        "<tool_call>{\"a\": ",
        "<tool_call>{\"name\": \"f\", \"arguments\": ",
        "<tool_call>{\"arguments\": ",
        "<function=f><parameter=a>",
        "<function=f><parameter=",
        "<tool_call>{\"name\": \"f\", \"x\": ",
    ];
    let units = [
        "<",
        "{",
        "[",
        "\"",
        " ",
        ">",
        "a",
        "\\",
        "<tool_call>",
        "</parameter",
        "{\"name\": ",
        "<think>",
        "{\"name\":\"f\"}",
        "[f(a=",
        "</think",
    ];
    let started = Instant::now();
    for start in starts {
        for unit in units {
            let mut parser = markers[0].0.parser();
            parser.push(Piece::Text(start));
            let chunk = unit.repeat(1000);
            for _ in 0..n / chunk.len() / 10 {
                parser.push(Piece::Text(&chunk));
                assert!(parser.held.len() < 40);
                parser.take_events();
            }
            parser.finish();
        }
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    for (model, markers) in models() {
        let mut parser = model.parser();
        for round in 0..n / 20 {
            let marker = markers[round % markers.len()];
            match model.format.markers().iter().find(|known| known.spelling == marker) {
                Some(Marker { token: Some(token), .. }) => parser.push(Piece::Special(*token)),
                _ => parser.push(Piece::Text(marker)),
            }
            parser.push(Piece::Text("[f(a"));
        }
        parser.finish();
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn integers_of_calls_keep_their_digits() {
    let check = |arguments: &str, expected: Value| {
        let call = ToolCall { name: "f".to_owned(), arguments: arguments.to_owned() };
        assert_eq!(call.as_json(), json!({"name": "f", "arguments": expected}), "{arguments}");
    };
    check(r#"{"n": 18446744073709551615}"#, json!({"n": u64::MAX}));
    check(r#"{"n": [-9223372036854775808, 1.5e300]}"#, json!({"n": [i64::MIN, 1.5e300]}));
    let in_text = r#"{"n\"": "\\", "m": "123456789012345678901234567890"}"#;
    check(in_text, serde_json::from_str(in_text).unwrap());
    for text in [
        r#"{"n": 18446744073709551616}"#,
        r#"{"n":-9223372036854775809}"#,
        r#"{"a":"\"","n":[1,{"m":123456789012345678901234567890}]}"#,
        "123456789012345678901234567890",
    ] {
        check(text, text.into());
    }
}
