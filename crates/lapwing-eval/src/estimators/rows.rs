//! Rows gathered into blocks, so that per-token state is touched once per block.
//!
//! A row of logits is long and the state of a token is wide: taking one row at a time,
//! the accumulators would be bound by memory. A block holds a few rows, cut into tiles
//! of a few tokens; a tile's rows and state fit into the first-level cache, and its
//! loops have constant lengths, which the compiler turns into SIMD.

/// Tokens in one tile.
pub(super) const N_LANES: usize = 16;
/// Rows in a full block; f32 sums run over at most so many terms.
pub(super) const N_BLOCK_ROWS: usize = 16;
/// Marks a lane without a token in an order.
pub(super) const NO_TOKEN: u32 = u32::MAX;
/// Beyond it an entry is a mask that somebody wrote into the row; also, squares of
/// anything below fit into an f32 with room for a block's sum.
const LOGIT_LIMIT: f32 = 1e15;

/// One number for each token of a tile.
pub(super) type Lanes<T = f32> = [T; N_LANES];

/// Whether an entry is a logit that moments may contain.
#[inline(always)]
pub(super) fn is_logit(value: f32) -> bool {
    value.abs() < LOGIT_LIMIT
}

/// The mean of the logits of each lane; 0 where there are none.
///
/// Sums are taken about it: what is left has the size of the spread, so that squares
/// keep their digits in f32.
pub(super) fn lane_means<'a>(rows: impl Iterator<Item = &'a Lanes>) -> Lanes {
    let mut sums = [0.0; N_LANES];
    let mut counts = [0.0; N_LANES];
    for row in rows {
        for lane in 0..N_LANES {
            let is_logit = is_logit(row[lane]);
            sums[lane] += if is_logit { row[lane] } else { 0.0 };
            counts[lane] += if is_logit { 1.0 } else { 0.0f32 };
        }
    }
    std::array::from_fn(|lane| sums[lane] / counts[lane].max(1.0))
}

/// A few rows, tile by tile. Lanes without a token hold NaN.
#[derive(Clone, Debug)]
pub(super) struct TiledRows {
    tiles: Vec<[Lanes; N_BLOCK_ROWS]>,
    n_rows: usize,
}

impl TiledRows {
    /// Room for rows of `n_lanes`, rounded up to whole tiles.
    pub(super) fn new(n_lanes: usize) -> TiledRows {
        let tile = [[f32::NAN; N_LANES]; N_BLOCK_ROWS];
        TiledRows { tiles: vec![tile; n_lanes.div_ceil(N_LANES)], n_rows: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.n_rows == 0
    }

    /// Append a row whose tokens are in the order of the lanes.
    pub(super) fn push(&mut self, row: &[f32]) {
        for (tile, tokens) in self.tiles.iter_mut().zip(row.chunks(N_LANES)) {
            tile[self.n_rows][..tokens.len()].copy_from_slice(tokens);
        }
        self.n_rows += 1;
    }

    /// Append a row whose lanes hold the tokens of `order`, [`NO_TOKEN`] for none.
    pub(super) fn push_ordered(&mut self, row: &[f32], order: &[Lanes<u32>]) {
        for (tile, tokens) in self.tiles.iter_mut().zip(order) {
            for (entry, &token) in tile[self.n_rows].iter_mut().zip(tokens) {
                *entry = row.get(token as usize).copied().unwrap_or(f32::NAN);
            }
        }
        self.n_rows += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.n_rows == N_BLOCK_ROWS
    }

    /// The rows of each tile.
    pub(super) fn tiles(&self) -> impl Iterator<Item = &[Lanes]> {
        self.tiles.iter().map(|tile| &tile[..self.n_rows])
    }

    pub(super) fn clear(&mut self) {
        self.n_rows = 0;
    }
}
