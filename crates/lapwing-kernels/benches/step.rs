//! The kernels of a transformer's step on the matrices of SmolLM2-135M, beside a streaming
//! read of the same bytes in the same seconds.
//!
//! Memory and neighbours make absolute times move by a factor of two, so what counts are
//! the ratios: of a pass over all weights to the read before and after it, and of multiply-adds
//! to the clock. Best of several rounds. Arguments: beginnings of what is to be measured
//! (`decode`, `rows`, `prompt`, `attend`, `small`); all of it without any.
#![allow(clippy::print_stdout, reason = "a program that measures")]

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use lapwing_kernels::{
    Activation, AttendPart, CodeBits, Floats, Level, N_BLOCK_POSITIONS, Offsets, QuantizedGroup,
    TileLayout, Tiles, attend_merge, attend_scores, attend_softmax, attend_values, gate_in_place,
    matmul_floats, matmul_quantized, quantize_rows, quantize_rows_in_two, rms_norm, rotate_halves,
};

/// Rows and columns of a layer's matrices, then of the head.
const LAYER: [[usize; 2]; 4] = [[960, 576], [576, 576], [3072, 576], [576, 1536]];
const N_LAYERS: usize = 30;
const HEAD: [usize; 2] = [49_152, 576];

const N_ROUNDS: usize = 7;
/// A pass of a millisecond or two is repeated more often than one of a prompt.
const N_PASSES: usize = 30;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|it| !it.starts_with('-')).collect();
    let is_asked = |what: &str| asked.is_empty() || asked.iter().any(|it| what.starts_with(it));
    if is_asked("decode") {
        decode();
    }
    if is_asked("rows") {
        few_rows();
    }
    if is_asked("prompt") {
        prompt();
    }
    if is_asked("attend") {
        attend();
    }
    if is_asked("small") {
        small();
    }
}

/// One row with all weights.
fn decode() {
    println!("one row with all weights: GB/s, of the streaming read, GMAC/s");
    for (bits, group, offsets) in [
        (CodeBits::Four, 32, Offsets::Middle),
        (CodeBits::Four, 32, Offsets::Zeros),
        (CodeBits::Four, 32, Offsets::Minima),
        (CodeBits::Four, 64, Offsets::Middle),
        (CodeBits::Four, usize::MAX, Offsets::Middle),
        (CodeBits::Four, 16, Offsets::Middle),
        (CodeBits::Eight, 32, Offsets::Middle),
        (CodeBits::Eight, usize::MAX, Offsets::Zeros),
    ] {
        let model = Model::new(bits, group, offsets, true);
        for n_threads in [1, 2] {
            for level in levels() {
                let [pass, read] = model.times(level, n_threads, 1);
                let name = format!("{bits:?} {} {offsets:?}", group_name(group));
                println!(
                    "{name:22} {n_threads} threads {:18} {:6.3} ms {:5.1} GB/s {:5.2} {:6.1}",
                    level.name(),
                    pass * 1e3,
                    model.n_bytes() as f64 / pass / 1e9,
                    read / pass,
                    model.n_weights() as f64 / pass / 1e9,
                );
            }
        }
    }
}

/// A few rows with all weights, against one.
fn few_rows() {
    println!("some rows with all weights, two threads: of one row's time");
    let model = Model::new(CodeBits::Four, 32, Offsets::Middle, true);
    for level in levels() {
        let one = model.times(level, 2, 1)[0];
        for n_rows in [2, 3, 4, 6, 8] {
            let [pass, read] = model.times(level, 2, n_rows);
            println!(
                "{n_rows} rows {:18} {:6.3} ms {:5.2} of one, {:5.2} of the read, {:6.1} GMAC/s",
                level.name(),
                pass * 1e3,
                pass / one,
                pass / read,
                (n_rows * model.n_weights()) as f64 / pass / 1e9,
            );
        }
    }
}

/// A piece of a prompt with all matrices but the head's.
fn prompt() {
    println!("128 rows with all matrices but the head's: GMAC/s");
    for (bits, group, offsets) in [
        (CodeBits::Four, 32, Offsets::Middle),
        (CodeBits::Four, 32, Offsets::Zeros),
        (CodeBits::Four, 64, Offsets::Middle),
        (CodeBits::Eight, 32, Offsets::Middle),
    ] {
        let model = Model::new(bits, group, offsets, false);
        for n_threads in [1, 2] {
            for level in levels() {
                let pass = model.times(level, n_threads, 128)[0];
                println!(
                    "{bits:?} {} {offsets:?} {n_threads} threads {:18} {:7.2} ms {:6.1} GMAC/s",
                    group_name(group),
                    level.name(),
                    pass * 1e3,
                    (128 * model.n_weights()) as f64 / pass / 1e9,
                );
            }
        }
    }
}

