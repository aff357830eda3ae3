//! A bound on the digits of numbers: JSON has none, and small models go on with them to the end of
//! their tokens.

use toktrie::{SimpleVob, TokTrie, TokenId};

/// More digits than these in a row come only where nothing else may: one more than integers of 64 bits
/// and floats have.
const RUN_MAX: usize = 20;

/// Which tokens of a vocabulary begin with digits.
pub(crate) struct DigitTokens {
    digits: SimpleVob,
    /// Those that begin with zeros.
    zeros: SimpleVob,
    /// A letter that is in no number, hexadecimal or date: where it may come, text is free.
    letter: Option<TokenId>,
}

impl DigitTokens {
    pub(crate) fn of(trie: &TokTrie) -> DigitTokens {
        let n_tokens = trie.vocab_size();
        let (mut digits, mut zeros) = (SimpleVob::alloc(n_tokens), SimpleVob::alloc(n_tokens));
        let mut letter = None;
        for id in (0..n_tokens).filter_map(|id| TokenId::try_from(id).ok()) {
            let bytes = trie.token(id);
            if bytes.first().is_some_and(u8::is_ascii_digit) {
                digits.allow_token(id);
            }
            if bytes.starts_with(b"0") {
                zeros.allow_token(id);
            }
            if bytes == b"q" {
                letter = Some(id);
            }
        }
        DigitTokens { digits, zeros, letter }
    }
}

/// The digits that an answer ends with.
#[derive(Debug, Default)]
pub(crate) struct Digits {
    n_run: usize,
}

impl Digits {
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let n_last = bytes.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        self.n_run = if n_last == bytes.len() { self.n_run + n_last } else { n_last };
    }

    /// Take from `mask`, which says what may come next, what would make a run of digits too long.
    /// Something is always left.
    pub(crate) fn bound(&self, mask: &mut SimpleVob, tokens: &DigitTokens) {
        let is_text = tokens.letter.is_none_or(|letter| mask.is_allowed(letter));
        if self.n_run < RUN_MAX || is_text {
            return;
        }
        // A number that must not be zero cannot end behind zeros alone.
        for forbidden in [&tokens.digits, &tokens.zeros] {
            let mut left = mask.clone();
            left.sub(forbidden);
            if !left.is_zero() {
                *mask = left;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use toktrie::TokRxInfo;

    use super::*;

    const WORDS: [&str; 8] = ["0", "00", "17", "5", ",", ".5", "q", "7}"];

    #[track_caller]
    fn check(before: &[&str], allowed: &[&str], left: &[&str]) {
        let words: Vec<Vec<u8>> = WORDS.iter().map(|word| word.as_bytes().to_vec()).collect();
        let trie = TokTrie::from(&TokRxInfo::new(8, 7), &words);
        let id = |word: &&str| (0..8).find(|&id| WORDS[id as usize] == *word).unwrap();
        let mut digits = Digits::default();
        before.iter().for_each(|word| digits.take(word.as_bytes()));
        let mut mask = SimpleVob::alloc(8);
        allowed.iter().for_each(|word| mask.allow_token(id(word)));
        digits.bound(&mut mask, &DigitTokens::of(&trie));
        let found: Vec<&str> = mask.iter().map(|id| WORDS[id as usize]).collect();
        assert_eq!(found, left, "{before:?}");
    }

    #[test]
    fn long_runs_of_digits_end_where_they_can() {
        let number = ["0", "00", "17", "5", ",", "7}"];
        check(&["17"; 9], &number, &number);
        check(&["17"; 10], &number, &[","]);
        check(&["5", ",", "17"], &number, &number);
        // Each part of a number has its own.
        check(&[&["17"; 10][..], &[".5"]].concat(), &number, &number);
        // Where only digits can come they do, and not zeros for ever.
        check(&["00"; 10], &["0", "00", "17", "5"], &["17", "5"]);
        check(&["00"; 10], &["0", "00"], &["0", "00"]);
        // Text is free.
        let text = ["0", "00", "17", "5", ",", "q"];
        check(&["17"; 10], &text, &text);
    }
}
