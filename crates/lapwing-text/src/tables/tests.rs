//! Long texts become the same tokens in windows as in one piece.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Patterns between which models differ: Llama 3's, GPT-4o's, and one that counts letters.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const COUNTING: &str = r"\p{L}{1,7}|(?<=[a-z])\d+|\b\S|^ +|.";

/// Where the tokenizers of the exports are; none, said aloud, where they are not there and need
/// not be.
fn shared() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("LAPWING_SHARED").map_or(beside, PathBuf::from);
    if shared.join("exports").is_dir() {
        return Some(shared);
    }
    assert!(std::env::var_os("CI").is_none(), "{} is not there", shared.display());
    eprintln!("skipped: {} is not there", shared.display());
    None
}

fn files_of(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => files_of(&path, found),
            path if path.ends_with("tokenizer.json") => found.push(path),
            _ => {}
        }
    }
}

/// Every tokenizer of the exports once, and what other models make of the same vocabularies.
fn tokenizers() -> Vec<(String, Tables)> {
    let Some(shared) = shared() else { return Vec::new() };
    let mut paths = Vec::new();
    files_of(&shared.join("exports"), &mut paths);
    files_of(&shared.join("exports-next"), &mut paths);
    paths.sort();
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    for path in paths {
        let bytes = std::fs::read(&path).unwrap();
        if found.iter().all(|(_, other)| *other != bytes) {
            found.push((path.display().to_string(), bytes));
        }
    }
    let read = |name: &str| -> Value {
        let bytes = std::fs::read(shared.join("exports").join(name).join("tokenizer.json"));
        serde_json::from_slice(&bytes.unwrap()).unwrap()
    };
    let (bytes, pieces) = (read("tiny/tiny-qwen2-ov_int8"), read("stories260k-hf"));
    for (name, json) in byte_level(&bytes).into_iter().chain(sentence_pieces(&pieces)) {
        found.push((name.to_owned(), json.to_string().into_bytes()));
    }
    let parsed = found.into_iter().map(|(name, bytes)| {
        let tables = Tables::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, tables)
    });
    parsed.collect()
}

fn byte_level(base: &Value) -> Vec<(&'static str, Value)> {
    let split = |patterns: &[&str]| {
        let mut all: Vec<Value> = patterns
            .iter()
            .map(|pattern| {
                json!({
                    "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
                    "invert": false
                })
            })
            .collect();
        all.push(json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false
        }));
        json!({"type": "Sequence", "pretokenizers": all})
    };
    let made = |normalizer: Value, pre_tokenizer: Value, ignores_merges: bool| {
        let mut json = base.clone();
        json["normalizer"] = normalizer;
        json["pre_tokenizer"] = pre_tokenizer;
        json["model"]["ignore_merges"] = json!(ignores_merges);
        let added = json["added_tokens"].as_array_mut().unwrap();
        for (content, side) in
            [("<left>", "lstrip"), ("<right>", "rstrip"), ("word", "single_word")]
        {
            let mut token = added[0].clone();
            token["content"] = json!(content);
            token["id"] = json!(1024 + added.len());
            token[side] = json!(true);
            added.push(token);
        }
        json
    };
    let nfc = json!({"type": "NFC"});
    let prefixed = json!({
        "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true
    });
    let deepseek = [
        r"\p{N}{1,3}",
        r"[一-龥぀-ゟ゠-ヿ]+",
        r"[!-/:-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ];
    vec![
        ("Llama 3", made(Value::Null, split(&[LLAMA_3]), true)),
        ("Qwen 2", made(nfc.clone(), split(&[&LLAMA_3.replace("{1,3}", "")]), false)),
        ("GPT-4o", made(nfc, split(&[GPT_4O]), true)),
        ("DeepSeek", made(Value::Null, split(&deepseek), false)),
        ("counting", made(Value::Null, split(&[COUNTING]), false)),
        ("RoBERTa", made(json!({"type": "Lowercase"}), prefixed, false)),
    ]
}

