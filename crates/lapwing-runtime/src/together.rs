//! Several answers of one model, a token at a time and side by side.

use std::borrow::BorrowMut;
use std::time::Instant;

use lapwing_backend::Step;

use crate::generated::Finish;
use crate::generation::Generation;
use crate::request::GenerateError;
use crate::session::Session;

/// Give each of several answers its next token, in one step of their model where it can do that.
///
/// The answers are of one model and their prompts are read. The result has one entry for each, in
/// order, as [`Generation::advance`] would give it; what fails for one is no failure of the others.
pub fn advance_together<S: BorrowMut<Session>>(
    generations: &mut [&mut Generation<S>],
) -> Vec<Result<Option<Finish>, GenerateError>> {
    let Some(first) = generations.first() else { return Vec::new() };
    let model = first.session().model().clone();
    let can_step = |generation: &Generation<S>| generation.has_newest() && !generation.is_over();
    let started = Instant::now();
    let stepping = generations.iter_mut().filter(|generation| can_step(generation));
    let mut steps: Vec<Step<'_>> = stepping.map(|generation| generation.begin_step()).collect();
    let mut stepped = match steps.len() {
        0 => Vec::new(),
        _ => model.step_many(&mut steps),
    }
    .into_iter();
    let elapsed = started.elapsed();
    drop(steps);
    let turn = |generation: &mut &mut Generation<S>| {
        if !can_step(generation) {
            return generation.advance();
        }
        let stepped = stepped.next().unwrap_or(Ok(()));
        let advanced = generation.end_step(stepped, elapsed).and_then(|()| generation.choose());
        generation.settle(advanced)
    };
    generations.iter_mut().map(turn).collect()
}
