//! Lines of a file of items, and how to say what is wrong with one.

use serde::de::DeserializeOwned;

use super::{NamedText, ReadItemsError};

/// Every line with text in it, parsed, with its number from 1.
pub(super) fn json_lines<T: DeserializeOwned>(
    file: NamedText<'_>,
    expected: &'static str,
) -> Result<Vec<(usize, T)>, ReadItemsError> {
    let lines = file.text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(line_idx, line)| {
            let parsed = serde_json::from_str(line);
            let parsed = parsed.map_err(|error| {
                bad_line(file, line_idx + 1, expected, format!("{} ({error})", shorten(line)))
            })?;
            Ok((line_idx + 1, parsed))
        })
        .collect()
}

/// `items`, when there are so many at least.
pub(super) fn require_count<T>(
    file: NamedText<'_>,
    items: Vec<T>,
    n_items_min: usize,
) -> Result<Vec<T>, ReadItemsError> {
    if items.len() < n_items_min {
        let (file, n_items) = (file.name.to_owned(), items.len());
        return Err(ReadItemsError::TooFew { file, n_items, n_items_min });
    }
    Ok(items)
}

/// What is wrong with a line, from 1.
pub(super) fn bad_line(
    file: NamedText<'_>,
    line: usize,
    expected: &'static str,
    found: String,
) -> ReadItemsError {
    ReadItemsError::Line { file: file.name.to_owned(), line, expected, found }
}

/// The beginning of a text, quoted: errors stay on a line.
pub(super) fn shorten(text: &str) -> String {
    const N_CHARS_MAX: usize = 40;
    let mut chars = text.chars();
    let start: String = chars.by_ref().take(N_CHARS_MAX).collect();
    let more = if chars.next().is_some() { "…" } else { "" };
    format!("{start:?}{more}")
}
