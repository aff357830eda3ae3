//! The rows that every kernel's test runs over: all tail lengths, special values, real sizes.

/// A named row, so that a failing test says which.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) logits: Vec<f32>,
}

/// The vocabularies of SmolLM2, Llama 3, Qwen 2.5 and Gemma 3.
pub(crate) const N_VOCABS: [usize; 4] = [49_152, 128_256, 151_936, 262_144];

/// 0..=67 crosses every vector width and leaves every tail; 129 and 200 cross the blocks.
pub(crate) fn rows() -> impl Iterator<Item = Row> {
    let lengths = (0..=67).chain([129, 200]);
    let short = lengths.flat_map(|len| {
        [("spread", spread(len)), ("ties", ties(len)), ("special", special(len))]
            .map(|(kind, logits)| Row { name: format!("{kind} {len}"), logits })
    });
    let long =
        N_VOCABS.into_iter().map(|len| Row { name: format!("vocab {len}"), logits: spread(len) });
    short.chain(long)
}

/// [`rows`] and short rows that also hold `+inf`.
pub(crate) fn rows_with_infinity() -> impl Iterator<Item = Row> {
    let infinite = (0..=67).map(|len| {
        let mut logits = special(len);
        logits.iter_mut().skip(len % 3).step_by(7).for_each(|logit| *logit = f32::INFINITY);
        Row { name: format!("infinite {len}"), logits }
    });
    rows().chain(infinite)
}

/// The bits of a row, so that NaN and signed zeros are compared as well.
pub(crate) fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|x| x.to_bits()).collect()
}

/// Distinct-looking values in [-12, 12) with most of the mass on a few.
pub(crate) fn spread(len: usize) -> Vec<f32> {
    spread_from(len, 0x9e37_79b9)
}

/// [`spread`] from another seed, where a test needs a second row.
pub(crate) fn spread_from(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        // Numerical Recipes' linear congruential generator: enough for test data.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..len).map(|_| (next() + next() + next()) * 8.0 - 12.0).collect()
}

fn ties(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37) % 5) as f32 - 2.0).collect()
}

fn special(len: usize) -> Vec<f32> {
    const VALUES: [f32; 9] =
        [f32::NAN, -0.0, 0.0, f32::NEG_INFINITY, 3.0, -1e-40, -120.0, f32::NAN, 2.5];
    (0..len).map(|i| VALUES[(i * 5 + len) % VALUES.len()]).collect()
}
