//! Whether free generation repeats itself: smoothing makes the last token likelier again.

use std::error::Error;

use lapwing_backend::{Decoder, Model, Row, StepError};
use lapwing_kernels::{Level, row_argmax};
use lapwing_model::TokenId;
use lapwing_runtime::score_rows;
use serde::Serialize;

use crate::failure::Failure;
use crate::row_block::{RowBlock, RowBuffer};
use crate::treatment::{Applier, ApplyError, HeadMatrix, Treatment};

/// Tokens in the sequences that are looked for.
const N_GRAM: usize = 4;

/// What to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct RepetitionOptions {
    /// Prompts, cut from a text at even distances.
    pub n_prompts: usize,
    /// Tokens of each.
    pub n_prompt_tokens: usize,
    /// Tokens generated after each, fewer where a stop token comes.
    pub n_new_tokens: usize,
    /// Each of these tokens ends an answer and does not count.
    pub stop_ids: Vec<TokenId>,
}

/// How much one answer repeats itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Repetition {
    /// Tokens of the answer.
    pub n_tokens: usize,
    /// Tokens equal to the one before.
    pub n_immediate: usize,
    /// Sequences of four tokens.
    pub n_grams: usize,
    /// Those that occurred before in the same answer.
    pub n_repeated_grams: usize,
}

impl Repetition {
    /// Look at the tokens of one answer.
    #[must_use]
    pub fn of(answer: &[TokenId]) -> Repetition {
        let n_immediate = answer.windows(2).filter(|pair| pair[0] == pair[1]).count();
        let mut grams: Vec<&[TokenId]> = answer.windows(N_GRAM).collect();
        let n_grams = grams.len();
        grams.sort_unstable();
        grams.dedup();
        let n_repeated_grams = n_grams - grams.len();
        Repetition { n_tokens: answer.len(), n_immediate, n_grams, n_repeated_grams }
    }

    /// Share of the 4-grams that occurred before; 0 for an answer too short to have one.
    #[must_use]
    pub fn gram_share(&self) -> f64 {
        self.n_repeated_grams as f64 / self.n_grams.max(1) as f64
    }

    /// Share of the tokens that equal the one before; 0 for an empty answer.
    #[must_use]
    pub fn immediate_share(&self) -> f64 {
        self.n_immediate as f64 / self.n_tokens.max(1) as f64
    }
}

/// Prompts from `text`, at even distances, each after `begin` if there is such a token.
///
/// Fewer than asked for where the text is too short for them not to overlap.
#[must_use]
pub fn cut_prompts(
    text: &[TokenId],
    begin: Option<TokenId>,
    options: &RepetitionOptions,
) -> Vec<Vec<TokenId>> {
    let n_prompt = options.n_prompt_tokens.max(1);
    let n_prompts = options.n_prompts.min(text.len() / n_prompt);
    let distance = text.len() / n_prompts.max(1);
    let prompt = |prompt_idx: usize| {
        let cut = &text[prompt_idx * distance..][..n_prompt];
        begin.into_iter().chain(cut.iter().copied()).collect()
    };
    (0..n_prompts).map(prompt).collect()
}

/// Greedy generation under one treatment.
pub(crate) struct Generator<'a> {
    model: &'a dyn Model,
    applier: Applier<'a>,
    needs_hidden_states: bool,
    n_tokens: usize,
    level: Level,
    /// The row after the last token.
    last: RowBuffer,
    logits: Vec<f32>,
}

