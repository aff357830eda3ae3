//! Where a graph computes otherwise once a sequence is longer than so many positions.
//!
//! LongRoPE has two sets of rotary factors, and the length of the *whole* sequence chooses between
//! them. Its graphs compare that length with a constant, and choose by a branch or a selection:
//!
//! ```text
//! attention_mask ── sizes ── last ─┐
//! attention_mask ── sum ───────────┼─ cast, add 1, … ── greater than 4096 ── choice
//! position_ids ──── maximum ───────┘
//! ```
//!
//! Such graphs are found by this computation, whatever their values are called. Who runs one must
//! know: keys that were computed on one side of the switch do not fit queries of the other. The
//! formats tell what their operations are; what comes of them is here.

/// Inputs that tell the length of the whole sequence: one entry a position that was ever seen, and
/// the positions of the new tokens.
pub(crate) const MASK: &str = "attention_mask";
pub(crate) const POSITIONS: &str = "position_ids";

/// A value, as far as it is about the length of the sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Known {
    /// The input [`MASK`], `[batch, length]`.
    Mask,
    /// The input [`POSITIONS`].
    Positions,
    /// The sizes of the mask: `[batch, length]`.
    MaskSizes,
    /// The length of the sequence and this much.
    Length(f64),
    /// One number.
    Constant(f64),
}

/// What an operation makes of its first two inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The sizes of the first.
    Sizes,
    /// The last size of the first.
    LastSize,
    /// The entry of the first at the second.
    Entry,
    /// All entries of the first, added up.
    Sum,
    /// The largest entry of the first.
    Largest,
    /// The numbers of the first, in another type or shape.
    Same,
    Add,
    Subtract,
}

impl Step {
    /// What comes of it. An input is asked for once it matters.
    pub(crate) fn result(
        self,
        first: impl FnOnce() -> Option<Known>,
        second: impl FnOnce() -> Option<Known>,
    ) -> Option<Known> {
        use Known::{Constant, Length, Mask, MaskSizes, Positions};
        match (self, first()?) {
            (Step::Sizes, Mask) => Some(MaskSizes),
            (Step::LastSize | Step::Sum, Mask) => Some(Length(0.0)),
            // The second of two sizes is also the last.
            (Step::Entry, MaskSizes) => match second()? {
                Constant(1.0 | -1.0) => Some(Length(0.0)),
                _ => None,
            },
            (Step::Largest, Positions) => Some(Length(-1.0)),
            (Step::Largest, length @ Length(_)) => Some(length),
            (Step::Same, known) => Some(known),
            (Step::Add, Length(by)) => match second()? {
                Constant(more) => Some(Length(by + more)),
                _ => None,
            },
            (Step::Add, Constant(more)) => match second()? {
                Length(by) => Some(Length(by + more)),
                _ => None,
            },
            (Step::Subtract, Length(by)) => match second()? {
                Constant(less) => Some(Length(by - less)),
                _ => None,
            },
            _ => None,
        }
    }
}

/// How an operation compares its first input with its second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

impl Comparison {
    /// The length behind which it turns over, when it is one of the length with a number.
    pub(crate) fn switch(
        self,
        first: impl FnOnce() -> Option<Known>,
        second: impl FnOnce() -> Option<Known>,
    ) -> Option<u64> {
        use Known::{Constant, Length};
        let (comparison, by, number) = match (first()?, second()?) {
            (Length(by), Constant(number)) => (self, by, number),
            (Constant(number), Length(by)) => (self.mirrored(), by, number),
            _ => return None,
        };
        let last = match comparison {
            Comparison::Greater | Comparison::LessEqual => (number - by).floor(),
            Comparison::GreaterEqual | Comparison::Less => (number - by).ceil() - 1.0,
        };
        // Every sequence has a position, and no one has as many as these.
        (1.0..f64::from(i32::MAX)).contains(&last).then_some(last as u64)
    }

    fn mirrored(self) -> Comparison {
        match self {
            Comparison::Greater => Comparison::Less,
            Comparison::Less => Comparison::Greater,
            Comparison::GreaterEqual => Comparison::LessEqual,
            Comparison::LessEqual => Comparison::GreaterEqual,
        }
    }
}

/// Each switch once, the shortest first.
pub(crate) fn sorted(switches: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let switches: std::collections::BTreeSet<u64> = switches.into_iter().collect();
    switches.into_iter().collect()
}
