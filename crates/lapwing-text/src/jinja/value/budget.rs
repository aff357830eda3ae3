//! How much one rendering may take: live bytes, work, time.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::Fail;
use super::marks::Marks;
use super::{Depth, Seq, SeqKind, Str, Value};

/// Bytes that all values of one rendering may hold at a time, the output included. What is charged
/// is at least half of what is really taken, a copy under way included, so that a rendering takes
/// at most twice as much.
pub(crate) const BYTES_MAX: usize = 32 << 20;

/// Time of one rendering.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(2);

/// Work of one rendering: steps of the interpreter, and elements and [`BYTES_PER_WORK`] bytes that
/// an operation looks at. A thousand messages through the longest template in use need a tenth.
const WORK_MAX: u64 = 20_000_000;

const BYTES_PER_WORK: usize = 64;

/// Work between two looks at the clock.
const WORK_PER_LOOK: u64 = 1024;

/// How deep values may be nested: comparing, printing and dropping them recurses.
const DEPTH_MAX: Depth = 200;

/// What one element of a sequence is charged with, for a vector that grows by doubling.
const BYTES_PER_ITEM: usize = 2 * size_of::<Value>();

/// What is left for one rendering; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Rc<Left>);

#[derive(Debug)]
struct Left {
    n_bytes: Cell<usize>,
    work: Cell<u64>,
    looked_at: Cell<u64>,
    deadline: Instant,
    marks: Marks,
}

/// Bytes that something holds; they are given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    n_bytes: usize,
    budget: Budget,
}

/// A text that grows.
#[derive(Debug)]
pub(crate) struct Out {
    text: String,
    charge: Charge,
}

/// A sequence that grows.
#[derive(Debug)]
pub(crate) struct Items {
    items: Vec<Value>,
    charge: Charge,
    depth: Depth,
    holds_namespace: bool,
}

impl Budget {
    /// The budget of a rendering, and what stands for characters in what it is given.
    pub(crate) fn new(marks: Marks) -> Budget {
        Budget(Rc::new(Left {
            n_bytes: Cell::new(BYTES_MAX),
            work: Cell::new(WORK_MAX),
            looked_at: Cell::new(WORK_MAX),
            deadline: Instant::now() + TIME_MAX,
            marks,
        }))
    }

    pub(crate) fn marks(&self) -> &Marks {
        &self.0.marks
    }

    /// A text as it reads, where it has to be looked at as a whole.
    pub(crate) fn plain<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, Fail> {
        if !self.marks().is_empty() {
            self.room(2, text.len())?;
        }
        Ok(self.marks().plain(text))
    }

    /// Whether two texts read alike.
    pub(crate) fn reads_alike(&self, a: &str, b: &str) -> bool {
        let original = |symbol| self.marks().original(symbol);
        a == b || !self.marks().is_empty() && a.chars().map(original).eq(b.chars().map(original))
    }

    /// Do `n` steps.
    pub(crate) fn work(&self, n: usize) -> Result<(), Fail> {
        let Left { work, looked_at, deadline, .. } = &*self.0;
        let n_before = work.get();
        let left = n_before.checked_sub(n as u64).ok_or_else(|| {
            let found = (WORK_MAX - n_before).saturating_add(n as u64);
            Fail::bound("work", format_args!("{WORK_MAX} steps"), found)
        })?;
        work.set(left);
        if looked_at.get() - left >= WORK_PER_LOOK {
            looked_at.set(left);
            if *deadline <= Instant::now() {
                let found = format!("{:.3} s", (TIME_MAX + deadline.elapsed()).as_secs_f64());
                return Err(Fail::bound("time", format_args!("{} s", TIME_MAX.as_secs()), found));
            }
        }
        Ok(())
    }

    /// Look at `n_bytes` of text.
    pub(crate) fn read(&self, n_bytes: usize) -> Result<(), Fail> {
        self.work(1 + n_bytes / BYTES_PER_WORK)
    }

    /// Hold `n_bytes`.
    pub(crate) fn charge(&self, n_bytes: usize) -> Result<Charge, Fail> {
        let mut charge = Charge { n_bytes: 0, budget: self.clone() };
        charge.grow(n_bytes)?;
        Ok(charge)
    }

    /// Whether `n` things of `n_bytes` each could be held now.
    pub(crate) fn room(&self, n: usize, n_bytes: usize) -> Result<(), Fail> {
        match n.checked_mul(n_bytes) {
            Some(n_bytes) if n_bytes <= self.0.n_bytes.get() => self.read(n_bytes),
            Some(n_bytes) => Err(self.too_much(n_bytes)),
            None => Err(Fail::memory(format_args!("{n} times {n_bytes}"))),
        }
    }

