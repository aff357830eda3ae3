//! Rows of one model or two, in blocks.

use std::sync::atomic::Ordering;

use lapwing_backend::Model;
use lapwing_eval::{RowBlock, RowSource, ScoreError, Stopped};

use crate::models::{HashModel, text};

const N_VOCAB: usize = 11;

/// The rows after every token but the last of two windows, with one source.
fn check(reference: Option<&HashModel>, model: &HashModel, n_decoders: usize) {
    let of_reference = reference.map(|reference| reference as &dyn Model);
    let mut source = RowSource::new(of_reference, model, N_VOCAB).expect("a source");
    for tokens in [text(1100, N_VOCAB), text(3, N_VOCAB)] {
        let mut n_seen = 0;
        let streamed = source.stream(0, &tokens, &mut |block| {
            assert_eq!(block.first_position, n_seen);
            for row_idx in 0..block.n_rows() {
                let seen = &tokens[..=n_seen];
                assert_eq!(block.next[row_idx], tokens[n_seen + 1]);
                assert_eq!(block.model(row_idx), &model.row(seen)[..N_VOCAB], "at {n_seen}");
                let hidden = block.hidden().map(|rows| rows.row(row_idx).to_vec());
                let expected = model.n_hidden.filter(|_| model.can_score);
                assert_eq!(hidden, expected.map(|_| model.hidden(seen)));
                let row = block.reference(row_idx).map(<[f32]>::to_vec);
                let expected = reference.map(|one| one.row(seen)[..N_VOCAB].to_vec());
                assert_eq!(row, expected, "at {n_seen}");
                let hidden = block.reference_hidden().map(|rows| rows.row(row_idx).to_vec());
                let expected = reference.filter(|one| one.can_score && one.n_hidden.is_some());
                assert_eq!(hidden, expected.map(|one| one.hidden(seen)));
                n_seen += 1;
            }
            Ok(())
        });
        streamed.expect("both are scored");
        assert_eq!(n_seen, tokens.len() - 1);
    }
    for side in reference.into_iter().chain([model]) {
        assert_eq!(side.n_decoders.load(Ordering::Relaxed), n_decoders);
    }
}

#[test]
fn rows_of_every_position_come_in_pairs() {
    let plain = |seed| HashModel::new(seed, N_VOCAB);
    check(None, &plain(2), 1);
    check(Some(&plain(1)), &plain(2), 1);
    let padded = |seed, n_padding| HashModel { n_padding, ..plain(seed) };
    check(Some(&padded(1, 5)), &padded(2, 0), 1);
    let hidden = |seed, n_hidden| HashModel { n_hidden, ..plain(seed) };
    check(None, &hidden(1, Some(4)), 1);
    check(Some(&hidden(1, Some(4))), &hidden(2, None), 1);
    check(Some(&hidden(1, Some(4))), &hidden(2, Some(3)), 1);
    let forward_only = |seed| HashModel { can_rewind: false, ..plain(seed) };
    check(Some(&forward_only(1)), &forward_only(2), 2);
    let last_only = |seed| HashModel { can_score: false, n_hidden: Some(2), ..plain(seed) };
    check(Some(&last_only(1)), &last_only(2), 1);
}

#[test]
fn the_caller_may_break_off() {
    let (reference, model) = (HashModel::new(1, N_VOCAB), HashModel::new(2, N_VOCAB));
    let mut source = RowSource::new(Some(&reference), &model, N_VOCAB).expect("a source");
    let mut last = None;
    let stopped = Stopped { n_done: 1, n_total: 2 };
    let streamed = source.stream(0, &text(900, N_VOCAB), &mut |block| {
        let end = block.first_position + block.n_rows();
        assert!(last.replace(end).is_none_or(|last| last <= 600), "nothing after the end");
        if 600 < end { Err(stopped.into()) } else { Ok(()) }
    });
    assert!(matches!(streamed, Err(ScoreError::Stopped(found)) if found == stopped));
    // The source stays usable.
    source.stream(0, &text(9, N_VOCAB), &mut |_| Ok(())).expect("both are scored");
}

#[test]
fn sequences_and_models_that_do_not_fit_are_refused() {
    let plain = |seed| HashModel::new(seed, N_VOCAB);
    let check = |reference: &HashModel, model: &HashModel, n_vocab, tokens: &[u32], expected| {
        let never = &mut |_: &RowBlock<'_>| panic!("no work");
        let source = RowSource::new(Some(reference), model, n_vocab);
        let streamed = source.and_then(|mut source| source.stream(3, tokens, never));
        assert_eq!(streamed.expect_err(expected).to_string(), expected);
    };
    let short = "rows of the reference hold 11 logits: expected at least 12, one a token";
    check(&plain(1), &HashModel::new(2, 12), 12, &[0, 0], short);
    let empty = "window 3 of 1 tokens leaves nothing to score: more are needed";
    check(&plain(1), &plain(2), N_VOCAB, &[0], empty);
    let small = HashModel { n_positions_max: 4, ..plain(2) };
    let long = "5 tokens are too many for the model: its context holds 4";
    check(&plain(1), &small, N_VOCAB, &[0; 6], long);
    let outside = "window 3 cannot be scored: token 9 at position 1 is not in the vocabulary of 9";
    check(&plain(1), &plain(2), 9, &[8, 9, 8], outside);
}
