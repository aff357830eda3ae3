//! Records for tests: those of `testdata/`.

use super::Record;

const LINES: &str = include_str!("../../testdata/records_version_1.jsonl");

/// A decode behind a context, in which everything is known that a decode can tell.
pub(crate) fn decode() -> Record {
    nth(0)
}

/// A prefill without a sensor of energy.
pub(crate) fn prefill() -> Record {
    nth(1)
}

/// A start.
pub(crate) fn start() -> Record {
    nth(2)
}

/// A decode by a program that tells little.
pub(crate) fn peer() -> Record {
    nth(3)
}

fn nth(line_idx: usize) -> Record {
    let line = LINES.lines().nth(line_idx).expect("there is a line for each kind");
    Record::parse(line.as_bytes()).expect("the sample is a record")
}
