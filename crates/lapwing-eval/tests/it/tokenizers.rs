//! Whether two tokenizers mean the same.

use std::path::Path;

use lapwing_eval::require_same_tokenizer;
use lapwing_text::Tokenizer;

#[test]
fn another_tokenizer_is_told_by_what_differs() {
    let tokenizer = |vocabulary: &str, merges: &str| {
        let json = format!(
            r#"{{"version": "1.0", "added_tokens": [], "model": {{"type": "BPE",
                "vocab": {{{vocabulary}}}, "merges": [{merges}]}}}}"#
        );
        Tokenizer::from_bytes(json.as_bytes(), Path::new("made")).expect("a tokenizer")
    };
    let plain = tokenizer(r#""a": 0, "b": 1, "ab": 2"#, "");
    require_same_tokenizer(&plain, &plain, "abba").expect("the same");
    let check = |reference: &Tokenizer, expected: &str| {
        let error = require_same_tokenizer(reference, &plain, "abba").expect_err(expected);
        assert_eq!(error.to_string(), expected);
    };
    check(
        &tokenizer(r#""a": 0, "b": 1"#, ""),
        "the reference has another tokenizer: 2 tokens, expected 3",
    );
    check(
        &tokenizer(r#""a": 0, "b": 2, "ab": 1"#, ""),
        "the reference has another tokenizer: token 1 is Some(\"ab\"), expected Some(\"b\")",
    );
    check(
        &tokenizer(r#""a": 0, "b": 1, "ab": 2"#, r#""a b""#),
        "the reference has another tokenizer: the text becomes Some(2) at token 0, \
         expected Some(0)",
    );
}