/// Three queries over the blocks of 2048 positions, all layers and KV heads.
fn attend() {
    const HEAD_DIM: usize = 64;
    const N_BLOCKS: usize = N_LAYERS * 3 * 2048 / N_BLOCK_POSITIONS;
    println!("attention of a step at depth 2048, one thread: GB/s, of the streaming read");
    let n_block = N_BLOCK_POSITIONS * HEAD_DIM;
    let f16 = vec![0x2b_u16.to_be_bytes(); 2 * N_BLOCKS * n_block];
    let f32 = vec![0.06_f32; 2 * N_BLOCKS * n_block];
    let queries = vec![0.1; 3 * HEAD_DIM];
    for level in Level::available_for_floats().skip(1) {
        for cache in [Floats::F16(&f16), Floats::F32(&f32)] {
            let (name, n_bytes, read) = match cache {
                Floats::F16(cache) => ("f16", 2 * cache.len(), read_of(cache.as_flattened())),
                Floats::F32(cache) => (
                    "f32",
                    4 * cache.len(),
                    best(|| black_box(cache.iter().map(|x| x.to_bits()).fold(0, |a, b| a | b))),
                ),
            };
            let mut scores = vec![[0.0; N_BLOCK_POSITIONS]; 3];
            let mut out = vec![0.0; 3 * HEAD_DIM];
            let time = best(|| {
                for block in 0..N_BLOCKS {
                    let keys = part(cache, 2 * block * n_block, n_block);
                    let values = part(cache, (2 * block + 1) * n_block, n_block);
                    attend_scores(level, &queries, keys, 0..N_BLOCK_POSITIONS, &mut scores);
                    for scores in &mut scores {
                        black_box(attend_softmax(level, scores));
                    }
                    attend_values(level, &scores, values, 0..N_BLOCK_POSITIONS, &mut out);
                }
            });
            println!(
                "{name} {:18} {:6.3} ms {:5.1} GB/s {:5.2}",
                level.name(),
                time * 1e3,
                n_bytes as f64 / time / 1e9,
                read / time
            );
        }
    }
}

fn part(floats: Floats<'_>, start: usize, len: usize) -> Floats<'_> {
    match floats {
        Floats::F16(floats) => Floats::F16(&floats[start..][..len]),
        Floats::F32(floats) => Floats::F32(&floats[start..][..len]),
    }
}

/// What a step does beside its matrices, on rows of this model's sizes.
fn small() {
    println!("what a step does to a row beside its matrices: nanoseconds");
    let (x, weight) = (numbers(1536), numbers(1536));
    let mut out = vec![0.0; 1536];
    let mut planes = [vec![QuantizedGroup::default(); 48], vec![QuantizedGroup::default(); 48]];
    let (cos, sin) = (numbers(32), numbers(32));
    let parts = [AttendPart { max: 1.0, sum: 2.0 }; 8];
    let matrix = numbers(576 * 576);
    for level in Level::available_for_floats() {
        let [first, second] = &mut planes;
        let times = [
            (
                "rms_norm 576",
                each(|| rms_norm(level, &x[..576], &weight[..576], 1e-5, &mut out[..576])),
            ),
            ("quantize 576", each(|| quantize_rows(level, &x[..576], 576, &mut first[..18]))),
            ("quantize 1536", each(|| quantize_rows(level, &x, 1536, first))),
            ("in two 1536", each(|| quantize_rows_in_two(level, &x, 1536, first, second))),
            ("silu 1536", each(|| gate_in_place(level, Activation::Silu, &mut out, &x))),
            ("gelu 1536", each(|| gate_in_place(level, Activation::GeluTanh, &mut out, &x))),
            ("rotate 64", each(|| rotate_halves(level, &mut out[..64], &cos, &sin))),
            ("merge 8 of 64", each(|| attend_merge(level, &parts, &x[..512], &mut out[..64]))),
            (
                "f32 576x576",
                each(|| {
                    matmul_floats(level, Floats::F32(&matrix), 576, &x[..576], &mut out[..576])
                }),
            ),
        ];
        for (name, time) in times {
            println!("{name:14} {:18} {:9.1} ns", level.name(), time * 1e9);
        }
    }
}

/// All levels with vectors.
fn levels() -> impl Iterator<Item = Level> {
    Level::available().skip(1).filter(|level| level.name() != "avx512")
}

fn group_name(group: usize) -> String {
    if group == usize::MAX { "row".to_owned() } else { format!("g{group}") }
}

/// Seconds of the best round.
fn best<T>(mut of: impl FnMut() -> T) -> f64 {
    let time = |_| {
        let start = Instant::now();
        black_box(of());
        start.elapsed().as_secs_f64()
    };
    (0..N_ROUNDS).map(time).fold(f64::INFINITY, f64::min)
}

/// [`best`] of what takes well below a microsecond.
fn each(mut of: impl FnMut()) -> f64 {
    let n = 2000;
    best(|| (0..n).for_each(|_| of())) / f64::from(n)
}

fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect()
}