impl<'a> Generator<'a> {
    pub(crate) fn new(
        model: &'a dyn Model,
        treatment: &'a Treatment,
        head: Option<HeadMatrix<'a>>,
        n_tokens: usize,
        level: Level,
    ) -> Result<Generator<'a>, ApplyError> {
        Ok(Generator {
            model,
            applier: Applier::new(treatment, head, n_tokens, level)?,
            needs_hidden_states: treatment.needs_hidden_states(),
            n_tokens,
            level,
            last: RowBuffer::default(),
            logits: vec![0.0; model.n_vocab()],
        })
    }

    /// How much the answer to one prompt repeats itself.
    ///
    /// It ends early where the model's context does.
    pub(crate) fn repetition(
        &mut self,
        prompt: &[TokenId],
        options: &RepetitionOptions,
    ) -> Result<Repetition, Failure> {
        let n_positions_max = self.model.limits().n_positions_max;
        let n_room = n_positions_max.saturating_sub(prompt.len());
        let decoder = self.model.decoder();
        let mut decoder = decoder.map_err(cannot_generate(0))?;
        let mut answer = Vec::new();
        self.applier.begin_window();
        let mut token = self.next(&mut *decoder, prompt)?;
        while !options.stop_ids.contains(&token) {
            answer.push(token);
            if options.n_new_tokens.min(n_room) <= answer.len() {
                break;
            }
            token = self.next(&mut *decoder, &[token])?;
        }
        Ok(Repetition::of(&answer))
    }

    /// The likeliest token after `tokens`.
    fn next(&mut self, decoder: &mut dyn Decoder, tokens: &[TokenId]) -> Result<TokenId, Failure> {
        let n_tokens = decoder.n_positions();
        self.read(decoder, tokens).map_err(cannot_generate(n_tokens))?;
        let (level, mut chosen) = (self.level, None);
        let block = RowBlock::of_model(self.last.rows(self.n_tokens));
        self.applier.apply(
            &block,
            |error| Failure::by("a condition cannot be applied")(error),
            |_, row| {
                chosen = row_argmax(level, row);
                Ok(())
            },
        )?;
        let token = chosen.and_then(|token| TokenId::try_from(token).ok());
        let n_tokens = n_tokens + tokens.len();
        token.ok_or_else(|| {
            Failure::new(format!(
                "nothing can be chosen after {n_tokens} tokens: every logit is NaN"
            ))
        })
    }

    fn read(&mut self, decoder: &mut dyn Decoder, tokens: &[TokenId]) -> Result<(), StepError> {
        let (last, n_tokens) = (&mut self.last, self.n_tokens);
        last.clear();
        if !self.needs_hidden_states {
            decoder.step(tokens, &mut self.logits)?;
            last.push(Row { token_idx: 0, logits: &self.logits, hidden: None }, n_tokens);
            return Ok(());
        }
        score_rows(self.model, decoder, tokens, &mut |row| {
            if row.token_idx + 1 == tokens.len() {
                last.push(row, n_tokens);
            }
        })
    }
}

/// Says so only where something failed: this is asked for with every token.
fn cannot_generate<E: Error + Send + Sync + 'static>(n_tokens: usize) -> impl Fn(E) -> Failure {
    move |source| Failure::by(format!("cannot generate after {n_tokens} tokens"))(source)
}

#[cfg(test)]
mod tests {
    use lapwing_backend::FakeModel;

    use super::*;

    #[test]
    fn repetitions_are_counted() {
        let check = |answer: &[TokenId], immediate: f64, gram: f64| {
            let found = Repetition::of(answer);
            assert_eq!((found.immediate_share(), found.gram_share()), (immediate, gram));
        };
        check(&[], 0.0, 0.0);
        check(&[1, 1, 1], 2.0 / 3.0, 0.0);
        check(&[1, 2, 3, 4, 5], 0.0, 0.0);
        check(&[7; 8], 7.0 / 8.0, 4.0 / 5.0);
        // 1212 and 2121, then both again.
        check(&[1, 2, 1, 2, 1, 2, 1], 0.0, 0.5);
    }

    #[test]
    fn prompts_are_spread_over_the_text_and_do_not_overlap() {
        let text: Vec<TokenId> = (0..20).collect();
        let check = |n_prompts: usize, expected: &[&[TokenId]]| {
            let stop_ids = Vec::new();
            let options =
                RepetitionOptions { n_prompts, n_prompt_tokens: 3, n_new_tokens: 1, stop_ids };
            assert_eq!(cut_prompts(&text, Some(99), &options), expected);
        };
        check(2, &[&[99, 0, 1, 2], &[99, 10, 11, 12]]);
        check(0, &[]);
        let options = |n_prompt_tokens: usize| RepetitionOptions {
            n_prompts: 50,
            n_prompt_tokens,
            n_new_tokens: 1,
            stop_ids: Vec::new(),
        };
        assert_eq!(
            cut_prompts(&text, None, &options(7)),
            [[0, 1, 2, 3, 4, 5, 6], [10, 11, 12, 13, 14, 15, 16]]
        );
        assert!(cut_prompts(&text, None, &options(21)).is_empty());
    }

    #[test]
    fn answers_follow_the_model_until_they_end() {
        // The fake says the next number; the vocabulary of 20 makes it come round.
        let model = FakeModel::new(20, 30, true);
        let raw = Treatment::raw();
        let mut generator = Generator::new(&model, &raw, None, 20, Level::detect()).expect("fits");
        let mut check = |n_new_tokens: usize, stop_ids: &[TokenId], n_expected: usize| {
            let options = RepetitionOptions {
                n_prompts: 1,
                n_prompt_tokens: 2,
                n_new_tokens,
                stop_ids: stop_ids.to_vec(),
            };
            let found = generator.repetition(&[3, 4], &options).expect("generates");
            assert_eq!(found.n_tokens, n_expected, "{n_new_tokens} {stop_ids:?}");
            found
        };
        check(6, &[], 6);
        check(6, &[8], 3);
        // 28 fit behind a prompt of two, and eight of them come round.
        assert_eq!(check(100, &[], 28).n_repeated_grams, 5);
    }
}
