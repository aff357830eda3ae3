//! Stop strings across the borders of chunks and special tokens.

use lapwing_model::TokenId;

/// Looks for stop strings in a text that arrives in chunks, with special tokens between them.
///
/// A special token leaves no text. To a stop string it is what it is spelled like, as a whole, or
/// nothing, so that `<|end|>x` and `ab` both match `a`, the token `<|end|>`, `b` or `x`. The match
/// that begins earliest wins, and of those the longest, wherever the chunk borders are. Text is held
/// back only from the first place on where a stop string may still begin.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    stops: Vec<String>,
    spellings: Vec<(TokenId, String)>,
    held: Vec<Symbol>,
    text: String,
    specials: Vec<(usize, TokenId)>,
    matched: Option<usize>,
}

/// What a [`StopMatcher`] says about the text so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped<'a> {
    /// Text that is safe to show now; it never holds a part of a match.
    pub text: &'a str,
    /// The special tokens within it, each with its place in bytes.
    pub specials: &'a [(usize, TokenId)],
    /// Which stop string ended the text, as an index into the list given at the start.
    pub matched: Option<usize>,
}

/// A part of the text that is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    Char(char),
    Special {
        token: TokenId,
        /// Whether text before and behind it is apart, so that it is never nothing.
        is_border: bool,
    },
}

impl StopMatcher {
    /// A matcher at the start of a text. Empty strings in `stops` never match; a special token that
    /// is not in `spellings` is spelled like nothing in them.
    pub fn new(stops: Vec<String>, spellings: Vec<(TokenId, String)>) -> Self {
        let (held, text, specials) = (Vec::new(), String::new(), Vec::new());
        Self { stops, spellings, held, text, specials, matched: None }
    }

    /// Whether the stop strings have to hear of a special token.
    pub fn wants(&self, token: TokenId) -> bool {
        self.spellings.iter().any(|(spelled, _)| *spelled == token)
    }

    /// The text that is safe after one more chunk; after a match there is none.
    pub fn push(&mut self, chunk: &str) -> Stopped<'_> {
        self.advance(chunk.chars().map(Symbol::Char), false)
    }

    /// The text that is safe after a special token; no other stop string than one that spells it
    /// goes on behind it when it `is_border`.
    pub fn push_special(&mut self, token: TokenId, is_border: bool) -> Stopped<'_> {
        self.advance([Symbol::Special { token, is_border }], false)
    }

    /// The text that was held back, now that nothing more comes.
    ///
    /// There can be a match here too: one that waited for a longer one.
    pub fn finish(&mut self) -> Stopped<'_> {
        self.advance([], true)
    }

    fn advance(&mut self, more: impl IntoIterator<Item = Symbol>, is_last: bool) -> Stopped<'_> {
        self.text.clear();
        self.specials.clear();
        if self.matched.is_none() {
            self.held.extend(more);
            let (n_safe, matched) = self.scan(is_last);
            for symbol in self.held.drain(..n_safe) {
                match symbol {
                    Symbol::Char(symbol) => self.text.push(symbol),
                    Symbol::Special { token, .. } => self.specials.push((self.text.len(), token)),
                }
            }
            if matched.is_some() {
                self.held.clear();
            }
            self.matched = matched;
        }
        Stopped { text: &self.text, specials: &self.specials, matched: self.matched }
    }

    /// How many symbols come before the first possible match, and which one is there.
    fn scan(&self, is_last: bool) -> (usize, Option<usize>) {
        for start in 0..self.held.len() {
            let mut longest: Option<usize> = None;
            for (stop_idx, stop) in self.stops.iter().enumerate() {
                match self.fit(stop, &self.held[start..]) {
                    Fit::Open if !is_last => return (start, None),
                    // The first of equal strings, so that a repeated one is reported by its first
                    // index.
                    Fit::Whole if longest.is_none_or(|idx| self.stops[idx].len() < stop.len()) => {
                        longest = Some(stop_idx);
                    }
                    Fit::Whole | Fit::Open | Fit::None => {}
                }
            }
            if longest.is_some() {
                return (start, longest);
            }
        }
        (self.held.len(), None)
    }

    /// How `stop` fits to where `symbols` begin.
    fn fit(&self, stop: &str, symbols: &[Symbol]) -> Fit {
        if stop.is_empty() {
            return Fit::None;
        }
        // What is left of the string: more than one, where a special token may be nothing.
        let (mut rests, mut shorter) = (vec![stop], Vec::new());
        for symbol in symbols {
            shorter.clear();
            for rest in rests.drain(..) {
                let (behind, is_passed_over) = match *symbol {
                    Symbol::Char(symbol) => (rest.strip_prefix(symbol), false),
                    Symbol::Special { token, is_border } => {
                        let spelled = self.spellings.iter().find(|(spelled, _)| *spelled == token);
                        let behind = spelled.and_then(|(_, spelled)| rest.strip_prefix(&**spelled));
                        (behind, !is_border && rest.len() < stop.len())
                    }
                };
                let same = is_passed_over.then_some(rest);
                for rest in [behind, same].into_iter().flatten() {
                    if !shorter.contains(&rest) {
                        shorter.push(rest);
                    }
                }
            }
            if shorter.is_empty() {
                return Fit::None;
            }
            if shorter.contains(&"") {
                return Fit::Whole;
            }
            std::mem::swap(&mut rests, &mut shorter);
        }
        Fit::Open
    }
}