fn sentence_pieces(base: &Value) -> Vec<(&'static str, Value)> {
    let made = |normalizer: Value, pre_tokenizer: Value| {
        let mut json = base.clone();
        json["normalizer"] = normalizer;
        json["pre_tokenizer"] = pre_tokenizer;
        json
    };
    let metaspace = |scheme: &str, splits: bool| {
        json!({
            "type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": splits
        })
    };
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let at_spaces = json!({
        "type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious",
        "invert": false
    });
    let squeezed = json!({"type": "Sequence", "normalizers": [
        {"type": "Strip", "strip_left": true, "strip_right": true},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}, {"type": "NFKC"},
    ]});
    let mut unigram = made(squeezed, metaspace("always", true));
    let vocabulary = base["model"]["vocab"].as_object().unwrap();
    let mut scores: Vec<Value> = vec![Value::Null; vocabulary.len()];
    for (piece, id) in vocabulary {
        let idx = id.as_u64().unwrap();
        scores[idx as usize] = json!([piece, -(idx as f64).sqrt()]);
    }
    unigram["model"] = json!({
        "type": "Unigram", "vocab": scores, "unk_id": 0, "byte_fallback": true
    });
    let mut unknown = made(replace.clone(), Value::Null);
    unknown["model"]["byte_fallback"] = json!(false);
    vec![
        ("Gemma", made(replace, at_spaces)),
        ("Llama 2", made(Value::Null, metaspace("first", false))),
        ("words", made(Value::Null, metaspace("always", true))),
        ("Unigram", unigram),
        ("unknown characters", unknown),
    ]
}

/// Texts of kinds that hurt, each of about `n_bytes`, with what makes them.
fn texts(n_bytes: usize) -> Vec<(&'static str, String)> {
    let mut state = 7_u64;
    let mut random = move |n: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut of = |parts: &[&str]| {
        let mut text = String::new();
        while text.len() < n_bytes {
            text.push_str(parts[random(parts.len())]);
        }
        text
    };
    let prose = ["The valley", " of", " 1,024", " isn't", ".\n", " =\r\n", " “Où”", "  a", " 北京"];
    let added =
        ["<s>", "<|im_start|>", "<left>", "<right>", "word", " word ", "  ", "<", "|im_", "a"];
    let mut all = vec![
        ("spaces", of(&[" "])),
        ("line ends", of(&["\n"])),
        ("CRLF", of(&["\r\n"])),
        ("one letter", of(&["a"])),
        ("a line without spaces", of(&["a", "be", "the", "on", "x", "qu"])),
        ("one digit", of(&["1"])),
        ("digits", of(&["1", "20", "999", "4"])),
        ("emoji", of(&["👩‍👩‍👧", "🏳️‍🌈", "😀", "👍🏽", " "])),
        ("combining marks", of(&["e\u{301}", "a\u{323}\u{302}", "\u{302}\u{323}", "o", "ậ"])),
        ("marks without end", of(&["\u{323}", "\u{302}", "\u{301}"])),
        ("CJK", of(&["北", "京", "大", "学", "のに", "，"])),
        ("added tokens", of(&added)),
        ("punctuation", of(&["-"])),
        ("capitals", of(&["A", "B", "北", "Ab"])),
        ("prose", of(&prose)),
    ];
    // Order puts the last of these marks before all others.
    let marks = "\u{301}".repeat(n_bytes / 2);
    all.push(("a lower mark behind others", format!("a{marks}\u{323} end")));
    let tails = "\n".repeat(n_bytes / 2);
    all.push(("line ends behind punctuation", format!("{}!{tails} \n", of(&["ab "]))));
    all.push(("a token behind spaces", format!("{}<left>a", " ".repeat(n_bytes))));
    all.push(("spaces behind a token", format!("a<right>{}b", " ".repeat(n_bytes))));
    all
}

