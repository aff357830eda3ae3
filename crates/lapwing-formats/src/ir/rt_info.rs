//! What the exporting tools noted about a model: a tree of names with values.

use super::IrModel;
use super::cursor::Cursor;

/// How NNCF compressed the weights, in its own words.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightCompression {
    /// Such as `int4_sym` or `int8_asym`.
    pub mode: String,
    /// Columns that share a scale; -1: a whole row; none when it is not told.
    pub group_size: Option<i64>,
    /// The share of the weights that have `mode`.
    pub ratio: Option<f64>,
    /// The mode of the others.
    pub backup_mode: Option<String>,
}

impl WeightCompression {
    pub(super) fn read(model: &IrModel) -> Option<WeightCompression> {
        let value = |key| model.rt_info(&["nncf", "weight_compression", key]);
        Some(WeightCompression {
            mode: value("mode")?,
            group_size: value("group_size").and_then(|text| text.parse().ok()),
            ratio: value("ratio").and_then(|text| text.parse().ok()),
            backup_mode: value("backup_mode"),
        })
    }
}

/// The value that `path` leads to below the `rt_info` element that starts at `start`.
///
/// A step is an element of this name, or an `info` element whose `name` attribute says so (names
/// that XML cannot spell are written that way).
pub(super) fn find(text: &str, start: usize, path: &[&str]) -> Option<String> {
    let mut cursor = Cursor::at(text, start);
    let root = cursor.child().ok()?.ok()?;
    if root.is_empty {
        return None;
    }
    let mut path = path.iter();
    let mut step = path.next()?;
    loop {
        let tag = cursor.child().ok()?.ok()?;
        let is_it = tag.name() == *step
            || tag.name() == "info"
                && tag.attribute("name").ok().flatten().is_some_and(|name| name == *step);
        if !is_it {
            cursor.skip(&tag, &mut |_| Ok(())).ok()?;
            continue;
        }
        match path.next() {
            None => return tag.attribute("value").ok().flatten().map(|value| value.into_owned()),
            Some(_) if tag.is_empty => return None,
            Some(next) => step = next,
        }
    }
}
