//! Which added tokens that are not special are more than text where a user types them.

/// Elements of HTML that tokenizers have a token for each tag of, to read pages with.
const HTML: [&str; 31] = [
    "table",
    "caption",
    "thead",
    "tbody",
    "tfoot",
    "tr",
    "th",
    "td",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "blockquote",
    "strong",
    "em",
    "b",
    "i",
    "u",
    "s",
    "sub",
    "sup",
    "code",
    "p",
    "br",
    "hr",
    "ul",
    "ol",
    "li",
    "img",
];

/// Whether the added token `spelling` marks a part of a conversation (`<think>`, `<tool_call>`,
/// `<|fim_prefix|>`) rather than spells text (line ends, runs of spaces, `</td>`).
///
/// `tokenizer.json` does not tell: both are added, and not special, so that answers show them.
/// What the template itself writes is a marker whatever it is called.
pub(super) fn is_marker(spelling: &str, is_in_template: bool) -> bool {
    let within = |open, close| spelling.strip_prefix(open)?.strip_suffix(close);
    let Some(name) = within("<", ">").or_else(|| within("[", "]")) else { return false };
    is_in_template || !HTML.contains(&name.strip_prefix('/').unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_told_from_text() {
        let markers = ["<think>", "</tool_call>", "<|fim_prefix|>", "<｜User｜>", "[TOOL_CALLS]"];
        for marker in markers {
            assert!(is_marker(marker, false), "{marker}");
        }
        for text in ["\n", "    ", "<td>", "</h1>", "|||EMAIL|||", "1", "<", "a > b"] {
            assert!(!is_marker(text, false), "{text}");
        }
        assert!(is_marker("<code>", true));
        assert!(!is_marker("\n\n", true));
    }
}
