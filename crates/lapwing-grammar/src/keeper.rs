//! A thread that compiles a form and then works out, one token ahead, what may come next.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lapwing_model::TokenId;
use lapwing_runtime::{Constraint, ConstraintError};
use llguidance::api::TopLevelGrammar;
use llguidance::{CancellationHandle, Matcher};
use toktrie::SimpleVob;

use crate::answer::{Answer, grammar};
use crate::digits::Digits;
use crate::error::FormError;
use crate::vocabulary::{Trie, Vocabulary};

/// How long a form may be compiled.
const COMPILE_TIME_MAX: Duration = Duration::from_secs(4);
/// How long one token may take.
const TOKEN_TIME_MAX: Duration = Duration::from_secs(2);
/// So many forms are compiled at a time; one that takes too long counts until it ends.
const N_COMPILING_MAX: usize = 8;
/// Longer reasons are cut off.
const REASON_CHARS_MAX: usize = 400;
/// The library goes down into schemas and expressions by recursion.
const STACK_BYTES: usize = 32 << 20;

/// Forms that are being compiled, and where those wait that are to be.
static COMPILING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// Keeps an answer to its form.
pub struct Keeper {
    tokens: Sender<TokenId>,
    heard: Receiver<Heard>,
    cancel: CancellationHandle,
    times: Times,
    /// Why nothing more can be said.
    failed: Option<String>,
}

/// How long things took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// To compile the form.
    pub compile: Duration,
    /// To work out masks, all of them; the model computes meanwhile.
    pub masks: Duration,
    /// What of it was waited for.
    pub waits: Duration,
    /// Masks.
    pub n_masks: usize,
}

/// What a keeper's thread says.
enum Heard {
    Compiled(CancellationHandle),
    Refused(String),
    /// A token was read; whether nothing can follow.
    Taken(bool),
    /// What may come next, and how long that took to find out.
    Mask(Result<SimpleVob, String>, Duration),
}

/// Compile the form of an answer.
///
/// Takes as long as the form needs, but never more than some seconds: who has others to serve calls it
/// in a thread.
///
/// # Errors
///
/// When the form cannot be kept to; the error says why.
pub fn compile(vocabulary: &Arc<Vocabulary>, answer: &Answer<'_>) -> Result<Keeper, FormError> {
    compile_within(vocabulary, answer, COMPILE_TIME_MAX)
}

/// The same, with a time of one's own.
///
/// # Errors
///
/// As [`compile`].
pub fn compile_within(
    vocabulary: &Arc<Vocabulary>,
    answer: &Answer<'_>,
    time_max: Duration,
) -> Result<Keeper, FormError> {
    let started = Instant::now();
    let grammar = grammar(answer)?;
    let compiling = Compiling::begin(time_max)?;
    let (tokens, inbox) = mpsc::channel();
    let (outbox, heard) = mpsc::channel();
    let vocabulary = Arc::clone(vocabulary);
    let work = move || keep(&vocabulary, grammar, compiling, &inbox, &outbox);
    let builder = thread::Builder::new().name("form".to_owned()).stack_size(STACK_BYTES);
    builder.spawn(work).map_err(FormError::Thread)?;
    let cancel = match heard.recv_timeout(time_max) {
        Ok(Heard::Compiled(cancel)) => cancel,
        Ok(Heard::Refused(reason)) => return Err(FormError::Schema { reason }),
        Err(RecvTimeoutError::Timeout) => {
            return Err(FormError::TooSlow { seconds: time_max.as_secs_f64() });
        }
        Ok(_) | Err(RecvTimeoutError::Disconnected) => {
            let reason = "its compilation ended early".to_owned();
            return Err(FormError::Schema { reason });
        }
    };
    let times = Times { compile: started.elapsed(), ..Times::default() };
    tracing::debug!(compile_ms = times.compile.as_millis(), "form compiled");
    Ok(Keeper { tokens, heard, cancel, times, failed: None })
}

/// Counts a form as being compiled for as long as it lives.
struct Compiling;

impl Compiling {
    /// Wait until there is room for one more.
    fn begin(time_max: Duration) -> Result<Compiling, FormError> {
        let (n_compiling, changed) = &COMPILING;
        let n_compiling = n_compiling.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |n_compiling: &mut usize| N_COMPILING_MAX <= *n_compiling;
        let (mut n_compiling, waited) = changed
            .wait_timeout_while(n_compiling, time_max, is_full)
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return Err(FormError::Busy { n_compiling: *n_compiling });
        }
        *n_compiling += 1;
        Ok(Compiling)
    }
}