/// Seconds of a read of all bytes by one thread.
fn read_of(bytes: &[u8]) -> f64 {
    best(|| read(bytes))
}

fn read(bytes: &[u8]) -> u64 {
    let mut sums = [0u64; 16];
    for chunk in bytes.as_chunks::<128>().0 {
        for (sum, word) in sums.iter_mut().zip(chunk.as_chunks::<8>().0) {
            *sum |= u64::from_ne_bytes(*word);
        }
    }
    sums.iter().fold(0, |all, sum| all | sum)
}

struct Model {
    matrices: Vec<(TileLayout, usize, std::ops::Range<usize>)>,
    bytes: Vec<u8>,
}

impl Model {
    fn new(bits: CodeBits, group: usize, offsets: Offsets, with_head: bool) -> Model {
        let mut matrices = Vec::new();
        let mut end = 0;
        let layers = std::iter::repeat_n(LAYER, N_LAYERS).flatten();
        for [n_rows, n_columns] in layers.chain(with_head.then_some(HEAD)) {
            let layout = TileLayout::new(bits, n_columns, group, offsets).expect("a layout");
            let start = end;
            end += layout.n_tiles(n_rows) * layout.n_tile_bytes();
            matrices.push((layout, n_rows, start..end));
        }
        Model { matrices, bytes: vec![0x23; end] }
    }

    fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    fn n_weights(&self) -> usize {
        self.matrices.iter().map(|(layout, n_rows, _)| layout.n_columns() * n_rows).sum()
    }

    /// Seconds of a pass over all weights, and of a read of them by as many threads.
    fn times(&self, level: Level, n_threads: usize, n_rows: usize) -> [f64; 2] {
        let x = numbers(n_rows * 1536);
        let quantized = |n_columns: usize| {
            let mut out = vec![QuantizedGroup::default(); n_rows * n_columns.div_ceil(32)];
            quantize_rows(level, &x[..n_rows * n_columns], n_columns, &mut out);
            out
        };
        let inputs = [(576, quantized(576)), (1536, quantized(1536))];
        let n_passes = if n_rows <= 8 { N_PASSES } else { N_ROUNDS };
        let pass = best_of_threads(n_threads, n_passes, |thread, out| {
            for (layout, n_matrix_rows, range) in &self.matrices {
                let tiles = Tiles::new(*layout, &self.bytes[range.clone()]).expect("whole tiles");
                let n_tiles = layout.n_tiles(*n_matrix_rows);
                let [start, end] = [thread, thread + 1].map(|idx| n_tiles * idx / n_threads);
                let input = inputs.iter().find(|(n, _)| *n == layout.n_columns());
                let (_, rows) = input.expect("rows as wide as the matrix");
                // One row in one call; of more only as much as stays in the cache.
                let n_step = if n_rows == 1 { end - start } else { 8 };
                for first in (start..end).step_by(n_step) {
                    let last = (first + n_step).min(end);
                    let out = &mut out[..n_rows * 16 * (last - first)];
                    matmul_quantized(level, tiles.slice(first, last), rows, out);
                }
            }
        });
        let read = best_of_threads(n_threads, N_PASSES, |thread, _| {
            let [start, end] = [thread, thread + 1].map(|idx| self.n_bytes() * idx / n_threads);
            black_box(read(&self.bytes[start..end]));
        });
        [pass, read]
    }
}

/// Seconds of the fastest pass that all threads are done with.
fn best_of_threads(
    n_threads: usize,
    n_passes: usize,
    pass: impl Fn(usize, &mut [f32]) + Sync,
) -> f64 {
    let n_met = AtomicUsize::new(0);
    let meet = |n_meetings: &mut usize| {
        *n_meetings += n_threads;
        n_met.fetch_add(1, Ordering::AcqRel);
        while n_met.load(Ordering::Acquire) < *n_meetings {
            std::hint::spin_loop();
        }
    };
    let run = |thread: usize| {
        let mut out = vec![0.0; 49_152];
        let mut n_meetings = 0;
        let mut fastest = f64::INFINITY;
        for _ in 0..n_passes {
            meet(&mut n_meetings);
            let start = Instant::now();
            pass(thread, &mut out);
            meet(&mut n_meetings);
            fastest = fastest.min(start.elapsed().as_secs_f64());
        }
        fastest
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..n_threads)
            .map(|thread| {
                scope.spawn({
                    let run = &run;
                    move || run(thread)
                })
            })
            .collect();
        let fastest = run(0);
        others.into_iter().for_each(|it| {
            it.join().expect("a thread that measures");
        });
        fastest
    })
}
