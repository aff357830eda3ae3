//! Commands that a user may copy from a message.

use std::fmt::Display;

/// A word as a shell takes it.
pub(crate) fn quoted(word: impl Display) -> String {
    let word = word.to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "-_./@:+,=%".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_take_them_apart() {
        let check = |word: &str, expected: &str| assert_eq!(quoted(word), expected);
        check("org/repo-1.5_b@v1", "org/repo-1.5_b@v1");
        check("/models/Übung.gguf", "/models/Übung.gguf");
        check("/models/My Model.gguf", "'/models/My Model.gguf'");
        check("it's", r"'it'\''s'");
        check("$(rm)", "'$(rm)'");
        check("a*", "'a*'");
        check("", "''");
    }
}
