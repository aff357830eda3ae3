//! Sessions and the generation loop: prompt tokens in, events and an answer out.
//!
//! [`generate()`] is the one loop of the command line, the daemon, the evaluation and the tests.
//! It must not know a concrete backend, HTTP, settings or a terminal; it reports through one
//! closure, which streams, counts, records and cancels.
//!
//! To report something new, add it to [`Event`] or [`Generated`]; to end an answer for a new
//! reason, add it to [`Finish`] and to the loop.

mod generate;
mod generated;
mod score;
mod session;
mod text_stream;

pub use generate::{GenerateError, Request, generate};
pub use generated::{
    Event, Finish, FinishReason, Generated, StepTimings, Timings, TokenTimings, Usage,
};
pub use score::score_rows;
pub use session::Session;
