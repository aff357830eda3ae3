//! Stop strings across chunk borders.

/// Looks for stop strings in a text that arrives in chunks.
///
/// The match that begins earliest wins, and of those the longest, wherever the chunk borders are.
/// Text is held back only from the first place on where a stop string may still begin.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    stops: Vec<String>,
    held: String,
    text: String,
    matched: Option<usize>,
}

/// What a [`StopMatcher`] says about the text so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped<'a> {
    /// Text that is safe to show now; it never holds a part of a match.
    pub text: &'a str,
    /// Which stop string ended the text, as an index into the list given at the start.
    pub matched: Option<usize>,
}

impl StopMatcher {
    /// A matcher at the start of a text. Empty strings in `stops` never match.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new(), text: String::new(), matched: None }
    }

    /// The text that is safe after one more chunk; after a match there is none.
    pub fn push(&mut self, chunk: &str) -> Stopped<'_> {
        self.advance(chunk, false)
    }

    /// The text that was held back, now that nothing more comes.
    ///
    /// There can be a match here too: one that waited for a longer one.
    pub fn finish(&mut self) -> Stopped<'_> {
        self.advance("", true)
    }

    fn advance(&mut self, chunk: &str, is_last: bool) -> Stopped<'_> {
        self.text.clear();
        if self.matched.is_none() {
            self.held.push_str(chunk);
            let (n_safe, verdict) = scan(&self.stops, &self.held, is_last);
            self.text.push_str(&self.held[..n_safe]);
            self.matched = match verdict {
                Verdict::Matched(stop_idx) => {
                    self.held.clear();
                    Some(stop_idx)
                }
                Verdict::Open => {
                    self.held.drain(..n_safe);
                    None
                }
            };
        }
        Stopped { text: &self.text, matched: self.matched }
    }
}

enum Verdict {
    Matched(usize),
    Open,
}

/// How many bytes of `held` come before the first possible match, and whether that is one.
fn scan(stops: &[String], held: &str, is_last: bool) -> (usize, Verdict) {
    for (start, _) in held.char_indices() {
        let rest = &held[start..];
        let may_grow = |stop: &String| stop.len() > rest.len() && stop.starts_with(rest);
        if !is_last && stops.iter().any(may_grow) {
            return (start, Verdict::Open);
        }
        let complete =
            stops.iter().enumerate().filter(|(_, s)| !s.is_empty() && rest.starts_with(*s));
        // The first of equal strings, so that a repeated one is reported by its first index.
        if let Some((stop_idx, _)) = complete.rev().max_by_key(|(_, stop)| stop.len()) {
            return (start, Verdict::Matched(stop_idx));
        }
    }
    (held.len(), Verdict::Open)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[&str], chunks: &[&str]) -> (String, Option<usize>) {
        let mut matcher = StopMatcher::new(stops.iter().map(|&s| s.to_owned()).collect());
        let mut text = String::new();
        for chunk in chunks {
            text.push_str(matcher.push(chunk).text);
        }
        let last = matcher.finish();
        (text + last.text, last.matched)
    }

    /// The same question put to the whole text.
    fn search(stops: &[&str], text: &str) -> (String, Option<usize>) {
        let found = stops.iter().enumerate().filter(|(_, stop)| !stop.is_empty());
        let found = found.filter_map(|(idx, stop)| Some((text.find(stop)?, idx, stop.len())));
        match found.min_by_key(|&(start, idx, len)| (start, usize::MAX - len, idx)) {
            Some((start, idx, _)) => (text[..start].to_owned(), Some(idx)),
            None => (text.to_owned(), None),
        }
    }

    #[test]
    fn borders_ties_and_unicode() {
        let check = |stops: &[&str], chunks: &[&str], text: &str, matched: Option<usize>| {
            assert_eq!(run(stops, chunks), (text.to_owned(), matched), "{stops:?} {chunks:?}");
            assert_eq!(search(stops, &chunks.concat()), (text.to_owned(), matched));
        };
        check(&["</s>"], &["a<", "/s", "> b"], "a", Some(0));
        check(&["</s>"], &["a<", "/t>"], "a</t>", None);
        check(&["ab", "abc"], &["xab", "c"], "x", Some(1));
        check(&["ab", "abc"], &["xab", "d"], "x", Some(0));
        check(&["ab", "abc"], &["xab"], "x", Some(0));
        check(&["bc", "abcd"], &["ab", "c", "d"], "", Some(1));
        check(&["bc", "abcd"], &["ab", "c", "e"], "a", Some(0));
        check(&["終わり"], &["話は終", "わ", "りです"], "話は", Some(0));
        check(&["aab"], &["aa", "aa", "b"], "aa", Some(0));
        check(&["", "x", "x"], &["ax"], "a", Some(1));
        check(&[], &["a", "b"], "ab", None);
    }

    #[test]
    fn nothing_is_held_that_no_stop_can_begin_with() {
        let mut matcher = StopMatcher::new(vec!["\n\nUser".to_owned()]);
        assert_eq!(matcher.push("one\n").text, "one");
        assert_eq!(matcher.push("two").text, "\ntwo");
        assert_eq!(matcher.push("\n\nUse").text, "");
        assert_eq!(matcher.push("d").text, "\n\nUsed");
        assert_eq!(matcher.push("\n\nUser: hi"), Stopped { text: "", matched: Some(0) });
        assert_eq!(matcher.push("more"), Stopped { text: "", matched: Some(0) });
    }

    proptest! {
        #[test]
        fn chunks_give_what_a_search_of_the_whole_text_gives(
            stops in prop::collection::vec("[abé日]{0,4}", 0..4),
            chunks in prop::collection::vec("[abé日]{0,5}", 0..12),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
            prop_assert_eq!(run(&stops, &chunks), search(&stops, &chunks.concat()));
        }
    }
}
