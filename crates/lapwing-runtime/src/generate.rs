//! The generation loop.

use std::ops::ControlFlow;

use crate::generated::{Event, Generated};
use crate::generation::Generation;
use crate::request::{GenerateError, Request};
use crate::session::Session;

/// Read the prompt and generate until something ends the answer.
///
/// `on_event` hears of the prefill, while it goes on and at its end, and of every token as it comes;
/// when it breaks, the generation ends as [`Finish::Cancelled`](crate::Finish::Cancelled) with what was reported so far, but for
/// an answer that is complete. The session then holds the prompt and the answer, ready for a prompt
/// that repeats them; of a prompt that was not read to its end it holds what it can go on behind.
///
/// # Errors
///
/// Before any work when the prompt or an option is wrong; later when the model fails. The session
/// stays usable.
pub fn generate(
    session: &mut Session,
    request: &Request<'_>,
    on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<Generated, GenerateError> {
    let mut generation = Generation::new(session, request).map_err(|(_, error)| error)?;
    loop {
        let mut is_wanted = || on_event(Event::Reading).is_continue();
        let is_over = generation.advance_while(&mut is_wanted)?.is_some();
        let is_cancelled = generation.event().is_some_and(|event| on_event(event).is_break());
        if is_over || is_cancelled {
            return Ok(generation.end().1);
        }
    }
}
