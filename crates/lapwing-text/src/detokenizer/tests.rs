use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::*;
use crate::Tokenizer;

/// `tokenizer.json` of every kind of decoder, each with a vocabulary that provokes it.
fn fixtures() -> Vec<(&'static str, Value)> {
    let sentence_pieces = ["▁", "▁the", "a", "▁▁", "b▁c", "é", "<0x41>", "<0xE6>", "<0x97>"];
    let more = ["<0xA5>", "<0xFF>", "<0x20>", "<0x4>", "<s>", "</s>", "<0xF0>", "<0x9F>"];
    let sentence_pieces: Vec<&str> = sentence_pieces.into_iter().chain(more).collect();
    let bytes = ["Ġthe", "a", "Ġ", "æĹ", "¥", "æ", "Ĺ", "ð", "Ł", "Ĳ", "¦", "ÿ", "Ċ", "日", "<s>"];
    let words = ["a", "##b", "!", "n't", "##", " ", "", "<s>"];
    let suffixed = ["a", "b</w>", "</w>", "<s>"];
    let replace = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
    let strip =
        |start, stop| json!({"type": "Strip", "content": " ", "start": start, "stop": stop});
    let (fallback, fuse) = (json!({"type": "ByteFallback"}), json!({"type": "Fuse"}));
    let metaspace = |scheme| {
        json!({
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true
        })
    };
    let level = json!({
        "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true
    });
    let ctc =
        json!({"type": "CTC", "pad_token": "a", "word_delimiter_token": "▁", "cleanup": true});
    let sequence = |decoders: &[&Value]| json!({"type": "Sequence", "decoders": decoders});
    let p = &sentence_pieces[..];
    vec![
        ("llama", tokenizer(p, &sequence(&[&replace, &fallback, &fuse, &strip(1, 0)]))),
        ("gemma", tokenizer(p, &sequence(&[&replace, &fallback, &fuse]))),
        ("strip two, then one", tokenizer(p, &sequence(&[&replace, &fuse, &strip(2, 1)]))),
        ("metaspace first", tokenizer(p, &metaspace("first"))),
        ("metaspace never", tokenizer(p, &metaspace("never"))),
        ("fallback, metaspace", tokenizer(p, &sequence(&[&fallback, &metaspace("always")]))),
        ("no fuse", tokenizer(p, &sequence(&[&fallback, &replace, &strip(1, 0)]))),
        ("replace after fuse", tokenizer(p, &sequence(&[&fuse, &replace, &strip(1, 0)]))),
        ("ctc", tokenizer(p, &ctc)),
        ("none", tokenizer(p, &Value::Null)),
        ("byte level", tokenizer(&bytes, &level)),
        ("byte level, strip", tokenizer(&bytes, &sequence(&[&level, &strip(1, 0)]))),
        (
            "pieces of words",
            tokenizer(
                &words,
                &json!({
                    "type": "WordPiece", "prefix": "##", "cleanup": true
                }),
            ),
        ),
        ("suffix", tokenizer(&suffixed, &json!({"type": "BPEDecoder", "suffix": "</w>"}))),
    ]
}

fn tokenizer(pieces: &[&str], decoder: &Value) -> Value {
    let vocab: serde_json::Map<String, Value> =
        pieces.iter().enumerate().map(|(id, piece)| ((*piece).to_owned(), json!(id))).collect();
    let id = pieces.iter().position(|&piece| piece == "<s>").unwrap();
    let special = json!({
        "id": id, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [special],
        "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": decoder,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<s>"}
    })
}

fn streamed(tokenizer: &Tokenizer, ids: &[TokenId], special: SpecialPieces) -> Vec<String> {
    let mut detokenizer = tokenizer.detokenizer(special);
    let mut chunks: Vec<String> = ids.iter().map(|&id| detokenizer.push(id).to_owned()).collect();
    chunks.push(detokenizer.finish().to_owned());
    chunks
}

