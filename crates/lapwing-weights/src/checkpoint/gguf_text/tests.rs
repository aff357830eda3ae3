use lapwing_formats::gguf::Gguf;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::*;
use crate::gguf_file::GgufFile;
use crate::shared::shared;

/// The tokenizer of stories260k as a GGUF has it: SentencePiece pieces whose scores fall with
/// their ids.
pub(crate) fn add_stories_tokenizer(file: &mut GgufFile, tokenizer_json: &[u8]) {
    let json: Value = serde_json::from_slice(tokenizer_json).unwrap();
    let tokens = tokens(&json);
    let types: Vec<i32> = tokens
        .iter()
        .enumerate()
        .map(|(id, text)| match id {
            0 => 2,
            1 | 2 => 3,
            _ if text.starts_with("<0x") => 6,
            _ => 1,
        })
        .collect();
    let scores: Vec<f32> = (0..tokens.len()).map(|id| 259.0 - id as f32).collect();
    file.string("tokenizer.ggml.model", "llama")
        .strings("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &types)
        .f32s("tokenizer.ggml.scores", &scores);
}

/// A byte-level tokenizer as a GGUF has it.
fn add_byte_level_tokenizer(file: &mut GgufFile, json: &Value, pre: &str) {
    let tokens = tokens(json);
    let mut types = vec![1; tokens.len()];
    for added in json["added_tokens"].as_array().unwrap() {
        types[added["id"].as_u64().unwrap() as usize] = 3;
    }
    let merges = json["model"]["merges"].as_array().unwrap().iter();
    let merges: Vec<String> =
        merges.map(|pair| format!("{} {}", text(&pair[0]), text(&pair[1]))).collect();
    file.string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", pre)
        .strings("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &types)
        .strings("tokenizer.ggml.merges", &merges);
}

/// The vocabulary in the order of its ids.
fn tokens(json: &Value) -> Vec<String> {
    let mut tokens: Vec<(u64, String)> = json["model"]["vocab"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(text, id)| (id.as_u64().unwrap(), text.clone()))
        .collect();
    tokens.sort();
    tokens.into_iter().map(|(_, text)| text).collect()
}

fn text(json: &Value) -> &str {
    json.as_str().unwrap()
}

fn read_text(file: &GgufFile, n_vocab: usize, bos: Option<u32>) -> TextAssets {
    read_text_of("llama", file, n_vocab, bos)
}

fn read_text_of(model_type: &str, file: &GgufFile, n_vocab: usize, bos: Option<u32>) -> TextAssets {
    let folder = tempfile::tempdir().unwrap();
    let gguf = Gguf::open(&file.write(folder.path())).unwrap();
    let mut config = crate::checkpoint::config::tests::small();
    config.architecture.model_type = model_type.to_owned();
    config.architecture.n_vocab = n_vocab;
    config.tokens.bos = bos;
    read(&gguf, &config).unwrap()
}

/// Texts of many kinds; the last is an encyclopedia's.
fn corpus() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        " ",
        "Hello, world!",
        "  two  spaces   three\t\ttabs\n\n\nlines \r\n end  ",
        "I'm sure they'll've said IT'S 3.14159, not 1234567890 or 007.",
        "fn main() { let x: Vec<u8> = vec![0; 1 << 10]; println!(\"{x:?}\"); }",
        "def f(a, *b):\n    return {k: v for k, v in zip(a, b) if k != 'x'}\n",
        "😀👩‍👩‍👧‍👦 🇪🇺 e\u{301}\u{e9} ﬁ ½ ² Ⅷ",
        "Größe, naïve, Łódź, Привет, こんにちは世界, 안녕하세요, مرحبا, שלום",
        "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n",
        "<|endoftext|><repo_name>a<file_sep> b <s> </s><unk>",
        "<0x0A> <|im_start |> <|im_",
        "https://example.org/a?b=c&d=%20#e __init__ --flag=\"x y\" $HOME \\n",
        "\u{0}\u{1}\u{7f}\u{a0}\u{200b}\u{feff}\u{fffd}",
    ]
    .map(str::to_owned)
    .to_vec();
    if let Some(path) = shared("data/wikitext2-test.raw") {
        let bytes = std::fs::read(path).unwrap();
        texts.extend(String::from_utf8_lossy(&bytes[..60_000]).lines().map(str::to_owned));
    }
    texts
}

