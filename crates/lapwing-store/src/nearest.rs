//! What a misspelt name was probably meant to be.

/// The candidate that `name` is probably a misspelling of.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let max_distance = (lower.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (distance(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= max_distance)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance: insertions, deletions and replacements.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (a_idx, a_char) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = a_idx + 1;
        for (b_idx, b_char) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(a_char != *b_char);
            diagonal = row[b_idx + 1];
            row[b_idx + 1] = replaced.min(diagonal + 1).min(row[b_idx] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings() {
        let check = |name: &str, expected: Option<&str>| {
            let names = ["smollm2-135m-instruct", "qwen3-8b", "qwen3-4b"];
            assert_eq!(nearest(name, names.into_iter()), expected, "{name}");
        };
        check("smollm2-135m-instrcut", Some("smollm2-135m-instruct"));
        check("smollm-135m-instruct", Some("smollm2-135m-instruct"));
        check("QWEN3-8B", Some("qwen3-8b"));
        check("qwen3-6b", Some("qwen3-4b"));
        check("llama", None);
        check("", None);
    }

    #[test]
    fn distances() {
        let check = |a, b, expected| assert_eq!(distance(a, b), expected, "{a} {b}");
        check("", "", 0);
        check("", "abc", 3);
        check("kitten", "sitting", 3);
        check("flaw", "lawn", 2);
    }
}