/// Chunks joined are what the `tokenizers` crate decodes; a fork goes on like the original.
fn check_agreement(name: &str, json: &[u8], n_cases: u32) {
    let oracle = tokenizers::Tokenizer::from_bytes(json).unwrap();
    let ours = Tokenizer::from_bytes(json, Path::new(name)).unwrap();
    let n_vocab = u32::try_from(ours.n_vocab()).unwrap();
    // A few small ids are the bytes and the special tokens: take them often.
    let id = prop_oneof![0..n_vocab.min(300), 0..n_vocab + 2];
    let ids = prop::collection::vec(id, 1..40);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: n_cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&(ids, any::<bool>(), any::<prop::sample::Index>()), |(ids, skips, fork)| {
            let special = if skips { SpecialPieces::Skip } else { SpecialPieces::Show };
            if ids.iter().all(|&id| ours.piece(id).is_none() || (skips && ours.is_special(id))) {
                // Nothing to decode: the crate's decoders differ in whether they panic on that.
                return Ok(());
            }
            let mut expected = oracle.decode(&ids, skips).unwrap();
            let kept = ids.iter().filter(|&&id| !(skips && ours.is_special(id)));
            if has_broken_run(kept.filter_map(|&id| ours.piece(id))) {
                // The crate gives up all of such a run; ours keeps what is text of it.
                let decoded = ours.decode(&ids, special);
                let n_lost = |text: &str| text.matches('\u{fffd}').count();
                prop_assert!(n_lost(&decoded) <= n_lost(&expected), "{}", name);
                expected = decoded;
            }
            prop_assert_eq!(&streamed(&ours, &ids, special).concat(), &expected, "{}", name);
            prop_assert_eq!(&ours.decode(&ids, special), &expected);

            let (before, after) = ids.split_at(fork.index(ids.len()));
            let mut original = ours.detokenizer(special);
            let mut text = String::new();
            before.iter().for_each(|&id| text.push_str(original.push(id)));
            let mut forked = original.clone();
            original.push(after[0]);
            original.finish();
            after.iter().for_each(|&id| text.push_str(forked.push(id)));
            text.push_str(forked.finish());
            prop_assert_eq!(&text, &expected);
            Ok(())
        })
        .unwrap();
}

/// Whether byte tokens in a row are no UTF-8.
fn has_broken_run(pieces: impl Iterator<Item = String>) -> bool {
    let mut run = Vec::new();
    for piece in pieces.chain([String::new()]) {
        let digits = piece.strip_prefix("<0x").and_then(|piece| piece.strip_suffix('>'));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => run.push(byte),
            None if std::str::from_utf8(&run).is_err() => return true,
            None => run.clear(),
        }
    }
    false
}

#[test]
fn every_decoder_agrees_with_the_tokenizers_crate() {
    for (name, json) in fixtures() {
        if name == "strip two, then one" {
            // The crate panics when there is less text than it strips.
            continue;
        }
        check_agreement(name, json.to_string().as_bytes(), 400);
    }
}

#[test]
fn real_tokenizers_agree_with_the_tokenizers_crate() {
    for folder in ["smollm2-135m-instruct-ov-int4", "stories260k-hf", "tiny/tiny-llama-ort_fp32"] {
        let Some(path) = export(&format!("{folder}/tokenizer.json")) else { return };
        check_agreement(folder, &std::fs::read(path).unwrap(), 300);
    }
}

#[test]
fn real_tokenizers_give_a_text_back() {
    let texts = [
        "Once upon a time",
        " two  spaces and a\nline\t",
        "naïve 日本語 👩‍🚀 e\u{301}",
        "Größe: 10 € … “q”",
        "x",
        "<|im_start|>user\nHi<|im_end|>",
    ];
    for folder in ["smollm2-135m-instruct-ov-int4", "stories260k-hf", "tiny/tiny-llama-ort_fp32"] {
        let Some(path) = export(&format!("{folder}/tokenizer.json")) else { return };
        let tokenizer = Tokenizer::open(&path).unwrap();
        for text in texts {
            let ids = tokenizer.encode(text, false).unwrap();
            let chunks = streamed(&tokenizer, &ids, SpecialPieces::Show);
            assert_eq!(chunks.concat(), text, "{folder} {chunks:?}");
        }
    }
}

