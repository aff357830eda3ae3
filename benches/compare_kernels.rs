//! Times the kernels of two commits in one process, in turn. Not a program of the
//! workspace: `compare_kernels.py` makes one of this and of the two crates.
//!
//! Arguments: the number of rounds, then beginnings of kernels' names and lengths
//! of rows where not all are wanted. Both commits work on the same rows in the
//! same memory. Prints a JSON line for each kernel, level and length of row.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// The vocabularies of SmolLM2 and Qwen 2.5, and a short row that no vector divides.
const N_ROWS: [usize; 3] = [1_000, 49_152, 151_936];
const N_CACHE_LINE_BYTES: usize = 64;

/// How many entries the rows have that are only read: they fit in the second cache.
const N_FIXED_ENTRIES: usize = 150_000;

/// A sample repeats the kernel for about this long.
const SAMPLE: Duration = Duration::from_micros(60);

/// The levels of floats; the plain code is not compared.
const LEVELS: [&str; 3] = ["neon", "avx2", "avx512"];

/// Every kernel with vector loops. `…_holes`: what is not finite among the entries.
const KERNELS: [&str; 21] = [
    "row_max",
    "row_argmax",
    "row_find_nan",
    "log_sum_exp",
    "sum_exp",
    "exp_moments",
    "kl_divergence",
    "finite_sum",
    "finite_sum_holes",
    "finite_squares",
    "finite_squares_holes",
    "top_k_40",
    "top_k_2048",
    "top_k_ids_64",
    "top_k_ids_512",
    "add_offset",
    "affine_in_place",
    "kls_update",
    "kls_update_holes",
    "kls_update_each",
    "kls_update_reverting",
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let n_rounds: usize =
        arguments.next().and_then(|n| n.parse().ok()).expect("a number of rounds");
    let (lengths, kernels): (Vec<String>, Vec<String>) =
        arguments.partition(|argument| argument.parse::<usize>().is_ok());
    let is_wanted =
        |kernel: &&str| kernels.is_empty() || kernels.iter().any(|it| kernel.starts_with(it));
    let is_wanted_length =
        |n_row: &usize| lengths.is_empty() || lengths.contains(&n_row.to_string());
    for n_row in N_ROWS.into_iter().filter(is_wanted_length) {
        let mut rows = Rows::new(n_row);
        for level in LEVELS {
            let (Some(mut a), Some(mut b)) =
                (before::Subject::new(level, n_row), after::Subject::new(level, n_row))
            else {
                continue;
            };
            for kernel in KERNELS.into_iter().filter(is_wanted) {
                rows.fill(kernel);
                check_same(kernel, &mut a, &mut b, &rows);
                let times = rounds(kernel, n_rounds, &mut a, &mut b, &mut rows);
                print(kernel, b.level_name(), n_row, times);
            }
        }
    }
}

/// One iteration of each must give the same and leave the same rows behind.
fn check_same(kernel: &str, a: &mut before::Subject, b: &mut after::Subject, rows: &Rows) {
    let (mut a_rows, mut b_rows) = (rows.clone(), rows.clone());
    let (_, a_result) = a.run(kernel, 1, &mut a_rows);
    let (_, b_result) = b.run(kernel, 1, &mut b_rows);
    assert_eq!(a_result, b_result, "{kernel} {}", a.level_name());
    assert!(a_rows.bits() == b_rows.bits(), "{kernel} {}: other rows", a.level_name());
}

/// Nanoseconds of one iteration, before and after, of every round.
fn rounds(
    kernel: &str,
    n_rounds: usize,
    a: &mut before::Subject,
    b: &mut after::Subject,
    rows: &mut Rows,
) -> Vec<[f64; 2]> {
    let mut n_iterations = 1;
    while a.run(kernel, n_iterations, rows).0 < SAMPLE {
        n_iterations *= 2;
    }
    let per_iteration = |time: Duration| time.as_nanos() as f64 / f64::from(n_iterations);
    let mut round = |is_swapped: bool| {
        let mut time_of = |is_after: bool| match is_after {
            false => per_iteration(a.run(kernel, n_iterations, rows).0),
            true => per_iteration(b.run(kernel, n_iterations, rows).0),
        };
        let first = time_of(is_swapped);
        let second = time_of(!is_swapped);
        if is_swapped { [second, first] } else { [first, second] }
    };
    // Two to warm up.
    (0..n_rounds + 2).map(|idx| round(idx % 2 == 1)).skip(2).collect()
}

