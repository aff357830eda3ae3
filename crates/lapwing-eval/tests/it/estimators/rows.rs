//! The accumulators against their definitions, in f64 over whole series: windows, left-out
//! entries, blocks and tiles change nothing.

use lapwing_eval::estimators::{Bands, GainSearch, PairedMoments, SeriesMoments};

use super::{Normal, near};

const N_TOKENS: usize = 37;
const ALPHA: f64 = 0.1;

/// `[n_windows][n_rows][n_tokens]`: far from 0, of different spreads, with holes.
fn windows(seed: u64) -> Vec<Vec<Vec<f32>>> {
    let mut normal = Normal::new(seed);
    let mut n_entries = 0usize;
    let mut entry = |token: usize| {
        n_entries += 1;
        let hole = [f32::NAN, f32::NEG_INFINITY, f32::INFINITY, f32::MIN];
        match token {
            // Never there, and there only from the second window on.
            5 => f32::NEG_INFINITY,
            6 if n_entries < 40 * N_TOKENS => f32::NAN,
            _ if n_entries.is_multiple_of(23) => hole[n_entries % 4],
            _ => (token as f64 - 25.0 + normal.next() * (1.0 + token as f64 / 20.0)) as f32,
        }
    };
    let mut row = || (0..N_TOKENS).map(&mut entry).collect();
    [40, 1, 16, 33, 64, 7].map(|n_rows| (0..n_rows).map(|_| row()).collect()).to_vec()
}

