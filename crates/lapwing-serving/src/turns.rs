//! Many answers of one model: who is read, who gets the next token, who waits.
//!
//! A round gives running answers their next tokens first and then reads a part of one prompt. Where
//! the model steps several answers at once, all that run go together. Elsewhere every client gets one
//! token a round, whichever of its answers has waited longest; and while somebody's prompt is read,
//! the others get about as much time as the reading, so that a prompt takes at most about twice what
//! it takes alone.
//!
//! What is done in the background runs while nobody waits. Models that take prompts only as a whole,
//! as on an NPU, answer one after the other.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use lapwing_host::sampling;
use lapwing_logits::Details;
use lapwing_model::TokenId;
use lapwing_runtime::{
    Constraint, Finish, GenerateError, Generated, Generation, Request, Session, Usage,
    advance_together,
};
use lapwing_text::{ReplyFormat, SpecialPieces};
use serde_json::Value;

use crate::kept::{Kept, KeptSession, N_PART_TOKENS, whole_parts};
use crate::message::{Ended, Failure, FailureKind, Generate, ReplyEvent, Said, State, Why};
use crate::served::Served;
use crate::words::{failure, kind, never_begun, piece};

/// How many answers may be made at a time, and what may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TurnsOptions {
    /// Sequences that run or are kept.
    pub(crate) n_sequences_max: usize,
    /// Bytes that kept ones may take.
    pub(crate) n_kept_bytes_max: u64,
}

/// An answer that is wanted and whose prompt is made.
pub(crate) struct Wanted {
    /// The request's number.
    pub(crate) number: u64,
    /// What was asked for; its prompt is `ids`.
    pub(crate) generate: Generate,
    /// The prompt.
    pub(crate) ids: Vec<TokenId>,
    /// What the prompt offers.
    pub(crate) tools: Option<Vec<Value>>,
    /// All of the answer is text: its prompt is no conversation.
    pub(crate) is_text: bool,
    /// What the answer must keep to.
    pub(crate) constraint: Option<Box<dyn Constraint>>,
    /// When it was asked for.
    pub(crate) arrived: Instant,
}

/// The answers of one model.
pub(crate) struct Turns<'a> {
    served: &'a Served,
    options: TurnsOptions,
    waiting: VecDeque<Wanted>,
    running: Vec<Running>,
    kept: Kept,
    state: State,
    n_turns: u64,
    /// What reading the last part of a prompt took.
    part_time: Duration,
}

struct Running {
    number: u64,
    client: u64,
    is_background: bool,
    generation: Generation<Session>,
    /// What its sequence knew exactly when it began, see [`KeptSession`].
    n_exact: usize,
    arrived: Instant,
    admitted: Instant,
    answer: Duration,
    n_thought_tokens: usize,
    /// The turn of its last token or part.
    turn: u64,
}

/// Says something to a request; the flag is set on the last.
pub(crate) type Say<'a> = &'a mut dyn FnMut(u64, bool, Said);