fn print(kernel: &str, level: &str, n_row: usize, times: Vec<[f64; 2]>) {
    let sorted = |of: &dyn Fn(&[f64; 2]) -> f64| {
        let mut values: Vec<f64> = times.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let quantile =
        |values: &[f64], q: f64| values[((values.len() - 1) as f64 * q).round() as usize];
    let ratios = sorted(&|[before, after]| before / after);
    println!(
        "{{\"kernel\":\"{kernel}\",\"level\":\"{level}\",\"n_row\":{n_row},\
         \"before_ns_median\":{:.1},\"after_ns_median\":{:.1},\"speed_ratio\":\
         {{\"median\":{:.3},\"p25\":{:.3},\"p75\":{:.3}}}}}",
        quantile(&sorted(&|times| times[0]), 0.5),
        quantile(&sorted(&|times| times[1]), 0.5),
        quantile(&ratios, 0.5),
        quantile(&ratios, 0.25),
        quantile(&ratios, 0.75),
    );
}

/// The rows that kernels read and write, each from a cache line on.
#[derive(Clone)]
struct Rows {
    row: Aligned,
    state: Aligned,
    gains: Aligned,
    levels: Aligned,
    /// Rows that no kernel writes: several where they are short, for else the CPU
    /// learns by heart which entries of the one row are large.
    fixed: Vec<Aligned>,
}

impl Rows {
    fn new(n_row: usize) -> Rows {
        let [row, state, gains, levels] = [(); 4].map(|()| Aligned::new(n_row));
        let n_fixed = N_FIXED_ENTRIES.div_ceil(n_row);
        let fixed = (0..n_fixed).map(|_| Aligned::new(n_row)).collect();
        Rows { row, state, gains, levels, fixed }
    }

    fn fill(&mut self, kernel: &str) {
        fill(self.row.get(), 1);
        fill(self.state.get(), 3);
        fill(self.levels.get(), 2);
        for (idx, fixed) in self.fixed.iter_mut().enumerate() {
            fill(fixed.get(), 4 + idx as u32);
        }
        self.gains.get().fill(0.9);
        if kernel.ends_with("holes") {
            for row in self.fixed.iter_mut().chain([&mut self.row]) {
                row.get().iter_mut().step_by(701).for_each(|x| *x = f32::NEG_INFINITY);
            }
        }
    }

    fn bits(&mut self) -> Vec<u32> {
        let rows = [&mut self.row, &mut self.state];
        rows.into_iter().flat_map(|row| row.get().iter().map(|x| x.to_bits())).collect()
    }
}

/// Bell-shaped logits, as a model's are: a few far above the rest.
fn fill(row: &mut [f32], seed: u32) {
    let mut state = 0x9e37_79b9_u32.wrapping_mul(seed);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    row.fill_with(|| (next() + next() + next() + next()) * 8.0 - 16.0);
}

/// Where a row lies in its cache lines changes a pass by up to two.
struct Aligned {
    padded: Vec<f32>,
    len: usize,
}

impl Aligned {
    fn new(len: usize) -> Aligned {
        Aligned { padded: vec![0.0; len + N_CACHE_LINE_BYTES / size_of::<f32>()], len }
    }

    fn start(&self) -> usize {
        self.padded.as_ptr().align_offset(N_CACHE_LINE_BYTES)
    }

    fn get(&mut self) -> &mut [f32] {
        let start = self.start();
        &mut self.padded[start..][..self.len]
    }
}

impl Clone for Aligned {
    fn clone(&self) -> Aligned {
        // The copy lies elsewhere, so its row starts at another entry.
        let mut copy = Aligned::new(self.len);
        copy.get().copy_from_slice(&self.padded[self.start()..][..self.len]);
        copy
    }
}

/// How long `n` iterations take, and what the last one gave.
macro_rules! timed {
    ($n:ident, $kernel:expr) => {{
        let start = Instant::now();
        for _ in 1..$n {
            black_box($kernel);
        }
        let last = black_box($kernel);
        let time = start.elapsed();
        (time, format!("{last:?}"))
    }};
}

macro_rules! subject {
    ($name:ident, $krate:ident) => {
        mod $name {
            use $krate::{
                Candidate, Distribution, Level, Reversion, TopKIdsBuffer, add_offset,
                affine_in_place, exp_moments, finite_squares, finite_sum, kl_divergence,
                kls_update, kls_update_each, kls_update_reverting, log_sum_exp, row_argmax,
                row_find_nan, row_max, sum_exp, top_k, top_k_buffer_len, top_k_ids,
            };

            use super::{Duration, Instant, Rows, black_box};

            /// One of the two crates, at one level.
            pub(super) struct Subject {
                level: Level,
                candidates: Vec<Candidate>,
                ids: TopKIdsBuffer,
            }

            impl Subject {
                /// `None` where the CPU has no such level.
                pub(super) fn new(level: &str, n_row: usize) -> Option<Subject> {
                    let level = Level::available().find(|it| it.name() == level)?;
                    let candidates = vec![Candidate::default(); top_k_buffer_len(n_row, 2048)];
                    Some(Subject { level, candidates, ids: TopKIdsBuffer::new(n_row, 512) })
                }

                pub(super) fn level_name(&self) -> &'static str {
                    self.level.name()
                }

                /// How long `n_iterations` take, and what the last one gave.
                pub(super) fn run(
                    &mut self,
                    kernel: &str,
                    n_iterations: u32,
                    rows: &mut Rows,
                ) -> (Duration, String) {
                    let l = self.level;
                    let row = rows.row.get();
                    let state = rows.state.get();
                    let (gains, levels) = (&*rows.gains.get(), &*rows.levels.get());
                    let fixed: Vec<&[f32]> = rows.fixed.iter_mut().map(|it| &*it.get()).collect();
                    let mut fixed = fixed.iter().copied().cycle();
                    let mut next = || black_box(fixed.next().expect("a cycle of rows"));
                    let reversion = Reversion { coefficient: 0.9, levels };
                    let candidates = &mut self.candidates;
                    let ids = &mut self.ids;
                    let n = n_iterations;
                    match kernel {
                        "row_max" => timed!(n, row_max(l, next())),
                        "row_argmax" => timed!(n, row_argmax(l, next())),
                        "row_find_nan" => timed!(n, row_find_nan(l, next())),
                        "log_sum_exp" => timed!(n, log_sum_exp(l, next())),
                        "sum_exp" => timed!(n, sum_exp(l, next(), 16.0, 1.0)),
                        "exp_moments" => timed!(n, exp_moments(l, next(), 16.0, 1.0)),
                        "kl_divergence" => {
                            let p = Distribution::new(l, next()).expect("finite logits");
                            let q = Distribution::new(l, levels).expect("finite logits");
                            timed!(n, kl_divergence(l, black_box(p), black_box(q)))
                        }
                        "finite_sum" | "finite_sum_holes" => {
                            timed!(n, finite_sum(l, next()))
                        }
                        "finite_squares" | "finite_squares_holes" => {
                            timed!(n, finite_squares(l, next(), 0.3))
                        }
                        "top_k_40" => timed!(n, top_k(l, next(), 40, candidates)),
                        "top_k_2048" => {
                            timed!(n, top_k(l, next(), 2048, candidates))
                        }
                        "top_k_ids_64" => timed!(n, top_k_ids(l, next(), 64, ids)),
                        "top_k_ids_512" => {
                            timed!(n, top_k_ids(l, next(), 512, ids))
                        }
                        "add_offset" => timed!(n, add_offset(l, black_box(&mut *row), gains)),
                        "affine_in_place" => {
                            timed!(n, affine_in_place(l, black_box(&mut *row), 0.3, 1.0, 0.3))
                        }
                        "kls_update" | "kls_update_holes" => {
                            timed!(
                                n,
                                kls_update(
                                    l,
                                    black_box(&mut *row),
                                    black_box(&mut *state),
                                    0.3,
                                    0.9
                                )
                            )
                        }
                        "kls_update_each" => timed!(n, {
                            kls_update_each(
                                l,
                                black_box(&mut *row),
                                black_box(&mut *state),
                                0.3,
                                gains,
                            )
                        }),
                        "kls_update_reverting" => timed!(n, {
                            let (row, state) = (black_box(&mut *row), black_box(&mut *state));
                            kls_update_reverting(l, row, state, 0.3, gains, reversion)
                        }),
                        _ => panic!("no kernel {kernel}"),
                    }
                }
            }
        }
    };
}

subject! { before, lapwing_kernels_before }
subject! { after, lapwing_kernels_after }