impl Drop for Compiling {
    fn drop(&mut self) {
        let (n_compiling, changed) = &COMPILING;
        *n_compiling.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        changed.notify_one();
    }
}

/// What the thread does. It ends when its keeper is gone.
fn keep(
    vocabulary: &Vocabulary,
    grammar: String,
    compiling: Compiling,
    inbox: &Receiver<TokenId>,
    outbox: &Sender<Heard>,
) {
    let parser = match vocabulary.factory.create_parser(TopLevelGrammar::from_lark(grammar)) {
        Ok(parser) => parser,
        Err(error) => {
            drop(compiling);
            let _ = outbox.send(Heard::Refused(reason(&format!("{error:#}"))));
            return;
        }
    };
    let mut matcher = Matcher::new(Ok(parser)).into_cancellable();
    let warnings = matcher.grammar_warnings();
    if !warnings.is_empty() {
        tracing::debug!(?warnings, "form");
    }
    // What may come first belongs to the compilation: a form without an answer is refused by it.
    let mut digits = Digits::default();
    let first = masked(&mut matcher, vocabulary, &digits);
    drop(compiling);
    let refused = match (&first, matcher.cancellation_handle()) {
        (Heard::Mask(Err(reason), _), _) => Some(reason.clone()),
        (_, None) => Some("it cannot be given up".to_owned()),
        (_, Some(cancel)) => outbox.send(Heard::Compiled(cancel)).err().map(|_| String::new()),
    };
    if let Some(reason) = refused {
        let _ = outbox.send(Heard::Refused(reason));
        return;
    }
    let mut next = first;
    loop {
        if outbox.send(next).is_err() {
            return;
        }
        let Ok(token) = inbox.recv() else { return };
        digits.take(vocabulary.trie.0.token(token));
        let (is_complete, mask) = take(&mut matcher, token, vocabulary, &digits, outbox);
        if is_complete {
            return;
        }
        next = mask;
    }
}

/// Read a token and say whether the form is complete with it; what may come next.
fn take(
    matcher: &mut Matcher,
    token: TokenId,
    vocabulary: &Vocabulary,
    digits: &Digits,
    outbox: &Sender<Heard>,
) -> (bool, Heard) {
    let taken = matcher.consume_token(token).and_then(|()| matcher.is_accepting());
    let (is_complete, mask) = match taken {
        _ if matcher.is_stopped() && !matcher.is_error() => (true, None),
        Ok(true) => {
            let mask = masked(matcher, vocabulary, digits);
            let ends = |mask: &SimpleVob| only_space(mask, &vocabulary.trie);
            let is_complete = matches!(&mask, Heard::Mask(Ok(mask), _) if ends(mask));
            (is_complete, Some(mask))
        }
        Ok(false) => (false, None),
        Err(error) => (false, Some(Heard::Mask(Err(reason(&error.to_string())), Duration::ZERO))),
    };
    let _ = outbox.send(Heard::Taken(is_complete));
    let mask = match mask {
        Some(mask) => mask,
        None if is_complete => Heard::Taken(true),
        None => masked(matcher, vocabulary, digits),
    };
    (is_complete, mask)
}

/// What may come next.
fn masked(matcher: &mut Matcher, vocabulary: &Vocabulary, digits: &Digits) -> Heard {
    let started = Instant::now();
    let mut mask = matcher.compute_mask_or_eos().map_err(|error| reason(&error.to_string()));
    if let Ok(mask) = &mut mask {
        digits.bound(mask, &vocabulary.digits);
    }
    Heard::Mask(mask, started.elapsed())
}

/// Whether nothing but the answer's end and white space can come.
fn only_space(mask: &SimpleVob, trie: &Trie) -> bool {
    let stops = trie.0.eos_tokens();
    let is_space = |token: u32| trie.0.token(token).iter().all(u8::is_ascii_whitespace);
    mask.iter().all(|token| stops.contains(&token) || is_space(token))
}

