//! What waits to be written of one leaf of the schema: values, and where in their rows they are.

use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedColumnWriter;

use crate::column::{Column, Kind};

/// Values of one of the types that a file stores.
#[derive(Debug)]
enum Values {
    Texts(Vec<ByteArray>),
    Integers(Vec<i64>),
    Numbers(Vec<f64>),
    Flags(Vec<bool>),
}

/// A value of a leaf.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell<'a> {
    Text(&'a str),
    Integer(i64),
    Number(f64),
    Flag(bool),
}

/// A column has one, a map two: its keys and its values.
///
/// The levels are those of Dremel (Melnik et al., 2010, section 4.1), as Parquet takes them: how
/// much of the path to a value is there, and whether it begins a row.
#[derive(Debug)]
pub(crate) struct Leaf {
    values: Values,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
    may_be_null: bool,
    is_repeated: bool,
    n_bytes: usize,
}

impl Leaf {
    /// The leaves of a column, empty.
    pub(crate) fn of(column: &Column) -> Vec<Leaf> {
        let values = || match column.kind {
            Kind::Text | Kind::Texts | Kind::Map => Values::Texts(Vec::new()),
            Kind::Integer | Kind::Unsigned | Kind::Time | Kind::Integers => {
                Values::Integers(Vec::new())
            }
            Kind::Number | Kind::Numbers => Values::Numbers(Vec::new()),
            Kind::Flag => Values::Flags(Vec::new()),
        };
        let leaf = || Leaf {
            values: values(),
            definitions: Vec::new(),
            repetitions: Vec::new(),
            may_be_null: column.may_be_null,
            is_repeated: matches!(
                column.kind,
                Kind::Texts | Kind::Integers | Kind::Numbers | Kind::Map
            ),
            n_bytes: 0,
        };
        let n_leaves = if column.kind == Kind::Map { 2 } else { 1 };
        std::iter::repeat_with(leaf).take(n_leaves).collect()
    }

    /// The next row has nothing here.
    pub(crate) fn push_null(&mut self) {
        self.place(0, 0);
    }

    /// The next row has one value.
    pub(crate) fn push(&mut self, cell: Cell<'_>) {
        self.place(i16::from(self.may_be_null), 0);
        self.keep(cell);
    }

    /// The next row has a list.
    pub(crate) fn push_all<'a>(&mut self, cells: impl Iterator<Item = Cell<'a>>) {
        let empty = i16::from(self.may_be_null);
        let mut repetition = 0;
        for cell in cells {
            self.place(empty + 1, repetition);
            self.keep(cell);
            repetition = 1;
        }
        if repetition == 0 {
            self.place(empty, 0);
        }
    }

    /// What this takes in memory, about.
    pub(crate) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Write all of it as this leaf's part of a row group, and forget it.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(crate) fn write(&mut self, mut to: SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let has_definitions = self.may_be_null || self.is_repeated;
        let definitions = has_definitions.then_some(&*self.definitions);
        let repetitions = self.is_repeated.then_some(&*self.repetitions);
        match &mut self.values {
            Values::Texts(values) => {
                to.typed::<ByteArrayType>().write_batch(values, definitions, repetitions)?;
                values.clear();
            }
            Values::Integers(values) => {
                to.typed::<Int64Type>().write_batch(values, definitions, repetitions)?;
                values.clear();
            }
            Values::Numbers(values) => {
                to.typed::<DoubleType>().write_batch(values, definitions, repetitions)?;
                values.clear();
            }
            Values::Flags(values) => {
                to.typed::<BoolType>().write_batch(values, definitions, repetitions)?;
                values.clear();
            }
        }
        self.definitions.clear();
        self.repetitions.clear();
        self.n_bytes = 0;
        to.close()
    }

    fn place(&mut self, definition: i16, repetition: i16) {
        self.definitions.push(definition);
        self.repetitions.push(repetition);
        self.n_bytes += 2 * size_of::<i16>();
    }

    fn keep(&mut self, cell: Cell<'_>) {
        match (&mut self.values, cell) {
            (Values::Texts(values), Cell::Text(text)) => {
                values.push(ByteArray::from(text));
                self.n_bytes += size_of::<ByteArray>() + text.len();
            }
            (Values::Integers(values), Cell::Integer(integer)) => {
                values.push(integer);
                self.n_bytes += size_of::<i64>();
            }
            (Values::Numbers(values), Cell::Number(number)) => {
                values.push(number);
                self.n_bytes += size_of::<f64>();
            }
            (Values::Flags(values), Cell::Flag(flag)) => {
                values.push(flag);
                self.n_bytes += size_of::<bool>();
            }
            (values, cell) => unreachable!("{cell:?} for {values:?}"),
        }
    }
}
