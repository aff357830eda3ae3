//! Characters that stand for others, so that text of users and text of the template stay apart.
//!
//! Where a control token could begin or end in a text that somebody typed, another character stands
//! for the one that it has there. A template never sees the difference: what copies characters takes
//! the marks along, and what looks at them (comparisons, `repr`, methods, …) looks at what they
//! stand for. An operation that gives something else for marked texts than for plain ones gives
//! what it makes of plain ones, and all of that counts as typed.

use std::borrow::Cow;
use std::rc::Rc;

/// What stands for what. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks(Rc<[(char, char)]>);

impl Marks {
    /// Marks from pairs of a character and what stands for it.
    pub(crate) fn new(pairs: Vec<(char, char)>) -> Marks {
        Marks(pairs.into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a character stands for; itself if it is no mark.
    pub(crate) fn original(&self, symbol: char) -> char {
        let pair = self.0.iter().find(|(_, mark)| *mark == symbol);
        pair.map_or(symbol, |(original, _)| *original)
    }

    /// What stands for a character, `None` where nothing does.
    pub(crate) fn mark_of(&self, symbol: char) -> Option<char> {
        let pair = self.0.iter().find(|(original, _)| *original == symbol);
        pair.map(|(_, mark)| *mark)
    }

    pub(in crate::jinja) fn is_in(&self, text: &str) -> bool {
        !self.is_empty() && text.contains(|symbol| self.original(symbol) != symbol)
    }

    /// A text as it reads.
    pub(crate) fn plain<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.is_in(text) {
            true => text.chars().map(|symbol| self.original(symbol)).collect::<String>().into(),
            false => Cow::Borrowed(text),
        }
    }
}