    /// Why `n_bytes` more cannot be held.
    fn too_much(&self, n_bytes: usize) -> Fail {
        Fail::memory((BYTES_MAX - self.0.n_bytes.get()).saturating_add(n_bytes))
    }

    /// A text of the template's own making.
    pub(crate) fn text(&self, text: &str) -> Result<Value, Fail> {
        self.read(text.len())?;
        let charge = self.charge(size_of::<Value>() + text.len())?;
        Ok(Value::Str(Str::new(Arc::from(text), Some(Rc::new(charge)))))
    }

    pub(crate) fn out(&self) -> Out {
        let charge = Charge { n_bytes: 0, budget: self.clone() };
        Out { text: String::new(), charge }
    }

    pub(crate) fn items(&self) -> Items {
        let charge = Charge { n_bytes: 0, budget: self.clone() };
        Items { items: Vec::new(), charge, depth: 0, holds_namespace: false }
    }

    /// A sequence of what an iterator gives.
    pub(crate) fn collect(
        &self,
        kind: SeqKind,
        items: impl IntoIterator<Item = Value>,
    ) -> Result<Value, Fail> {
        let mut collected = self.items();
        for item in items {
            collected.push(item)?;
        }
        collected.into_value(kind)
    }
}

impl Charge {
    pub(crate) fn grow(&mut self, n_bytes: usize) -> Result<(), Fail> {
        let left = &self.budget.0.n_bytes;
        let n_left = left.get().checked_sub(n_bytes);
        left.set(n_left.ok_or_else(|| self.budget.too_much(n_bytes))?);
        self.n_bytes += n_bytes;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let left = &self.budget.0.n_bytes;
        left.set(left.get() + self.n_bytes);
    }
}

impl Out {
    /// Append, charging twice: a string grows by doubling.
    pub(crate) fn push(&mut self, text: &str) -> Result<(), Fail> {
        self.charge.grow(2 * text.len())?;
        self.charge.budget.read(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    pub(crate) fn push_char(&mut self, symbol: char) -> Result<(), Fail> {
        self.charge.grow(2 * symbol.len_utf8())?;
        self.text.push(symbol);
        Ok(())
    }

    /// Append `n` times `symbol`.
    pub(crate) fn fill(&mut self, symbol: char, n: usize) -> Result<(), Fail> {
        self.repeat(symbol.encode_utf8(&mut [0; 4]), n)
    }

    /// Append `n` times `text`, which is no more work than as many bytes at once.
    pub(crate) fn repeat(&mut self, text: &str, n: usize) -> Result<(), Fail> {
        let n_bytes = n.checked_mul(2 * text.len());
        let n_bytes = n_bytes.ok_or_else(|| Fail::memory(format_args!("{n} copies")))?;
        self.charge.grow(n_bytes)?;
        self.charge.budget.read(n_bytes)?;
        self.text.push_str(&text.repeat(n));
        Ok(())
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.charge.budget
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    pub(crate) fn into_value(self) -> Result<Value, Fail> {
        let Out { text, mut charge } = self;
        charge.grow(size_of::<Value>())?;
        Ok(Value::Str(Str::new(Arc::from(text), Some(Rc::new(charge)))))
    }
}

impl Items {
    pub(crate) fn push(&mut self, item: Value) -> Result<(), Fail> {
        let n_own_bytes = match item {
            // Made with every look at one, and charged nowhere else.
            Value::Method(_) | Value::Native(_) | Value::Loop(_) | Value::Macro(_) => {
                4 * size_of::<Value>()
            }
            _ => 0,
        };
        self.charge.grow(BYTES_PER_ITEM + n_own_bytes)?;
        self.charge.budget.work(1)?;
        self.note(&item)?;
        self.items.push(item);
        Ok(())
    }

    /// Be a container of `item` too: one level deeper, and with a namespace if it holds one.
    pub(crate) fn note(&mut self, item: &Value) -> Result<(), Fail> {
        self.depth = self.depth.max(item.depth() + 1);
        self.holds_namespace |= item.holds_namespace();
        if self.depth > DEPTH_MAX {
            let limit = format_args!("{DEPTH_MAX} levels");
            return Err(Fail::bound("values within each other", limit, self.depth));
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn into_value(self, kind: SeqKind) -> Result<Value, Fail> {
        let Items { items, mut charge, depth, holds_namespace } = self;
        // Also an empty one takes its place.
        charge.grow(size_of::<Seq>())?;
        let charge = Some(charge);
        Ok(Value::Seq(Rc::new(Seq { kind, items, depth, holds_namespace, _charge: charge })))
    }
}