/// Ids in windows and in one piece; the longest window, too.
fn check(name: &str, tables: &Tables, kind: &str, text: &str) -> usize {
    let marked = Marked { text: text.into(), mark: '\0', firsts: Vec::new() };
    let mut longest = 0;
    let found = tables.windows.ids(text, |range| {
        longest = longest.max(range.len());
        tables.placed(&marked, range)
    });
    let found = found.unwrap().unwrap();
    let expected = tables.inner.encode_fast(text, false).unwrap();
    let differs = found.iter().zip(expected.get_ids()).position(|(a, b)| a != b);
    assert!(
        found == expected.get_ids(),
        "{name}, {kind}, {:?}: {} tokens, not {}, from {differs:?} on",
        tables.windows.n_bytes,
        found.len(),
        expected.len()
    );
    longest
}

/// Special tokens are put around the whole, and what is typed is none at any place.
fn check_around(name: &str, tables: &mut Tables, kind: &str, text: &str) {
    let typed: Vec<usize> = text.match_indices('<').map(|(at, _)| at).step_by(2).collect();
    let framed = tables.encode(text, true).unwrap();
    assert!(framed == tables.inner.encode_fast(text, true).unwrap().get_ids(), "{name}, {kind}");
    let in_windows = tables.encode_typed(text, &typed).unwrap();
    let n_bytes = std::mem::replace(&mut tables.windows.n_bytes, usize::MAX);
    assert!(in_windows == tables.encode_typed(text, &typed).unwrap(), "{name}, {kind}, typed");
    tables.windows.n_bytes = n_bytes;
}

fn with_windows(tables: Vec<(String, Tables)>, n_bytes: usize) -> Vec<(String, Tables)> {
    let smaller = tables.into_iter().map(|(name, mut tables)| {
        (tables.windows.n_bytes, tables.windows.n_shared) = (n_bytes, n_bytes / 4);
        (name, tables)
    });
    smaller.collect()
}

#[test]
fn long_texts_of_every_kind_become_the_tokens_of_the_whole() {
    let n_bytes = std::env::var("LAPWING_TEST_TEXT_BYTES").ok();
    let n_bytes = n_bytes.map_or(150_000, |n| n.parse().expect("a number of bytes"));
    let Some(shared) = shared() else { return };
    let wikitext = std::fs::read_to_string(shared.join("data/wikitext2-test.raw")).unwrap();
    let wikitext = wikitext.repeat(1 + n_bytes / wikitext.len());
    for (name, tables) in tokenizers() {
        for (kind, text) in texts(n_bytes) {
            let longest = check(&name, &tables, kind, &text);
            println!("{name}, {kind}: {longest} of {}", text.len());
        }
        let text = &wikitext[..wikitext.floor_char_boundary(n_bytes)];
        let longest = check(&name, &tables, "WikiText", text);
        assert!(longest <= WINDOW_BYTES || name == "counting", "{name}: {longest}");
    }
}

#[test]
fn windows_of_any_size_give_the_tokens_of_the_whole() {
    for n_bytes in [512, 768, 1111, 4096] {
        for (name, mut tables) in with_windows(tokenizers(), n_bytes) {
            for (kind, text) in texts(9000) {
                check(&name, &tables, kind, &text);
                check_around(&name, &mut tables, kind, &text);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]
    #[test]
    fn any_mixture_gives_the_tokens_of_the_whole(
        parts in prop::collection::vec((0_usize..30, 0_usize..700), 5..40), n_bytes in 400_usize..2000
    ) {
        thread_local!(static ALL: std::cell::RefCell<Vec<(String, Tables)>> = tokenizers().into());
        let kinds = texts(800);
        let mut text = String::new();
        for (kind_idx, n) in parts {
            let kind = &kinds[kind_idx % kinds.len()].1;
            text.push_str(&kind[..kind.floor_char_boundary(n)]);
        }
        ALL.with_borrow_mut(|all| {
            *all = with_windows(std::mem::take(all), n_bytes);
            for (name, tables) in all.iter() {
                check(name, tables, "mixture", &text);
            }
        });
    }
}