/// How a stop string fits to a place in the text.
enum Fit {
    /// All of it is there.
    Whole,
    /// All of the text behind the place is its beginning.
    Open,
    None,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Special tokens of the tests: their ids are digits, `9` is a border, and `8` has no spelling
    /// that a stop string could hold.
    const SPELLINGS: [&str; 3] = ["<a>", "<b>", "a"];

    fn matcher(stops: &[&str]) -> StopMatcher {
        let spellings = (0..).zip(SPELLINGS.map(str::to_owned)).chain([(9, "<c>".to_owned())]);
        StopMatcher::new(stops.iter().map(|&s| s.to_owned()).collect(), spellings.collect())
    }

    /// The text, with digits for special tokens, and what ended it.
    fn run(stops: &[&str], chunks: &[&str]) -> (String, Option<usize>) {
        let mut matcher = matcher(stops);
        let mut text = String::new();
        let mut add = |stopped: Stopped<'_>| {
            let mut n_added = 0;
            for &(at, token) in stopped.specials {
                text.push_str(&stopped.text[n_added..at]);
                text.push_str(&token.to_string());
                n_added = at;
            }
            text.push_str(&stopped.text[n_added..]);
        };
        for chunk in chunks {
            let mut rest = *chunk;
            while let Some(symbol) = rest.chars().next() {
                match symbol.to_digit(10) {
                    Some(token) => {
                        add(matcher.push_special(token, token == 9));
                        rest = &rest[1..];
                    }
                    None => {
                        let n_bytes = rest.find(|symbol: char| symbol.is_ascii_digit());
                        let (part, behind) = rest.split_at(n_bytes.unwrap_or(rest.len()));
                        add(matcher.push(part));
                        rest = behind;
                    }
                }
            }
        }
        add(matcher.finish());
        (text, matcher.finish().matched)
    }

    /// Whether `text` begins with `stop`, with each special token spelled or left out.
    fn begins(text: &str, stop: &str, is_at_start: bool) -> bool {
        let Some(symbol) = text.chars().next().filter(|_| !stop.is_empty()) else {
            return stop.is_empty();
        };
        let rest = &text[symbol.len_utf8()..];
        let Some(token) = symbol.to_digit(10) else {
            return stop.strip_prefix(symbol).is_some_and(|stop| begins(rest, stop, false));
        };
        let spelling = SPELLINGS.get(token as usize).or((token == 9).then_some(&"<c>"));
        let spelled = spelling.and_then(|spelling| stop.strip_prefix(spelling));
        spelled.is_some_and(|stop| begins(rest, stop, false))
            || (token != 9 && !is_at_start && begins(rest, stop, false))
    }

    /// The same question put to the whole text.
    fn search(stops: &[&str], text: &str) -> (String, Option<usize>) {
        for (start, _) in text.char_indices() {
            let here = stops.iter().enumerate();
            let here = here.filter(|(_, s)| !s.is_empty() && begins(&text[start..], s, true));
            if let Some((idx, _)) = here.rev().max_by_key(|(_, stop)| stop.len()) {
                return (text[..start].to_owned(), Some(idx));
            }
        }
        (text.to_owned(), None)
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
    fn a_special_token_is_its_spelling_or_nothing() {
        let check = |stops: &[&str], text: &str, expected: &str, matched: Option<usize>| {
            assert_eq!(run(stops, &[text]), (expected.to_owned(), matched), "{stops:?} {text}");
            assert_eq!(search(stops, text), (expected.to_owned(), matched), "{stops:?} {text}");
        };
        check(&["<a>"], "x0y", "x", Some(0));
        check(&["<a>y"], "x0yz", "x", Some(0));
        check(&["x<a>"], "x0y", "", Some(0));
        check(&["<a>y"], "x0z", "x0z", None);
        check(&["<a><b>"], "x01", "x", Some(0));
        check(&["<a><b>"], "x00", "x00", None);
        // As a whole: no part of it is there as text.
        check(&["<a", "a>"], "x0y", "x0y", None);
        // Written out it is a text as any other.
        check(&["<a>y"], "x<a>y", "x", Some(0));
        // To who does not spell it it is not there, unless it is a border.
        check(&["xy"], "x0y", "", Some(0));
        check(&["xy"], "x8y", "", Some(0));
        check(&["xy"], "x9y", "x9y", None);
        check(&["x<c>y"], "x9y", "", Some(0));
        check(&["x<a>y"], "x800y", "", Some(0));
        // The earliest, and of those the longest.
        check(&["<a>", "x<a>"], "wx0", "w", Some(1));
        check(&["<a>", "<a>yy"], "x0yz", "x", Some(0));
        check(&["<a>", "<a>yy"], "x0yy", "x", Some(1));
    }

    #[test]
    fn nothing_is_held_that_no_stop_can_begin_with() {
        let mut matcher = matcher(&["\n\nUser", "<a>\n"]);
        assert_eq!(matcher.push("one\n").text, "one");
        assert_eq!(matcher.push("two").text, "\ntwo");
        assert_eq!(matcher.push("\n\nUse").text, "");
        assert_eq!(matcher.push("d").text, "\n\nUsed");
        assert_eq!(matcher.push_special(1, false).specials, [(0, 1)]);
        assert_eq!(matcher.push_special(0, false).specials, []);
        let stopped = matcher.push("x");
        assert_eq!((stopped.text, stopped.specials), ("x", &[(0, 0)][..]));
        assert_eq!(matcher.push("\n").text, "");
        // No match goes on behind a border.
        let stopped = matcher.push_special(9, true);
        assert_eq!((stopped.text, stopped.specials), ("\n", &[(1, 9)][..]));
        let ended = Stopped { text: "", specials: &[], matched: Some(0) };
        assert_eq!(matcher.push("\n\nUser: hi"), ended);
        assert_eq!(matcher.push("more"), ended);
    }

    proptest! {
        #[test]
        fn chunks_give_what_a_search_of_the_whole_text_gives(
            stops in prop::collection::vec("(<[abc]>|[abé日<>]){0,4}", 0..4),
            chunks in prop::collection::vec("[abé日<>01289]{0,5}", 0..12),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
            prop_assert_eq!(run(&stops, &chunks), search(&stops, &chunks.concat()));
        }
    }
}
