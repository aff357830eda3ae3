use std::error::Error as _;

use serde_json::{Value, json};

use super::*;

/// A byte-level tokenizer of a few tokens that asks for truncation and padding.
fn small() -> Value {
    json!({
        "version": "1.0",
        "truncation": {
            "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0
        },
        "padding": {
            "strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "a"
        },
        "added_tokens": [{
            "id": 5, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        }],
        "normalizer": null,
        "pre_tokenizer": {
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}}
            ],
            "pair": [
                {"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}}
            ],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [5], "tokens": ["<s>"]}}
        },
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true
        },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false,
            "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġab": 4}, "merges": ["a b", "Ġ ab"]
        }
    })
}

fn open(json: &Value) -> Tokenizer {
    Tokenizer::from_bytes(json.to_string().as_bytes(), Path::new("small.json")).unwrap()
}

#[test]
fn encodes_without_truncation_and_padding() {
    let tokenizer = open(&small());
    let check = |text, add_special, expected: &[TokenId]| {
        assert_eq!(tokenizer.encode(text, add_special).unwrap(), expected, "{text:?}");
    };
    check("ab ab abba", false, &[3, 4, 4, 1, 0]);
    check("ab ab", true, &[5, 3, 4]);
    check("a<s>b", false, &[0, 5, 1]);
    check("", false, &[]);
    check("", true, &[5]);
}

#[test]
fn looks_tokens_up() {
    let tokenizer = open(&small());
    assert_eq!(tokenizer.n_vocab(), 6);
    assert_eq!((tokenizer.token_id("Ġab"), tokenizer.token_id("<s>")), (Some(4), Some(5)));
    assert_eq!(tokenizer.token_id(" ab"), None);
    assert_eq!(tokenizer.piece(4).as_deref(), Some("Ġab"));
    assert_eq!(tokenizer.piece(5).as_deref(), Some("<s>"));
    assert_eq!((tokenizer.piece(7), tokenizer.piece(TokenId::MAX)), (None, None));
    assert!(tokenizer.is_special(5) && !tokenizer.is_special(4) && !tokenizer.is_special(7));
    assert_eq!(tokenizer.decode(&[5, 4, 7, 3], SpecialPieces::Skip), " abab");
    assert_eq!(tokenizer.decode(&[5, 4, 7, 3], SpecialPieces::Show), "<s> abab");
}

#[test]
fn a_failure_names_the_file_and_the_cause() {
    let check = |bytes: &[u8], cause: &str| {
        let error = Tokenizer::from_bytes(bytes, Path::new("x/tokenizer.json")).unwrap_err();
        assert_eq!(error.to_string(), "x/tokenizer.json is not a usable tokenizer.json");
        let found = error.source().unwrap().to_string();
        assert!(found.contains(cause), "{found:?} has no {cause:?}");
    };
    check(b"", "EOF");
    check(b"{\"version\": \"1.0\"", "EOF");
    check(b"\xff\xfe", "utf-8");
    check(b"{\"version\": \"7.0\"}", "version");
    let mut json = small();
    json["model"]["merges"] = json!(["a z"]);
    check(json.to_string().as_bytes(), "z");
    let missing = Tokenizer::open(Path::new("/nonexistent/tokenizer.json")).unwrap_err();
    assert!(matches!(missing, OpenTokenizerError::Read { .. }), "{missing:?}");
}

#[test]
fn every_cut_and_every_flipped_byte_is_an_error_or_a_tokenizer() {
    let json = small().to_string();
    let try_all = |bytes: &[u8]| {
        if let Ok(tokenizer) = Tokenizer::from_bytes(bytes, Path::new("x")) {
            let ids = tokenizer.encode("ab <s> ba", true).unwrap_or_default();
            tokenizer.decode(&ids, SpecialPieces::Show);
            tokenizer.decode(&[0, 5, 3, 77], SpecialPieces::Skip);
        }
    };
    for position in 0..json.len() {
        let cut = Tokenizer::from_bytes(&json.as_bytes()[..position], Path::new("x"));
        assert!(cut.is_err(), "cut off at {position}");
        for replacement in *b"\"09}]x\\\xff" {
            let mut bytes = json.as_bytes().to_vec();
            bytes[position] = replacement;
            try_all(&bytes);
        }
    }
}

#[test]
fn tables_that_contradict_each_other_are_an_error_and_no_panic() {
    let mut json = small();
    json["post_processor"]["single"][0]["SpecialToken"]["id"] = json!("<t>");
    let encoded = Tokenizer::from_bytes(json.to_string().as_bytes(), Path::new("x"))
        .map(|tokenizer| tokenizer.encode("ab", true).map_err(|error| error.n_bytes));
    assert!(!matches!(encoded, Ok(Ok(_))), "{encoded:?}");
}

/// The ids are those of the PyPI package `tokenizers` 0.23, as are those of all 23 000 lines of five
/// real texts with the tokenizer of all-MiniLM-L6-v2, which differs in its vocabulary alone.
#[test]
fn pieces_of_words_are_those_of_bert() {
    let file = "../lapwing-ort/tests/data/tiny-encoder/tokenizer.json";
    let tokenizer = Tokenizer::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let check = |text, expected: &[TokenId]| {
        assert_eq!(tokenizer.encode(text, true).unwrap(), expected, "{text:?}");
        let within = &expected[1..expected.len() - 1];
        assert_eq!(tokenizer.encode(text, false).unwrap(), within, "{text:?}");
    };
    check("The cats sat.", &[2, 7, 4, 6, 8, 9, 3]);
    check("DÓGS\tsat\u{0} the[SEP]", &[2, 5, 6, 8, 7, 3, 3]);
    check("cat,a東b", &[2, 4, 1, 10, 1, 11, 3]);
    check("dogcat", &[2, 1, 3]);
    check("", &[2, 3]);
}
