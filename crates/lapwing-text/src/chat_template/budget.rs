//! How much one rendering may do.

use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::Value;
use minijinja::value::ValueKind;

/// Work of one rendering, in bytes of template that loops and macros went over. A thousand
/// messages through the longest template in use need about 30 MB.
const WORK_MAX: usize = 256 << 20;

/// Work of a body, however short: entering it costs too.
const WORK_PER_STEP: usize = 64;

/// Bytes that expressions may print in one rendering, and that one string variable may hold.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// How deep a value in a variable may be nested: dropping and printing it recurses.
const DEPTH_MAX: usize = 256;

/// Work of looking at one element of a value that is put into a variable.
const WORK_PER_ELEMENT: usize = 16;

/// Work of putting a lazy sequence into a variable. It hides how deep it is nested, so that there
/// must not be more of them than can be nested.
const WORK_PER_LAZY: usize = 64 << 10;

/// What is left for one rendering.
#[derive(Debug)]
pub(super) struct Budget {
    work: AtomicUsize,
    text_bytes: AtomicUsize,
}

/// A rendering exceeded its budget.
#[derive(Debug, thiserror::Error)]
#[error("more {bound} than a prompt needs")]
pub(super) struct Exhausted {
    pub(super) bound: &'static str,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { work: AtomicUsize::new(WORK_MAX), text_bytes: AtomicUsize::new(TEXT_BYTES_MAX) }
    }

    /// Enter once a body of `n_bytes` of template.
    pub(super) fn step(&self, n_bytes: usize) -> Result<(), minijinja::Error> {
        take(&self.work, n_bytes.max(WORK_PER_STEP), "work")
    }

    /// Print `n_bytes`.
    pub(super) fn print(&self, n_bytes: usize) -> Result<(), minijinja::Error> {
        take(&self.text_bytes, n_bytes, "output")
    }

    /// Put `value` into a variable.
    pub(super) fn store(&self, value: &Value) -> Result<(), minijinja::Error> {
        self.visit(value, 0)
    }

    fn visit(&self, value: &Value, depth: usize) -> Result<(), minijinja::Error> {
        take(&self.work, WORK_PER_ELEMENT, "work")?;
        if depth > DEPTH_MAX || value.as_str().is_some_and(|text| text.len() > TEXT_BYTES_MAX) {
            return Err(exhausted("the size of a variable"));
        }
        match value.kind() {
            ValueKind::Seq => value.try_iter()?.try_for_each(|item| self.visit(&item, depth + 1)),
            ValueKind::Map => value.try_iter()?.try_for_each(|key| {
                let item = value.get_item(&key)?;
                self.visit(&item, depth + 1)
            }),
            ValueKind::Iterable => {
                let n_bytes = value.len().unwrap_or(0).saturating_mul(WORK_PER_ELEMENT);
                take(&self.work, n_bytes.saturating_add(WORK_PER_LAZY), "work")
            }
            _ => Ok(()),
        }
    }
}

fn take(left: &AtomicUsize, n: usize, bound: &'static str) -> Result<(), minijinja::Error> {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(n))
        .map(|_| ())
        .map_err(|_| exhausted(bound))
}

fn exhausted(bound: &'static str) -> minijinja::Error {
    minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, "bound exceeded")
        .with_source(Exhausted { bound })
}
