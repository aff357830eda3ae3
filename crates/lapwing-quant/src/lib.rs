//! Group quantisation of weight matrices: codes, scales and zero points, and how far they are from
//! the weights.
//!
//! Pure mathematics: no files, no formats, no randomness; the same weights and grid always give the
//! same codes, on any number of threads. To add a quantiser: a module with a function from a view of
//! the weights to [`GroupQuantized`] or a type like it, and tests against its error bound.

mod grid;

mod group;

mod error;

mod search;

pub use error::relative_rms;
pub use grid::{Bits, Grid};
pub use group::{GroupQuantized, QuantizeError, quantize};
