//! Embeddings, before they are told in the words of a protocol.

use std::time::{Duration, Instant};

use lapwing_host::embedding::make_unit;
use lapwing_serving::message::{Ask, EmbedInput, Said};

use crate::app::App;
use crate::models::KeepAlive;
use crate::refusal::Refusal;

/// What is to be turned into vectors, and how.
#[derive(Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// What the client calls the model.
    pub(crate) model: Option<&'a str>,
    pub(crate) inputs: Vec<EmbedInput>,
    /// Vectors are of any length, as the model makes them.
    pub(crate) is_raw: bool,
    /// Texts are cut off that are too long.
    pub(crate) truncates: bool,
    pub(crate) keep_alive: Option<KeepAlive>,
}

/// The vectors.
pub(crate) struct Embedded {
    /// The model's own name.
    pub(crate) name: String,
    /// One for each input, in order.
    pub(crate) vectors: Vec<Vec<f32>>,
    pub(crate) n_tokens: usize,
    /// Since the request came.
    pub(crate) total: Duration,
    pub(crate) load: Duration,
}

impl App {
    /// Turn inputs into vectors. Without any the model is loaded and nothing else.
    pub(crate) async fn embed(&self, wanted: Wanted<'_>) -> Result<Embedded, Refusal> {
        let arrived = Instant::now();
        let _place = self.place()?;
        let listing = self.models.find(wanted.model).await?;
        let name = listing.name;
        if listing.unusable.is_none() && !listing.can.embeds {
            let message = format!("'{name}' does not support embeddings");
            return Err(Refusal::field("model", message));
        }
        let loading = Instant::now();
        self.models.load(&name).await?;
        let load = loading.elapsed();
        let _account = self.ledger.open();
        let keep_alive = wanted.keep_alive.unwrap_or(KeepAlive::Usual);
        let Wanted { inputs, truncates, .. } = wanted;
        let (vectors, n_tokens) = if inputs.is_empty() {
            self.models.keep(&name, keep_alive);
            (Vec::new(), 0)
        } else {
            let ask = Ask::Embed { inputs, normalise: !wanted.is_raw, truncates };
            match self.models.ask(&name, &ask, keep_alive).await?.last().await? {
                Said::Embedded { vectors, n_tokens } => (vectors, n_tokens),
                _ => return Err(Refusal::internal("the model's process told no embeddings")),
            }
        };
        self.models.has_answered(&name);
        Ok(Embedded { name, vectors, n_tokens, total: arrived.elapsed(), load })
    }
}

/// The first `n` numbers of a vector, of length 1 again.
pub(crate) fn shorten(vector: &mut Vec<f32>, n: usize) {
    if n < vector.len() {
        vector.truncate(n);
        make_unit(vector);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_that_are_cut_have_length_1_again() {
        let check = |mut vector: Vec<f32>, n, expected: &[f32]| {
            shorten(&mut vector, n);
            assert_eq!(vector, expected);
        };
        check(vec![3.0, 4.0, 12.0], 2, &[0.6, 0.8]);
        check(vec![0.0, 0.0, 1.0], 2, &[0.0, 0.0]);
        check(vec![0.6, 0.8], 2, &[0.6, 0.8]);
        check(vec![0.6, 0.8], 9, &[0.6, 0.8]);
    }
}