#[test]
fn text_comes_as_early_as_it_is_certain() {
    let check = |name: &str, pieces: &[&str], expected: &[&str]| {
        let (_, json) = fixtures().into_iter().find(|(fixture, _)| *fixture == name).unwrap();
        let tokenizer =
            Tokenizer::from_bytes(json.to_string().as_bytes(), Path::new(name)).unwrap();
        let ids: Vec<TokenId> =
            pieces.iter().map(|piece| tokenizer.token_id(piece).unwrap()).collect();
        assert_eq!(streamed(&tokenizer, &ids, SpecialPieces::Skip), expected, "{name} {pieces:?}");
    };
    check("byte level", &["Ġthe", "<s>", "æ", "Ĺ", "¥", "a"], &[" the", "", "", "", "日", "a", ""]);
    check("byte level", &["æĹ", "a", "ð", "Ł"], &["", "\u{fffd}a", "", "", "\u{fffd}"]);
    check("byte level", &["ÿ", "日", "Ċ"], &["\u{fffd}", "日", "\n", ""]);
    check("llama", &["▁the", "▁the", "a"], &["the", " the", "a", ""]);
    check("llama", &["▁", "▁", "a"], &["", " ", "a", ""]);
    check("llama", &["a", "<0xE6>", "<0x97>", "<0xA5>", "a"], &["a", "", "", "日", "a", ""]);
    check("llama", &["<0xE6>", "a", "<0xA5>"], &["", "\u{fffd}a", "\u{fffd}", ""]);
    check("llama", &["<0xE6>", "<0x97>"], &["", "", "\u{fffd}\u{fffd}"]);
    check("gemma", &["▁the", "▁the"], &[" the", " the", ""]);
    check("metaspace first", &["▁the", "▁the"], &["the", " the", ""]);
    check("suffix", &["a", "b</w>", "b</w>"], &["", "a", "b ", "b"]);
    let pieces = ["▁▁", "▁", "a", "▁", "a", "▁"];
    check("strip two, then one", &pieces, &["", "", " a", "", " a", "", ""]);
    check("strip two, then one", &["▁"], &["", ""]);
}

#[test]
fn added_tokens_read_as_they_are_spelled() {
    let spellings = ["čaj", "đem", "ilÖveyou", "Ġ", "plain"];
    let added: Vec<Value> = (10..)
        .zip(spellings)
        .map(|(id, content)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false, "special": false})
        })
        .collect();
    let json = json!({
        "version": "1.0", "added_tokens": added, "decoder": {"type": "ByteLevel",
            "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": {"a": 0, "Ġ": 1, "Ã": 2, "©": 3}, "merges": []}
    });
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes(), Path::new("x")).unwrap();
    for spelling in spellings.iter().filter(|spelling| **spelling != "Ġ") {
        let id = tokenizer.token_id(spelling).unwrap();
        assert_eq!(tokenizer.decode(&[id], SpecialPieces::Show), *spelling);
        assert_eq!(tokenizer.decode(&[0, id, 0], SpecialPieces::Skip), format!("a{spelling}a"));
    }
    assert_eq!(tokenizer.decode(&[2, 3], SpecialPieces::Show), "é");
}

#[test]
fn no_token_takes_longer_after_many() {
    let (_, json) = fixtures().into_iter().next().unwrap();
    let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes(), Path::new("x")).unwrap();
    let mut detokenizer = tokenizer.detokenizer(SpecialPieces::Skip);
    let id = tokenizer.token_id("▁the").unwrap();
    for _ in 0..20_000 {
        detokenizer.push(id);
    }
    // The state is what a new detokenizer has after one token, so the work is too.
    let mut fresh = tokenizer.detokenizer(SpecialPieces::Skip);
    fresh.push(id);
    assert_eq!(format!("{:?}", detokenizer.stages), format!("{:?}", fresh.stages));
}

fn export(path: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("LAPWING_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let path = shared.join("exports").join(path);
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is not there", path.display());
    eprintln!("skipped: no ../shared");
    None
}

#[test]
fn bytes_of_tokens_join_to_their_text() {
    let mut tokenizers: Vec<(String, Tokenizer)> = Vec::new();
    for path in ["smollm2-135m-instruct-ov-int4", "stories260k-ov-fp32"] {
        match export(path) {
            Some(path) => tokenizers.push((
                path.display().to_string(),
                Tokenizer::open(&path.join("tokenizer.json")).unwrap(),
            )),
            None => println!("skipped: {path} is not here"),
        }
    }
    for (name, tokenizer) in &tokenizers {
        for text in [
            "a plain text, with 123 numbers",
            "é 漢字 🙂\n\ttab  two  spaces",
            "{\"a\": [1, \"b\"]}",
        ] {
            let first = tokenizer.encode("x", false).unwrap();
            let ids = tokenizer.encode(text, false).unwrap();
            let bytes: Vec<u8> =
                ids.iter().flat_map(|&id| tokenizer.bytes_within(id).unwrap()).collect();
            let all = tokenizer.decode(&[first.clone(), ids].concat(), SpecialPieces::Show);
            let before = tokenizer.decode(&first, SpecialPieces::Show);
            assert_eq!(all, before + &String::from_utf8(bytes).unwrap(), "{name} {text:?}");
        }
        let special =
            (0..u32::try_from(tokenizer.n_vocab()).unwrap()).filter(|&id| tokenizer.is_special(id));
        assert!(special.into_iter().all(|id| tokenizer.bytes_within(id).is_none()), "{name}");
        assert_eq!(tokenizer.bytes_within(u32::MAX), None);
    }
}