/// Both tokenizers give the same ids and read them back alike, with and without special tokens.
fn check_same(found: &[u8], expected: &[u8]) {
    let found = Tokenizer::from_bytes(found).unwrap();
    let expected = Tokenizer::from_bytes(expected).unwrap();
    assert_eq!(found.get_vocab_size(true), expected.get_vocab_size(true));
    for text in corpus() {
        let (a, b) = (found.encode(&*text, true).unwrap(), expected.encode(&*text, true).unwrap());
        assert_eq!(a.get_ids(), b.get_ids(), "{text:?}");
        for skips_special in [false, true] {
            let read_back = |tokenizer: &Tokenizer| tokenizer.decode(a.get_ids(), skips_special);
            assert_eq!(read_back(&found).unwrap(), read_back(&expected).unwrap(), "{text:?}");
        }
    }
}

#[test]
fn a_byte_level_tokenizer_gives_the_ids_of_its_makers() {
    let Some(path) = shared("exports/smollm2-135m-instruct-ov-int4/tokenizer.json") else { return };
    let expected = std::fs::read(path).unwrap();
    let json: Value = serde_json::from_slice(&expected).unwrap();
    let mut file = GgufFile::default();
    add_byte_level_tokenizer(&mut file, &json, "smollm");
    file.string("tokenizer.chat_template", "{{ messages }}");
    let found = read_text(&file, 49_152, Some(1));
    check_same(&found.tokenizer_json, &expected);
    assert_eq!(found.chat_template.as_deref(), Some("{{ messages }}"));
    assert_eq!(found.tokenizer_config["bos_token"], "<|im_start|>");
    assert_eq!(found.tokenizer_config["add_bos_token"], false);
}

#[test]
fn a_sentence_piece_tokenizer_gives_the_ids_of_its_makers() {
    let Some(path) = shared("exports/stories260k-hf/tokenizer.json") else { return };
    let expected = std::fs::read(path).unwrap();
    let mut file = GgufFile::default();
    add_stories_tokenizer(&mut file, &expected);
    check_same(&read_text(&file, 512, Some(1)).tokenizer_json, &expected);
}

/// Phi's own tokens behind those of stories260k, as its makers' `tokenizer.json` has them: each
/// with whether it takes the white space before it, and that behind it.
fn check_phi(added: &[(&str, bool, bool)]) {
    let Some(path) = shared("exports/stories260k-hf/tokenizer.json") else { return };
    let mut json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    for (id, (text, before, behind)) in (512..).zip(added) {
        json["added_tokens"].as_array_mut().unwrap().push(json!({
            "id": id, "content": text, "single_word": false, "lstrip": before, "rstrip": behind,
            "normalized": false, "special": true,
        }));
    }
    // A file has all tokens in one list.
    let n_added = added.len();
    let mut all = json.clone();
    for (id, (text, ..)) in (512..).zip(added) {
        all["model"]["vocab"][*text] = id.into();
    }
    let mut file = GgufFile::default();
    add_stories_tokenizer(&mut file, all.to_string().as_bytes());
    let types: Vec<i32> = (0..512 + n_added)
        .map(|id| match id {
            0 => 2,
            1 | 2 => 3,
            3..259 => 6,
            512.. => 3,
            _ => 1,
        })
        .collect();
    file.i32s("tokenizer.ggml.token_type", &types);
    let found = read_text_of("phi3", &file, 512 + n_added, Some(1)).tokenizer_json;
    let found = Tokenizer::from_bytes(found).unwrap();
    let expected = Tokenizer::from_bytes(json.to_string()).unwrap();
    for text in [
        "<|user|>\n Hi there <|end|>\n<|assistant|>\n",
        "<|im_start|> user<|im_sep|>\n\nHi <|im_end|>  <|im_start|>",
        "a <|endoftext|> b",
    ] {
        let ids = |tokenizer: &Tokenizer| tokenizer.encode(text, true).unwrap().get_ids().to_vec();
        assert_eq!(ids(&found), ids(&expected), "{text:?}");
    }
}

#[test]
fn tokens_of_phi_take_the_white_space_that_their_makers_say() {
    check_phi(&[
        ("<|endoftext|>", false, false),
        ("<|assistant|>", false, true),
        ("<|placeholder1|>", false, true),
        ("<|end|>", false, true),
        ("<|user|>", false, true),
        // Somebody's own.
        ("<|im_start|>", false, false),
    ]);
    check_phi(&[
        ("<|endoftext|>", true, true),
        ("<|im_start|>", true, true),
        ("<|im_end|>", true, true),
        ("<|im_sep|>", true, true),
    ]);
    check_phi(&[("<|endoftext|>", false, false), ("<|user|>", false, false)]);
}

