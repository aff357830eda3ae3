//! What corrected sequences promise: pass-through, rewind, forks, and that a constant is no logit.

use std::sync::Arc;

use lapwing_logits::{
    Correction, Corrector, Gains, Gauge, Level, Levels, Rescale, SavedState, Scope, Smoothing,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const N_VOCAB: usize = 40;

type Row = Vec<f32>;

fn row() -> impl Strategy<Value = Row> {
    let logit = prop_oneof![
        12 => (-40i32..40).prop_map(|step| step as f32 * 0.25),
        12 => -20.0f32..20.0,
        1 => Just(f32::NAN),
        1 => Just(f32::NEG_INFINITY),
        1 => Just(f32::INFINITY),
        1 => Just(-0.0f32),
    ];
    prop::collection::vec(logit, N_VOCAB).prop_map(|mut row| {
        row[7] = if row[7].is_finite() { row[7] } else { 1.0 };
        row
    })
}

fn rows(n_rows: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec(row(), n_rows)
}

prop_compose! {
    fn smoothing()(
        gain in prop_oneof![Just(0.0f32), Just(1.0f32), 0.0f32..1.0],
        each in prop_oneof![Just(None), prop::collection::vec(0.0f32..1.0, N_VOCAB).prop_map(Some)],
        scope in prop_oneof![
            Just(Scope::Full),
            (2usize..100).prop_map(|n_tracked_max| Scope::TopK { n_tracked_max }),
        ],
        gauge in prop_oneof![Just(Gauge::Mean), Just(Gauge::LogSumExp)],
        coefficient in prop_oneof![Just(None), (0.0f32..1.0).prop_map(Some)],
        rescale in prop_oneof![
            Just(Rescale::Off),
            Just(Rescale::Variance),
            (2usize..50).prop_map(|n_top| Rescale::TopVariance { n_top }),
            Just(Rescale::Entropy),
        ],
    ) -> Smoothing {
        let levels = || (0..N_VOCAB).map(|token| token as f32 * 0.1 - 2.0).collect();
        Smoothing {
            gains: each.map_or(Gains::One(gain), |gains| Gains::Each(gains.into())),
            scope,
            gauge,
            reversion: coefficient.map(|coefficient| Levels { coefficient, levels: levels() }),
            rescale,
        }
    }
}

fn corrector(smoothing: Smoothing) -> Corrector {
    let correction = Correction::new(N_VOCAB, None, Some(smoothing)).expect("in range");
    Corrector::new(Arc::new(correction), Level::detect())
}

fn apply(corrector: &mut Corrector, rows: &[Row]) -> Vec<Vec<u32>> {
    let apply = |row: &Row| {
        let mut row = row.clone();
        corrector.apply(&mut row).expect("a finite logit");
        bits(&row)
    };
    rows.iter().map(apply).collect()
}

fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|logit| logit.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        rng_seed: RngSeed::Fixed(0),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn gain_one_passes_every_bit(smoothing in smoothing(), rows in rows(1..8), each: bool) {
        let ones: Arc<[f32]> = [1.0; N_VOCAB].into();
        let gains = if each { Gains::Each(ones) } else { Gains::One(1.0) };
        let expected: Vec<Vec<u32>> = rows.iter().map(|row| bits(row)).collect();
        prop_assert_eq!(apply(&mut corrector(Smoothing { gains, ..smoothing }), &rows), expected);
    }

    #[test]
    fn tokens_of_gain_one_pass_among_others(smoothing in smoothing(), rows in rows(1..8)) {
        let gain = |token: usize| if token.is_multiple_of(3) { 1.0 } else { 0.25 };
        let gains = Gains::Each((0..N_VOCAB).map(gain).collect());
        let rescale = Rescale::Off;
        let found = apply(&mut corrector(Smoothing { gains, rescale, ..smoothing }), &rows);
        for (found, row) in found.iter().zip(&rows) {
            for token in (0..N_VOCAB).step_by(3) {
                prop_assert_eq!(found[token], row[token].to_bits());
            }
        }
    }

    #[test]
    fn the_first_row_passes_and_a_reset_starts_again(smoothing in smoothing(), rows in rows(2..8)) {
        let mut corrector = corrector(smoothing);
        let first = apply(&mut corrector, &rows);
        prop_assert_eq!(&first[0], &bits(&rows[0]));
        corrector.reset();
        prop_assert_eq!(apply(&mut corrector, &rows), first);
    }

    #[test]
    fn rewinding_is_never_having_stepped(
        smoothing in smoothing(),
        before in rows(0..6),
        wrong in rows(0..6),
        after in rows(1..6),
        saved_elsewhere: bool,
    ) {
        let mut straight = corrector(smoothing.clone());
        apply(&mut straight, &before);
        let mut saved = SavedState::default();
        if saved_elsewhere {
            // What was saved before is overwritten, not mixed in.
            apply(&mut straight.clone(), &wrong);
            let mut other = corrector(smoothing.clone());
            apply(&mut other, &wrong);
            other.save(&mut saved);
        }
        let mut rewound = straight.clone();
        rewound.save(&mut saved);
        apply(&mut rewound, &wrong);
        rewound.restore(&saved);
        let expected = apply(&mut straight, &after);
        prop_assert_eq!(apply(&mut rewound, &after), expected.clone());
        // Once more from the same place, and in a corrector that saw nothing of it.
        rewound.restore(&saved);
        prop_assert_eq!(apply(&mut rewound, &after), expected.clone());
        let mut fresh = corrector(smoothing);
        fresh.restore(&saved);
        prop_assert_eq!(apply(&mut fresh, &after), expected);
    }

    #[test]
    fn an_empty_save_is_the_start(smoothing in smoothing(), rows in rows(1..6)) {
        let mut corrector = corrector(smoothing);
        let expected = apply(&mut corrector, &rows);
        corrector.restore(&SavedState::default());
        prop_assert_eq!(apply(&mut corrector, &rows), expected);
    }

    #[test]
    fn forks_do_not_see_each_other(
        smoothing in smoothing(),
        before in rows(0..6),
        left in rows(1..6),
        right in rows(1..6),
    ) {
        let mut original = corrector(smoothing.clone());
        apply(&mut original, &before);
        let mut fork = original.clone();
        let mut alone = corrector(smoothing);
        apply(&mut alone, &before);
        let mut found = Vec::new();
        for idx in 0..left.len().max(right.len()) {
            if let Some(row) = left.get(idx) {
                found.extend(apply(&mut original, std::slice::from_ref(row)));
            }
            if let Some(row) = right.get(idx) {
                apply(&mut fork, std::slice::from_ref(row));
            }
        }
        prop_assert_eq!(found, apply(&mut alone, &left));
    }

    #[test]
    fn a_constant_on_a_row_stays_a_constant(
        smoothing in smoothing(),
        steps in prop::collection::vec((row(), -1000i32..1000), 1..8),
    ) {
        // Rows on a grid, so that adding the constant makes no new ties; a scale could magnify
        // the rounding, so there is none.
        let on_grid = |logit: &f32| (logit * 4.0).round() / 4.0;
        let smoothing = Smoothing { rescale: Rescale::Off, ..smoothing };
        let (mut plain, mut shifted) = (corrector(smoothing.clone()), corrector(smoothing));
        for (row, constant) in steps {
            let constant = constant as f32 * 0.25;
            let mut expected: Row = row.iter().map(on_grid).collect();
            let mut found: Row = expected.iter().map(|logit| logit + constant).collect();
            plain.apply(&mut expected).expect("a finite logit");
            shifted.apply(&mut found).expect("a finite logit");
            for (&found, &expected) in found.iter().zip(&expected) {
                let same = if expected.is_finite() {
                    (found - constant - expected).abs() < 1e-3
                } else {
                    found.is_nan() == expected.is_nan() && !found.is_finite()
                };
                prop_assert!(same, "{} {} {}", found, constant, expected);
            }
        }
    }
}
