//! Sessions and the generation loop: prompt tokens in, events and an answer out.
//!
//! [`generate()`] is the one loop of the command line, the daemon, the evaluation and the tests;
//! it reports through one closure, which streams, counts, records and cancels. Its turns are those
//! of a [`Generation`], which whoever has many answers at a time takes up in turn. This crate must
//! not know a concrete backend, HTTP, settings or a terminal.
//!
//! To report something new, add it to [`Event`] or [`Generated`]; to end an answer for a new
//! reason, add it to [`Finish`] and to [`Generation`]. What an answer is made of is
//! [`lapwing_text::ReplyEvent`]'s to say.

mod constraint;
mod generate;
mod generated;
mod generation;
mod request;
mod score;
mod session;
mod text_stream;
mod together;

pub use constraint::{Constraint, ConstraintError};
pub use generate::generate;
pub use generated::{
    Event, Finish, FinishReason, Generated, StepTimings, Timings, TokenTimings, Usage,
};
pub use generation::Generation;
pub use request::{GenerateError, Request};
pub use score::score_rows;
pub use session::Session;
pub use together::advance_together;