impl<'a> Turns<'a> {
    /// Nothing is asked for yet.
    pub(crate) fn new(served: &'a Served, options: TurnsOptions) -> Turns<'a> {
        let bytes_per_position = served.model.memory().state_bytes_per_position;
        Turns {
            served,
            options,
            waiting: VecDeque::new(),
            running: Vec::new(),
            kept: Kept::new(options.n_kept_bytes_max, bytes_per_position),
            state: State::default(),
            n_turns: 0,
            part_time: Duration::ZERO,
        }
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// How things stand.
    pub(crate) fn state(&self) -> State {
        State {
            n_running: self.running.len(),
            n_waiting: self.waiting.len(),
            n_kept: self.kept.len(),
            n_kept_bytes: self.kept.n_bytes(),
            ..self.state.clone()
        }
    }

    /// Take up a request.
    pub(crate) fn want(&mut self, wanted: Wanted) {
        self.waiting.push_back(wanted);
    }

    /// Give up a request: it ends as cancelled.
    pub(crate) fn cancel(&mut self, number: u64, say: Say<'_>) {
        if let Some(idx) = self.waiting.iter().position(|wanted| wanted.number == number) {
            if let Some(wanted) = self.waiting.remove(idx) {
                let ended = never_begun(wanted.ids.len(), wanted.arrived);
                say(number, true, Said::Ended(Box::new(ended)));
            }
        } else if let Some(idx) = self.running.iter().position(|run| run.number == number) {
            let running = self.running.swap_remove(idx);
            self.end(running, Why::Cancelled, None, say);
        }
    }

    /// One round. `is_wanted` is asked while a prompt is read, with the number of its request.
    pub(crate) fn round(&mut self, is_wanted: &mut dyn FnMut(u64) -> bool, say: Say<'_>) {
        self.admit(say);
        self.decode(say);
        self.read(is_wanted, say);
    }

    /// Begin what waits, as long as there is room.
    fn admit(&mut self, say: Say<'_>) {
        let n_max = match self.served.takes_whole_prompts() {
            true => 1,
            false => self.options.n_sequences_max.max(1),
        };
        while self.running.len() < n_max {
            let Some(wanted) = self.next_waiting() else { return };
            let (number, arrived) = (wanted.number, wanted.arrived);
            match self.begin(wanted) {
                Ok(running) => self.running.push(running),
                Err(failure) => {
                    tracing::debug!(number, waited = ?arrived.elapsed(), "refused");
                    say(number, true, Said::Failed(failure));
                }
            }
        }
    }

    /// What is begun next: of the clients that have least running, the first that somebody waits for.
    fn next_waiting(&mut self) -> Option<Wanted> {
        let n_running =
            |client: u64| self.running.iter().filter(|run| run.client == client).count();
        let rank = |idx: &usize| {
            let Generate { is_background, client, .. } = self.waiting[*idx].generate;
            (is_background, n_running(client))
        };
        let next = (0..self.waiting.len()).min_by_key(rank)?;
        self.waiting.remove(next)
    }

    fn begin(&mut self, wanted: Wanted) -> Result<Running, Failure> {
        let Wanted { number, generate, ids, tools, is_text, constraint, arrived } = wanted;
        let limits = self.served.model.limits();
        let n_held = self.running.len() + self.kept.len();
        let is_room = n_held < self.options.n_sequences_max.max(1);
        let kept = match generate.reads_anew {
            true if is_room => None,
            // It is dropped: even the oldest may know something of the prompt.
            true => self.kept.drop_oldest().and(None),
            false => {
                // A seed promises the same answer, whoever was answered before.
                let exactly = generate.sampling.seed.is_some();
                self.kept.take(&ids, exactly, limits.can_rewind, is_room)
            }
        };
        let KeptSession { session, n_exact } = match kept {
            Some(kept) => kept,
            None => {
                let session = self.served.session();
                let session = session.map_err(|error| failure(FailureKind::Model, &error))?;
                KeptSession { session, n_exact: 0 }
            }
        };
        let Generate { sampling, n_tokens_max, stop_texts, client, is_background, .. } = generate;
        let sampler = sampling::options(&sampling, &self.served.defaults);
        let reply = self.served.reply.with_tools(tools.as_deref().unwrap_or_default());
        let reply = if is_text { ReplyFormat::plain() } else { reply };
        // The last position need not be stepped.
        let n_left = (limits.n_positions_max + 1).saturating_sub(ids.len());
        let request = Request {
            prompt: &ids,
            tokenizer: self.served.tokenizer.as_ref(),
            special: SpecialPieces::Skip,
            reply: Some(&reply),
            sampler: &sampler,
            details: Details { log_probability: generate.log_probabilities, n_top: generate.n_top },
            n_tokens_max: n_tokens_max.unwrap_or(usize::MAX).min(n_left),
            stop_ids: &self.served.stop_ids,
            ignore_stop_ids: generate.ignores_end,
            stop_texts: &stop_texts,
            n_first_step_top: 0,
        };
        let generation = match Generation::new(session, &request) {
            Ok(generation) => generation.constrained(constraint),
            Err((session, error)) => {
                self.kept.keep(KeptSession { session, n_exact });
                return Err(failure(kind(&error), &error));
            }
        };
        Ok(Running {
            number,
            client,
            is_background,
            generation,
            n_exact,
            arrived,
            admitted: Instant::now(),
            answer: Duration::ZERO,
            n_thought_tokens: 0,
            turn: self.n_turns,
        })
    }

    /// Give running answers their next tokens.
    fn decode(&mut self, say: Say<'_>) {
        let is_reading = self.running.iter().any(|run| run.generation.is_reading());
        let deadline = is_reading.then(|| Instant::now() + self.part_time);
        for group in self.groups() {
            let started = Instant::now();
            let mut members: Vec<&mut Running> =
                self.running.iter_mut().filter(|run| group.contains(&run.number)).collect();
            let mut generations: Vec<_> =
                members.iter_mut().map(|run| &mut run.generation).collect();
            let outcomes = advance_together(&mut generations);
            drop(generations);
            self.n_turns += 1;
            self.state.n_steps += 1;
            let elapsed = started.elapsed();
            let mut ends = Vec::new();
            for (run, outcome) in members.into_iter().zip(outcomes) {
                run.turn = self.n_turns;
                run.answer += elapsed;
                if outcome.is_ok() {
                    self.state.n_tokens += 1;
                    let piece = piece(run.generation.event(), self.served.tokenizer.as_ref());
                    if let Some(piece) = piece {
                        let is_thought =
                            |part: &ReplyEvent| matches!(part, ReplyEvent::Reasoning(_));
                        run.n_thought_tokens += usize::from(piece.parts.iter().any(is_thought));
                        say(run.number, false, Said::Piece(Box::new(piece)));
                    }
                }
                if !matches!(outcome, Ok(None)) {
                    ends.push((run.number, outcome));
                }
            }
            ends.into_iter().for_each(|(number, outcome)| self.finish(number, outcome, say));
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return;
            }
        }
    }

    /// Whose turn it is to get a token: the numbers of those that step together, in order.
    fn groups(&self) -> Vec<BTreeSet<u64>> {
        let is_awaited = self.running.iter().any(|run| !run.is_background);
        let mut ready: Vec<&Running> = self
            .running
            .iter()
            .filter(|run| !run.generation.is_reading() && (!is_awaited || !run.is_background))
            .collect();
        if self.served.model.steps_together() {
            let all: BTreeSet<u64> = ready.iter().map(|run| run.number).collect();
            return if all.is_empty() { Vec::new() } else { vec![all] };
        }
        ready.sort_by_key(|run| run.turn);
        let mut clients = BTreeSet::new();
        ready.retain(|run| clients.insert(run.client));
        ready.iter().map(|run| BTreeSet::from([run.number])).collect()
    }

    /// Read a part of the prompt that has waited longest.
    fn read(&mut self, is_wanted: &mut dyn FnMut(u64) -> bool, say: Say<'_>) {
        let is_awaited = self.running.iter().any(|run| !run.is_background);
        let has_turn = |run: &&mut Running| !is_awaited || !run.is_background;
        let reading = self.running.iter_mut().filter(|run| run.generation.is_reading());
        let reading = reading.filter(has_turn);
        let Some(run) = reading.min_by_key(|run| run.turn) else { return };
        self.n_turns += 1;
        run.turn = self.n_turns;
        let (number, n_before, started) = (run.number, run.generation.n_read(), Instant::now());
        let n_tokens = N_PART_TOKENS - n_before % N_PART_TOKENS;
        let outcome = run.generation.read(n_tokens, &mut || is_wanted(number));
        self.part_time = started.elapsed();
        let (n_read, n_prompt) = (run.generation.n_read(), run.generation.n_prompt());
        if n_read < n_prompt {
            say(number, false, Said::Reading { n_read, n_prompt });
        }
        if !matches!(outcome, Ok(None)) {
            self.finish(number, outcome, say);
        }
    }

    /// A running answer has come to its end.
    fn finish(
        &mut self,
        number: u64,
        outcome: Result<Option<Finish>, GenerateError>,
        say: Say<'_>,
    ) {
        let Some(idx) = self.running.iter().position(|run| run.number == number) else { return };
        let running = self.running.swap_remove(idx);
        match outcome {
            Ok(finish) => {
                let (why, stop_text) = match finish {
                    Some(Finish::StopToken { .. } | Finish::Complete) => (Why::Stop, None),
                    Some(Finish::StopText { text }) => (Why::StopText, Some(text)),
                    Some(Finish::MaxTokens) => (Why::Length, None),
                    Some(Finish::ContextFull { .. }) => (Why::Full, None),
                    Some(Finish::Cancelled) | None => (Why::Cancelled, None),
                };
                self.end(running, why, stop_text, say);
            }
            Err(error) => {
                self.keep(running.generation, running.n_exact);
                say(number, true, Said::Failed(failure(kind(&error), &error)));
            }
        }
    }

    /// Keep the sequence of an answer that has ended, of which `n_exact` positions were exact when it
    /// began.
    fn keep(&mut self, generation: Generation<Session>, n_exact: usize) -> Generated {
        // It still holds what it held before.
        let has_read = generation.n_read() != 0;
        let (session, generated) = generation.end();
        let Usage { n_prompt_tokens, n_reused_tokens: n_reused, .. } = generated.usage;
        let limits = self.served.model.limits();
        let reads_parts =
            limits.n_prompt_tokens_max.is_none() && N_PART_TOKENS <= limits.n_follow_tokens_max;
        let n_exact = match reads_parts {
            _ if !has_read => n_exact,
            // What it read has the borders of one that is read from the start.
            true if n_reused <= n_exact && n_reused == whole_parts(n_reused) => {
                whole_parts(n_prompt_tokens.min(session.seen().len()))
            }
            true => whole_parts(n_reused.min(n_exact)),
            false => 0,
        };
        self.kept.keep(KeptSession { session, n_exact });
        generated
    }

    fn end(&mut self, running: Running, why: Why, stop_text: Option<String>, say: Say<'_>) {
        let Running { number, generation, arrived, admitted, answer, n_thought_tokens, .. } =
            running;
        let generated = self.keep(generation, running.n_exact);
        let usage = generated.usage;
        self.state.n_prompt_tokens += usage.n_prompt_tokens as u64;
        self.state.n_reused_tokens += usage.n_reused_tokens as u64;
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let ended = Ended {
            why,
            stop_text,
            n_prompt: usage.n_prompt_tokens,
            n_reused: usage.n_reused_tokens,
            n_tokens: usage.n_completion_tokens,
            n_thought_tokens,
            queue_ms: ms(admitted - arrived),
            prompt_ms: ms(generated.timings.prefill.elapsed),
            answer_ms: ms(answer),
            energy: None,
        };
        let said = match self.served.require_unchanged() {
            Ok(()) => Said::Ended(Box::new(ended)),
            Err(error) => Said::Failed(failure(FailureKind::Model, &error)),
        };
        say(number, true, said);
    }
}

#[cfg(test)]
mod tests;
