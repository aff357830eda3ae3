//! Rows for texts.

use lapwing_model::{ModelFolder, TokenId};

use super::{close, exact_options};
use crate::{Backend, OpenOptions, StepError};

/// Words of the small encoder that backends' tests write.
pub const N_TINY_WORDS: usize = 12;
/// Length of its rows.
pub const N_TINY_HIDDEN: usize = 4;
/// Its types of tokens: all are of the first.
pub const TINY_TYPES: [[f32; N_TINY_HIDDEN]; 2] = [[0.5, 0.0, 0.0, -0.5], [9.0, 9.0, 9.0, 9.0]];

/// The rows of its words.
///
/// Shapes: `[N_TINY_WORDS, N_TINY_HIDDEN]`.
pub fn tiny_words() -> Vec<f32> {
    (0..N_TINY_WORDS * N_TINY_HIDDEN).map(|idx| (idx * 7 % 13) as f32 / 4.0 - 1.5).collect()
}

/// What it gives: a word and its type, and the mean of all that count in the text.
pub fn tiny_rows(tokens: &[TokenId]) -> Vec<f32> {
    let words = tiny_words();
    let number = |token: TokenId, column: usize| {
        words[token as usize * N_TINY_HIDDEN + column] + TINY_TYPES[0][column]
    };
    let mean = |column: usize| {
        tokens.iter().map(|&token| number(token, column)).sum::<f32>() / tokens.len() as f32
    };
    let places = tokens.iter().flat_map(|&token| (0..N_TINY_HIDDEN).map(move |at| (token, at)));
    places.map(|(token, column)| number(token, column) + mean(column)).collect()
}

/// An encoder of `folder`, a vocabulary of 12 and 16 positions, gives what `expected` says, and refuses
/// what no text is.
///
/// # Panics
///
/// When something does not hold.
pub fn encodes(
    backend: &dyn Backend,
    folder: &ModelFolder,
    expected: &(dyn Fn(&[TokenId]) -> Vec<f32> + Sync),
) {
    let encoder = backend.open_encoder(folder, &exact_options()).expect("the encoder opens");
    assert_eq!((encoder.shape().n_vocab, encoder.shape().n_tokens_max), (12, 16));
    // Longer and shorter again: nothing is kept of the text before.
    let texts: [&[TokenId]; 4] = [&[2, 4, 3], &[2, 7, 5, 6, 8, 9, 3], &[2, 4, 3], &[11]];
    for tokens in texts {
        let rows = encoder.encode(tokens).expect("rows");
        assert_eq!(rows.len(), encoder.shape().n_numbers(tokens.len()));
        close(&rows, &expected(tokens), 1e-5, &format!("{tokens:?}"));
    }
    // Of several threads each gets its own rows.
    std::thread::scope(|scope| {
        for token in 0..4 {
            let encoder = &encoder;
            scope.spawn(move || {
                let tokens = [2, token, 3];
                close(&encoder.encode(&tokens).expect("rows"), &expected(&tokens), 1e-5, "threads");
            });
        }
    });
    let refused = encoder.encode(&[]).expect_err("no tokens");
    assert!(matches!(refused, StepError::NoTokens), "{refused}");
    let refused = encoder.encode(&[1; 17]).expect_err("too many");
    assert!(matches!(refused, StepError::ContextFull { n_new: 17, n_max: 16, .. }), "{refused}");
    let refused = encoder.encode(&[1, 12]).expect_err("no such token");
    assert!(matches!(refused, StepError::NoSuchToken { token: 12, .. }), "{refused}");
    let options = OpenOptions { n_positions_max: Some(3), ..exact_options() };
    let shorter = backend.open_encoder(folder, &options).expect("the encoder opens");
    shorter.encode(&[1; 3]).expect("rows");
    let refused = shorter.encode(&[1; 4]).expect_err("too many");
    assert!(matches!(refused, StepError::ContextFull { n_max: 3, .. }), "{refused}");
}