/// An error in words, without the place in our grammar, whose text the library shows behind it.
fn reason(text: &str) -> String {
    let is_listing = |line: &str| {
        let (number, rest) = line.trim_start().split_once(' ').unwrap_or_default();
        !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()) && rest.starts_with('|')
    };
    let is_mark = |line: &str| line.trim().chars().all(|symbol| symbol == '^');
    let lines = text.lines().take_while(|line| !is_listing(line)).filter(|line| !is_mark(line));
    let line = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    // Its own options are nobody's to set.
    if line.contains("coerce_one_of") {
        return "more than one alternative of a oneOf may fit: anyOf says so".to_owned();
    }
    let line = match line.split_once("failed to compile JSON schema: ") {
        Some((_, reason)) => reason,
        None => &line,
    };
    line.chars().take(REASON_CHARS_MAX).collect()
}

impl Keeper {
    /// How long things took so far.
    #[must_use]
    pub fn times(&self) -> Times {
        self.times
    }

    /// What the thread says next, within the time of a token.
    fn hear(&mut self) -> Result<Heard, ConstraintError> {
        let error = |what: &str| ConstraintError { what: what.to_owned(), source: None };
        if let Some(failed) = &self.failed {
            return Err(error(failed));
        }
        let started = Instant::now();
        let heard = self.heard.recv_timeout(TOKEN_TIME_MAX);
        self.times.waits += started.elapsed();
        let failed = match heard {
            Ok(Heard::Mask(Err(reason), _)) => format!("cannot keep to the form: {reason}"),
            Ok(heard) => return Ok(heard),
            Err(RecvTimeoutError::Timeout) => {
                self.cancel.cancel();
                "cannot keep to the form: what may come next takes too long to find out".to_owned()
            }
            Err(RecvTimeoutError::Disconnected) => "the form is complete".to_owned(),
        };
        Err(error(self.failed.insert(failed).as_str()))
    }
}

impl Constraint for Keeper {
    fn forbid(&mut self, logits: &mut [f32]) -> Result<(), ConstraintError> {
        let Heard::Mask(Ok(mask), elapsed) = self.hear()? else {
            let what = "the form was asked twice about one token".to_owned();
            return Err(ConstraintError { what, source: None });
        };
        self.times.masks += elapsed;
        self.times.n_masks += 1;
        forbid(&mask, logits);
        Ok(())
    }

    fn take(&mut self, token: u32) -> bool {
        // An error comes up at the next token.
        let _ = self.tokens.send(token);
        matches!(self.hear(), Ok(Heard::Taken(true)))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keeper").field("times", &self.times).finish_non_exhaustive()
    }
}

/// Make the logits of all tokens that are not in `mask` `-inf`.
fn forbid(mask: &SimpleVob, logits: &mut [f32]) {
    let (words, n_tokens) = (mask.as_slice(), mask.len());
    for (logits, word_idx) in logits.chunks_mut(32).zip(0..) {
        let mut word = words.get(word_idx).copied().unwrap_or(0);
        // Rows may be longer than the vocabulary.
        let n_left = n_tokens.saturating_sub(word_idx * 32);
        if n_left < 32 {
            word &= (1_u32 << n_left) - 1;
        }
        match word {
            u32::MAX => {}
            0 => logits.fill(f32::NEG_INFINITY),
            _ => {
                for (logit, bit) in logits.iter_mut().zip(0..) {
                    if word >> bit & 1 == 0 {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_leave_out_our_own_grammar() {
        let check = |text: &str, expected: &str| assert_eq!(reason(text), expected);
        check("it ends", "it ends");
        check(
            "at 1(8): failed to compile JSON schema: regex parse error:\n    (?=a)b\n    ^^^\n\
             error: look-around is not supported\n   1 | start: %json {}\n     |  ^",
            "regex parse error: (?=a)b error: look-around is not supported",
        );
        check(
            "oneOf constraints are not supported. Enable 'coerce_one_of' option to approximate",
            "more than one alternative of a oneOf may fit: anyOf says so",
        );
        assert_eq!(reason(&"x".repeat(1000)).len(), REASON_CHARS_MAX);
    }

    #[test]
    fn what_may_not_come_is_minus_infinity() {
        let mut mask = SimpleVob::alloc(70);
        [0, 31, 33, 69].into_iter().for_each(|token| mask.allow_token(token));
        let mut logits = vec![1.0; 80];
        forbid(&mask, &mut logits);
        let left: Vec<usize> = (0..80).filter(|&idx| logits[idx] == 1.0).collect();
        assert_eq!(left, [0, 31, 33, 69]);
        assert!(logits.iter().all(|logit| *logit == 1.0 || *logit == f32::NEG_INFINITY));
    }
}
