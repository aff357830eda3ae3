//! What the user can ask of the sampler, and whether it makes sense.

/// All sampling options; there are no defaults here: the caller states each one, or names
/// [`SamplerOptions::greedy`].
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerOptions {
    /// Divides the logits; 0 is the greedy choice. At least 0.
    pub temperature: f32,
    /// Keep this many of the largest logits; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest tokens that hold this share of the probability; 1 keeps all. From 0 to 1.
    pub top_p: f32,
    /// Keep tokens at least this probable relative to the most probable; 0 keeps all. From 0 to 1.
    pub min_p: f32,
    /// Divides a positive and multiplies a negative logit of a token in the history; 1 is off.
    ///
    /// Source: Keskar et al. 2019, "CTRL", section 4.1.
    pub repeat_penalty: f32,
    /// How many of the last tokens all penalties look at; `None` is the whole history.
    pub repeat_window: Option<usize>,
    /// Subtracted from the logit of every token in the history; 0 is off.
    ///
    /// Source: the OpenAI API reference, `presence_penalty`.
    pub presence_penalty: f32,
    /// Subtracted from the logit once per occurrence in the history; 0 is off.
    ///
    /// Source: the OpenAI API reference, `frequency_penalty`.
    pub frequency_penalty: f32,
    /// Added to the logits of these tokens; `-inf` forbids one. Repeated ids add up.
    pub logit_bias: Vec<(u32, f32)>,
    /// Where the random numbers start.
    pub seed: u64,
}

/// A sampling option that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sampling option {option} must be {expected}, found {found}")]
pub struct SamplerOptionsError {
    /// The field of [`SamplerOptions`].
    pub option: &'static str,
    /// The range it must lie in.
    pub expected: String,
    /// What it was.
    pub found: String,
}

impl SamplerOptions {
    /// Always the likeliest token, changed by nothing.
    #[must_use]
    pub const fn greedy() -> SamplerOptions {
        SamplerOptions {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_window: None,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }

    /// Check every option on its own; ids are checked when the vocabulary is known.
    ///
    /// # Errors
    ///
    /// The first option outside its range.
    pub fn check(&self) -> Result<(), SamplerOptionsError> {
        let finite = |value: f32| value.is_finite();
        let share = |value: f32| (0.0..=1.0).contains(&value);
        let not_negative = |value: f32| value.is_finite() && 0.0 <= value;
        let positive = |value: f32| value.is_finite() && 0.0 < value;
        let bias = |value: f32| value.is_finite() || value == f32::NEG_INFINITY;
        require("temperature", self.temperature, not_negative, "a finite number of at least 0")?;
        require("top_p", self.top_p, share, "from 0 to 1")?;
        require("min_p", self.min_p, share, "from 0 to 1")?;
        require("repeat_penalty", self.repeat_penalty, positive, "a finite number above 0")?;
        require("presence_penalty", self.presence_penalty, finite, "a finite number")?;
        require("frequency_penalty", self.frequency_penalty, finite, "a finite number")?;
        for &(_, value) in &self.logit_bias {
            require("logit_bias", value, bias, "a finite number or -inf")?;
        }
        Ok(())
    }

    /// Check that every biased id is in the vocabulary.
    pub(crate) fn check_ids(&self, n_vocab: usize) -> Result<(), SamplerOptionsError> {
        let outside = self.logit_bias.iter().find(|(token, _)| n_vocab <= *token as usize);
        outside.map_or(Ok(()), |(token, _)| {
            Err(SamplerOptionsError {
                option: "logit_bias",
                expected: format!("for token ids below {n_vocab}"),
                found: token.to_string(),
            })
        })
    }
}

fn require(
    option: &'static str,
    value: f32,
    holds: impl Fn(f32) -> bool,
    expected: &str,
) -> Result<(), SamplerOptionsError> {
    if holds(value) {
        return Ok(());
    }
    Err(SamplerOptionsError { option, expected: expected.to_owned(), found: value.to_string() })
}

#[cfg(test)]
mod tests {
    use super::SamplerOptions;

    fn check(options: SamplerOptions, expected: &str) {
        let message = options.check().and_then(|()| options.check_ids(100));
        let message = message.map_or_else(|error| error.to_string(), |()| "fine".to_owned());
        assert_eq!(message, expected, "{options:?}");
    }

    #[test]
    fn every_option_has_a_range() {
        check(SamplerOptions::greedy(), "fine");
        check(
            SamplerOptions { temperature: -0.5, ..SamplerOptions::greedy() },
            "sampling option temperature must be a finite number of at least 0, found -0.5",
        );
        check(
            SamplerOptions { temperature: f32::INFINITY, ..SamplerOptions::greedy() },
            "sampling option temperature must be a finite number of at least 0, found inf",
        );
        check(
            SamplerOptions { top_p: 1.5, ..SamplerOptions::greedy() },
            "sampling option top_p must be from 0 to 1, found 1.5",
        );
        check(SamplerOptions { top_p: 0.0, ..SamplerOptions::greedy() }, "fine");
        check(
            SamplerOptions { min_p: f32::NAN, ..SamplerOptions::greedy() },
            "sampling option min_p must be from 0 to 1, found NaN",
        );
        check(
            SamplerOptions { repeat_penalty: 0.0, ..SamplerOptions::greedy() },
            "sampling option repeat_penalty must be a finite number above 0, found 0",
        );
        check(
            SamplerOptions { presence_penalty: f32::NAN, ..SamplerOptions::greedy() },
            "sampling option presence_penalty must be a finite number, found NaN",
        );
        check(
            SamplerOptions { frequency_penalty: f32::INFINITY, ..SamplerOptions::greedy() },
            "sampling option frequency_penalty must be a finite number, found inf",
        );
        check(
            SamplerOptions {
                logit_bias: vec![(99, f32::NEG_INFINITY)],
                ..SamplerOptions::greedy()
            },
            "fine",
        );
        check(
            SamplerOptions {
                logit_bias: vec![(1, 2.0), (2, f32::INFINITY)],
                ..SamplerOptions::greedy()
            },
            "sampling option logit_bias must be a finite number or -inf, found inf",
        );
        check(
            SamplerOptions { logit_bias: vec![(100, 1.0)], ..SamplerOptions::greedy() },
            "sampling option logit_bias must be for token ids below 100, found 100",
        );
    }
}
