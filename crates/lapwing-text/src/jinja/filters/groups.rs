//! Filters that put the things of a row into several rows.

use super::super::Fail;
use super::super::arguments::CallArgs;
use super::super::value::budget::Budget;
use super::super::value::{Seq, SeqKind, Value};
use super::keys::{Keys, sorted};

/// `groupby`.
pub(super) fn group_by(budget: &Budget, value: &Value, arguments: CallArgs) -> Result<Value, Fail> {
    let [path, default, case_sensitive] =
        arguments.bind("groupby", ["attribute", "default", "case_sensitive"])?;
    let keys = Keys { default, ..Keys::new(case_sensitive, path.clone()) };
    let exact =
        Keys { ignores_case: false, default: keys.default.clone(), ..Keys::new(None, path) };
    let items = value.iterate(budget)?;
    let sorted = sorted(budget, &items.items, false, |item| keys.of(item, budget))?;
    let mut groups = budget.items();
    let mut group: Option<(Value, Value, Vec<Value>)> = None;
    let mut close = |group: Option<(Value, Value, Vec<Value>)>| -> Result<(), Fail> {
        let Some((_, grouper, items)) = group else { return Ok(()) };
        let items = budget.collect(SeqKind::List, items)?;
        groups.push(budget.collect(SeqKind::Tuple, [grouper, items])?)
    };
    for item in sorted {
        let key = keys.of(&item, budget)?;
        let is_same = match &group {
            Some((known, ..)) => known.equals(&key, budget)?,
            None => false,
        };
        if !is_same {
            close(group.take())?;
            group = Some((key, exact.of(&item, budget)?, Vec::new()));
        }
        if let Some((_, _, items)) = &mut group {
            items.push(item);
        }
    }
    close(group)?;
    groups.into_value(SeqKind::List)
}

/// `batch`: rows of so many; `slice`: so many columns.
pub(super) fn groups(
    budget: &Budget,
    value: &Value,
    name: &str,
    arguments: CallArgs,
) -> Result<Value, Fail> {
    let [count, fill] = arguments.bind(name, ["count", "fill_with"])?;
    let count = count.and_then(|count| count.as_int()).filter(|count| *count > 0);
    let count = count.and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or_else(|| Fail::other(format!("{name} needs a count")))?;
    let fill = fill.filter(|fill| !matches!(fill, Value::None));
    let seq = value.iterate(budget)?;
    let Seq { items, .. } = &*seq;
    let mut made = budget.items();
    if name == "batch" {
        for chunk in items.chunks(count) {
            let mut row = budget.items();
            chunk.iter().try_for_each(|item| row.push(item.clone()))?;
            while let (Some(fill), true) = (&fill, row.len() < count) {
                row.push(fill.clone())?;
            }
            made.push(row.into_value(SeqKind::List)?)?;
        }
        return made.into_value(SeqKind::Generator);
    }
    let (n_each, n_longer) = (items.len() / count, items.len() % count);
    let mut start = 0;
    for column in 0..count {
        let end = start + n_each + usize::from(column < n_longer);
        let mut part = budget.items();
        items[start..end].iter().try_for_each(|item| part.push(item.clone()))?;
        if let (Some(fill), true) = (&fill, column >= n_longer && n_longer > 0) {
            part.push(fill.clone())?;
        }
        made.push(part.into_value(SeqKind::List)?)?;
        start = end;
    }
    made.into_value(SeqKind::Generator)
}