#[test]
fn prompts_with_tools_keep_a_template_of_their_own() {
    let Some(path) = shared("exports/stories260k-hf/tokenizer.json") else { return };
    let mut file = GgufFile::default();
    add_stories_tokenizer(&mut file, &std::fs::read(path).unwrap());
    file.string("tokenizer.chat_template", "a").string("tokenizer.chat_template.tool_use", "b");
    let text = read_text(&file, 512, None);
    assert_eq!(text.chat_template.as_deref(), Some("a"));
    assert_eq!(text.tool_template.as_deref(), Some("b"));
}

#[test]
fn start_and_end_tokens_are_added_as_the_file_says() {
    let Some(path) = shared("exports/stories260k-hf/tokenizer.json") else { return };
    let mut file = GgufFile::default();
    add_stories_tokenizer(&mut file, &std::fs::read(path).unwrap());
    let ids = |file: &GgufFile, bos| {
        let text = read_text(file, 512, bos);
        let tokenizer = Tokenizer::from_bytes(text.tokenizer_json).unwrap();
        let ids = tokenizer.encode("a", true).unwrap().get_ids().to_vec();
        (ids.first() == Some(&1), ids.last() == Some(&2))
    };
    assert_eq!(ids(&file, Some(1)), (true, false));
    assert_eq!(ids(&file, None), (false, false));
    file.bool("tokenizer.ggml.add_eos_token", true);
    assert_eq!(ids(&file, Some(1)), (true, true));
    file.bool("tokenizer.ggml.add_bos_token", false);
    assert_eq!(ids(&file, Some(1)), (false, true));
}

#[test]
fn words_are_cut_as_each_family_does() {
    let Some(path) = shared("exports/smollm2-135m-instruct-ov-int4/tokenizer.json") else { return };
    let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let check = |pre: &str, expected: &[&str]| {
        let mut file = GgufFile::default();
        add_byte_level_tokenizer(&mut file, &json, pre);
        let text = read_text(&file, 49_152, None);
        let tokenizer = Tokenizer::from_bytes(text.tokenizer_json).unwrap();
        let mut words = tokenizers::PreTokenizedString::from("it'S 12345 a\n\n  b");
        let cutter = tokenizer.get_pre_tokenizer().unwrap();
        tokenizers::PreTokenizer::pre_tokenize(cutter, &mut words).unwrap();
        let splits =
            words.get_splits(tokenizers::OffsetReferential::Original, tokenizers::OffsetType::Byte);
        let words: Vec<&str> = splits.into_iter().map(|(word, ..)| word).collect();
        assert_eq!(words, expected, "{pre}");
    };
    let digits = ["it", "'", "S", "Ġ", "1", "2", "3", "4", "5", "Ġa", "ĊĊĠ", "Ġb"];
    check("smollm", &digits);
    check("gpt-2", &["it", "'", "S", "Ġ12345", "Ġa", "ĊĊĠ", "Ġb"]);
    check("default", &["it", "'", "S", "Ġ12345", "Ġa", "ĊĊĠ", "Ġb"]);
    let one_digit = ["it", "'S", "Ġ", "1", "2", "3", "4", "5", "Ġa", "ĊĊ", "Ġ", "Ġb"];
    let three_digits = ["it", "'S", "Ġ", "123", "45", "Ġa", "ĊĊ", "Ġ", "Ġb"];
    check("qwen2", &one_digit);
    check("megrez", &one_digit);
    check("seed-coder", &one_digit);
    check("deepseek-r1-qwen", &one_digit);
    check("tekken", &one_digit);
    check("llama-bpe", &three_digits);
    check("falcon3", &three_digits);
    check("pixtral", &three_digits);
    check("dbrx", &three_digits);
    check("smaug-bpe", &three_digits);
    check("gpt-4o", &["it'S", "Ġ", "123", "45", "Ġa", "ĊĊ", "Ġ", "Ġb"]);
    check("starcoder", &digits);
    check("minerva-7b", &digits);
    check("mellum", &["it", "'", "S", "Ġ12345", "Ġa", "ĊĊĠ", "Ġb"]);
    let lines = ["it", "'", "S", "Ġ", "12345", "Ġa", "Ċ", "Ċ", "Ġ", "Ġb"];
    check("deepseek-llm", &lines);
    let digits = ["it", "'", "S", "Ġ", "1", "2", "3", "4", "5", "Ġa", "Ċ", "Ċ", "Ġ", "Ġb"];
    check("deepseek-coder", &digits);
}