/// The runs of neighbouring logits of a token.
fn chains(windows: &[Vec<Vec<f32>>], token: usize) -> Vec<Vec<f64>> {
    let mut chains = Vec::new();
    for window in windows {
        let entries: Vec<f32> = window.iter().map(|row| row[token]).collect();
        let parts = entries.split(|entry| entry.is_nan() || 1e15 <= entry.abs());
        chains.extend(parts.map(|part| part.iter().map(|&entry| f64::from(entry)).collect()));
    }
    chains
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean of `f(x_t, x_(t-lag))` over all chains.
fn mean_over_pairs(chains: &[Vec<f64>], lag: usize, f: impl Fn(f64, f64) -> f64) -> f64 {
    let pairs = chains.iter().flat_map(|chain| {
        let f = &f;
        (lag..chain.len()).map(move |idx| f(chain[idx], chain[idx - lag]))
    });
    mean(pairs)
}

#[test]
fn series_moments_are_their_definitions() {
    let windows = windows(61);
    let mut series = SeriesMoments::with_alpha(N_TOKENS, ALPHA);
    for window in &windows {
        series.begin_window();
        window.iter().for_each(|row| series.push(row));
    }
    for token in (0..N_TOKENS).filter(|&token| token != 5) {
        let chains = chains(&windows, token);
        let found = series.token(token);
        let values: Vec<f64> = chains.iter().flatten().copied().collect();
        let centre = mean(values.iter().copied());
        assert_eq!(found.n, values.len());
        near(found.mean, centre, 1e-6);
        let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
        near(found.variance, squares / (values.len() - 1) as f64, 1e-5);
        // Covariances may be near 0, so their errors are shares of the variance.
        let check = |found: f64, expected: f64, scale: f64| {
            assert!((found - expected).abs() < 1e-5 * scale, "{token}: {found} {expected}");
        };
        let steps: Vec<Vec<f64>> =
            chains.iter().map(|chain| chain.windows(2).map(|w| w[1] - w[0]).collect()).collect();
        assert_eq!(found.n_increments, steps.iter().flatten().count());
        for lag in 0..3 {
            let level = mean_over_pairs(&chains, lag, |x, y| (x - centre) * (y - centre));
            check(found.autocovariances[lag], level, found.variance);
            let step = mean_over_pairs(&steps, lag, |x, y| x * y);
            check(found.increments[lag], step, found.increments[0]);
        }
        let [current, previous] = ema_variances(&chains);
        check(found.ema_variance.current, current, current);
        check(found.ema_variance.previous, previous, previous);
    }
    let unseen = series.token(5);
    assert!(unseen.n == 0 && unseen.mean.is_nan() && unseen.increments[0].is_nan());
}

fn ema_variances(chains: &[Vec<f64>]) -> [f64; 2] {
    let mut errors = [Vec::new(), Vec::new()];
    for chain in chains.iter().filter(|chain| !chain.is_empty()) {
        let mut average = chain[0];
        for value in &chain[1..] {
            errors[1].push(value - average);
            average += ALPHA * (value - average);
            errors[0].push(value - average);
        }
    }
    errors.map(|errors| {
        let centre = mean(errors.iter().copied());
        mean(errors.iter().map(|error| (error - centre).powi(2)))
    })
}

#[test]
fn pooled_moments_are_about_each_tokens_own_mean() {
    let mut series = SeriesMoments::new(3);
    for (low, high) in [(1.0, 101.0), (3.0, 99.0), (1.0, 101.0), (3.0, 99.0)] {
        series.push(&[low, high, f32::NAN]);
    }
    let pooled = series.pooled(0..3);
    assert_eq!((pooled.n_tokens, pooled.n, pooled.n_increments), (2, 8, 6));
    near(pooled.mean, 51.0, 1e-6);
    near(pooled.variance, 8.0 / 6.0, 1e-6);
    assert_eq!(pooled.autocovariances, [1.0, -1.0, 1.0]);
    assert_eq!(pooled.increments, [4.0, -4.0, 4.0]);
}

#[test]
fn gain_curves_are_their_definition() {
    let windows = windows(62);
    let means: Vec<f64> = (0..N_TOKENS).map(|token| -(token as f64)).collect();
    let bands = Bands::by_mean(&means, 3);
    let mut search = GainSearch::new(N_TOKENS, &bands, 9);
    for window in &windows {
        search.begin_window();
        window.iter().for_each(|row| search.push(row));
    }
    for band in 0..3 {
        let chains: Vec<Vec<f64>> =
            bands.tokens(band).flat_map(|token| chains(&windows, token)).collect();
        for (gain, found) in search.curve(band) {
            let errors = chains.iter().filter(|chain| !chain.is_empty()).flat_map(|chain| {
                let mut state = chain[0];
                chain[1..].iter().map(move |value| {
                    let error = value - state;
                    state += gain * error;
                    error * error
                })
            });
            near(found, mean(errors), 1e-5);
        }
    }
}

#[test]
fn nothing_leaks_over_a_border() {
    // Every window is constant, so each of its increments is 0; between them the level jumps.
    let run = |marks_windows: bool| {
        let mut series = SeriesMoments::new(2);
        let mut paired = PairedMoments::new(2);
        let mut search = GainSearch::new(2, &Bands::one(2), 5);
        for window in 0..60 {
            if marks_windows {
                series.begin_window();
                paired.begin_window();
                search.begin_window();
            }
            let level = if window % 2 == 0 { 3.0 } else { -50.0 };
            for _ in 0..5 {
                series.push(&[level, -level]);
                paired.push(&[level, -level], &[level + 1.0, -level]);
                search.push(&[level, -level]);
            }
        }
        let moments = series.token(1);
        let errors: f64 = search.curve(0).iter().map(|(_, error)| error).sum();
        let increments = paired.reference_increment_variance(0);
        [moments.increments[0], moments.ema_variance.previous, errors, increments]
    };
    assert_eq!(run(true), [0.0; 4]);
    assert!(run(false).iter().all(|&value| 1.0 < value), "{:?}", run(false));
}

#[test]
fn reading_in_between_changes_nothing() {
    let windows = windows(63);
    let mut often = SeriesMoments::new(N_TOKENS);
    let mut search = GainSearch::new(N_TOKENS, &Bands::one(N_TOKENS), 5);
    let mut once = (often.clone(), search.clone());
    for row in &windows[4] {
        often.push(row);
        search.push(row);
        let _ = (often.token(0), search.best());
        once.0.push(row);
        once.1.push(row);
    }
    near(often.token(3).increments[1], once.0.token(3).increments[1], 1e-5);
    near(search.best()[0].mean_squared_error, once.1.best()[0].mean_squared_error, 1e-5);
}

#[test]
fn paired_moments_are_their_definitions() {
    let (references, models) = (windows(64), windows(65));
    let mut paired = PairedMoments::new(N_TOKENS);
    for (reference, model) in references.iter().zip(&models) {
        paired.begin_window();
        reference.iter().zip(model).for_each(|(s, y)| paired.push(s, y));
    }
    for token in (0..N_TOKENS).filter(|&token| token != 5) {
        // One run of pairs per window; `None` where either entry is no logit.
        let runs: Vec<Vec<Option<(f64, f64)>>> = (0..references.len())
            .map(|window| {
                let rows = references[window].iter().zip(&models[window]);
                let pair = |(s, y): (&Vec<f32>, &Vec<f32>)| {
                    let is_pair = s[token].abs() < 1e15 && y[token].abs() < 1e15;
                    is_pair.then(|| (f64::from(s[token]), f64::from(y[token])))
                };
                rows.map(pair).collect()
            })
            .collect();
        check_pairs(&mut paired, token, &runs);
    }
    let unseen = paired.offset(5);
    assert!(unseen.n == 0 && unseen.mean.is_nan() && unseen.shrunk() == 0.0);
    assert!(paired.noise_variance(5).is_nan());
    let offsets = paired.shrunk_offsets();
    assert_eq!(offsets[5], 0.0);
    assert_eq!(offsets[7], paired.offset(7).shrunk() as f32);
}

fn check_pairs(paired: &mut PairedMoments, token: usize, runs: &[Vec<Option<(f64, f64)>>]) {
    let pairs: Vec<(f64, f64)> = runs.iter().flatten().copied().flatten().collect();
    let n = pairs.len() as f64;
    let mean_of = |f: &dyn Fn(f64, f64) -> f64| mean(pairs.iter().map(|&(s, y)| f(s, y)));
    let offset = mean_of(&|s, y| s - y);
    let found = paired.offset(token);
    assert_eq!(found.n, pairs.len());
    let scale = mean_of(&|s, y| (s - y - offset).powi(2));
    let check = |found: f64, expected: f64, scale: f64| {
        assert!((found - expected).abs() < 1e-5 * scale, "{token}: {found} {expected}");
    };
    check(found.mean, offset, scale.sqrt());

    let sums: Vec<f64> = runs
        .iter()
        .filter(|run| run.iter().any(Option::is_some))
        .map(|run| run.iter().flatten().map(|(s, y)| s - y - offset).sum())
        .collect();
    let squares: f64 = sums.iter().map(|sum: &f64| sum * sum).sum();
    let n_windows = sums.len() as f64;
    let error = (squares * n_windows / (n_windows - 1.0)).sqrt() / n;
    check(found.standard_error, error, error);

    let neighbours: Vec<[(f64, f64); 2]> = runs
        .iter()
        .flat_map(|run| run.windows(2).filter_map(|pair| Some([pair[0]?, pair[1]?])))
        .collect();
    let centre = mean_of(&|s, _| s);
    let noise = paired.noise(token);
    let product = |[(s, y), (t, z)]: &[(f64, f64); 2]| (s - y - offset) * (t - z - offset);
    check(noise.variance, scale, scale);
    check(noise.autocovariance, mean(neighbours.iter().map(product)), scale);
    check(noise.covariance, mean_of(&|s, y| (y - s + offset) * (s - centre)), scale);
    check(noise.reference_variance, mean_of(&|s, _| (s - centre).powi(2)), scale);
    let increment = mean(neighbours.iter().map(|[(s, _), (t, _)]| (t - s).powi(2)));
    check(paired.reference_increment_variance(token), increment, increment);
}
