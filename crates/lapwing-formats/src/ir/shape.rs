//! Sizes as an IR writes them: `-1` in a port, `1,?,2..8` in an attribute.

use std::fmt;

/// One size of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// Known when the model is read.
    Fixed(u64),
    /// Known only when the model runs.
    Dynamic {
        /// The smallest size the model promises to meet.
        min: u64,
        /// The largest; none: no bound.
        max: Option<u64>,
    },
}

impl Dim {
    /// A size about which nothing is known.
    pub const ANY: Dim = Dim::Dynamic { min: 0, max: None };

    /// The size, when it is fixed.
    pub fn fixed(self) -> Option<u64> {
        match self {
            Dim::Fixed(size) => Some(size),
            Dim::Dynamic { .. } => None,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Dim::Fixed(size) => write!(f, "{size}"),
            Dim::ANY => f.write_str("?"),
            Dim::Dynamic { min, max: Some(max) } => write!(f, "{min}..{max}"),
            Dim::Dynamic { min, max: None } => write!(f, "{min}.."),
        }
    }
}

/// More dimensions than this are refused.
pub(super) const RANK_MAX: usize = 64;

/// The `shape` attribute of a `Parameter`, `Const` or variable: `?,4,1..8`. The inner option is
/// none for `...`, a tensor whose rank is not known.
pub(super) fn parse_shape(text: &str) -> Option<Option<Vec<Dim>>> {
    let text = text.trim();
    if text == "..." {
        return Some(None);
    }
    if text.is_empty() {
        return Some(Some(Vec::new()));
    }
    let mut dims = Vec::new();
    for part in text.split(',') {
        if dims.len() == RANK_MAX {
            return None;
        }
        dims.push(parse_dim(part.trim())?);
    }
    Some(Some(dims))
}

/// The text of a `dim` element of a port.
pub(super) fn parse_port_dim(text: &str) -> Option<Dim> {
    match text.trim() {
        "-1" => Some(Dim::ANY),
        size => size.parse().ok().map(Dim::Fixed),
    }
}

fn parse_dim(text: &str) -> Option<Dim> {
    if text == "?" || text == "-1" {
        return Some(Dim::ANY);
    }
    let Some((min, max)) = text.split_once("..") else {
        return text.parse().ok().map(Dim::Fixed);
    };
    let min = if min.is_empty() { 0 } else { min.parse().ok()? };
    let max = if max.is_empty() { None } else { Some(max.parse().ok()?) };
    (max.is_none_or(|max| min <= max)).then_some(Dim::Dynamic { min, max })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<Option<Vec<Dim>>>) {
        assert_eq!(parse_shape(text), expected, "{text}");
    }

    #[test]
    fn shapes() {
        check("", Some(Some(vec![])));
        check("...", Some(None));
        check("1, 1, 64", Some(Some(vec![Dim::Fixed(1), Dim::Fixed(1), Dim::Fixed(64)])));
        check("?,4,?", Some(Some(vec![Dim::ANY, Dim::Fixed(4), Dim::ANY])));
        check("1..8", Some(Some(vec![Dim::Dynamic { min: 1, max: Some(8) }])));
        check("2..", Some(Some(vec![Dim::Dynamic { min: 2, max: None }])));
        check("..8", Some(Some(vec![Dim::Dynamic { min: 0, max: Some(8) }])));
        check("8..2", None);
        check("1,,2", None);
        check("-2", None);
        check("99999999999999999999", None);
        check(&"1,".repeat(65), None);
    }
}
