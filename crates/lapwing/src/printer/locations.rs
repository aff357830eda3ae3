//! Places in the source of ONNX Runtime, which it puts into its messages.
//!
//! `/onnxruntime_src/onnxruntime/core/graph/model.cc:256 onnxruntime::Model::Model(onnx::ModelProto&&)`
//! in front of what is wrong tells a user nothing.

/// The files that such places are in.
const ENDS_OF_FILES: [&str; 3] = [".cc:", ".cpp:", ".h:"];
/// Before a longer text no signature has its parameters.
const NAME_BYTES_MAX: usize = 300;

/// `text` without such places, and without the signatures behind them.
pub(super) fn left_out(text: &str) -> String {
    let mut left = String::new();
    let mut rest = text;
    while let Some((start, end)) = next_place(rest) {
        left.push_str(&rest[..start]);
        // What was glued to the place is a word of its own.
        let ends_word = left.chars().next_back().is_none_or(char::is_whitespace);
        rest = rest[end..].trim_start_matches(' ');
        if !ends_word && !rest.is_empty() {
            left.push(' ');
        }
    }
    left + rest
}

/// Where the first place begins, and where it and its signature end.
fn next_place(text: &str) -> Option<(usize, usize)> {
    let mut places = text.match_indices("/onnxruntime");
    places.find_map(|(start, _)| {
        let word = text[start..].split(char::is_whitespace).next()?;
        let file_end = ENDS_OF_FILES.iter().filter_map(|end| Some(word.find(end)? + end.len()));
        let file_end = start + file_end.min()?;
        let n_digits = text[file_end..].bytes().take_while(u8::is_ascii_digit).count();
        let end = file_end + n_digits;
        (0 < n_digits).then(|| (start, end + signature(&text[end..])))
    })
}

/// The length of the signature that `text` begins with; 0 where it begins with none.
fn signature(text: &str) -> usize {
    let Some(open) = text.find('(').filter(|open| *open < NAME_BYTES_MAX) else { return 0 };
    let name = text[..open].trim_start_matches(' ');
    // Words of a message are no name of C++ with its type before it.
    let is_name = name.contains("::") || !name.trim_end().contains(' ');
    if !is_name || name.is_empty() || name.contains(['.', '\n', '"', '\'']) {
        return 0;
    }
    let mut depth = 0_usize;
    for (at, symbol) in text[open..].char_indices() {
        match symbol {
            '(' => depth += 1,
            ')' if depth == 1 => {
                let end = open + at + 1;
                let qualified = text[end..].strip_prefix(" const").map_or(0, |_| " const".len());
                return end + qualified;
            }
            ')' => depth -= 1,
            _ => {}
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_the_source_are_left_out_and_what_is_wrong_stays() {
        let check = |text: &str, expected: &str| assert_eq!(left_out(text), expected);
        check(
            "Load model from m.onnx failed:/onnxruntime_src/onnxruntime/core/graph/model.cc:256 \
             onnxruntime::Model::Model(onnx::ModelProto&&, const onnxruntime::PathString&, const \
             IOnnxRuntimeOpSchemaRegistryList*) Unknown model file format version.",
            "Load model from m.onnx failed: Unknown model file format version.",
        );
        check(
            "/onnxruntime_src/onnxruntime/core/framework/op_kernel.cc:83 virtual \
             onnxruntime::common::Status onnxruntime::OpKernel::Compute(onnxruntime::\
             OpKernelContext*) const no such thing (yet)",
            "no such thing (yet)",
        );
        check(
            "error in /onnxruntime_src/a.h:12: shapes differ (2 and 3)",
            "error in : shapes differ (2 and 3)",
        );
        for text in ["a (b)", "cannot open /models/onnxruntime/model.onnx", "/onnxruntime.cc:"] {
            check(text, text);
        }
    }
}
