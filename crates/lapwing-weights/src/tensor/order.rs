//! In which order files have the elements of a tensor.

/// Where the rows that Hugging Face has are among those stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// In their places.
    Same,
    /// The rows of each head for interleaved rope: in pairs of one of the first half and one of the
    /// second.
    Interleaved {
        /// Rows of a head.
        head_size: usize,
    },
    /// Two matrices of as many rows have a row in turn; this is the first of them, or the second.
    Alternating {
        /// 0 or 1.
        place: usize,
    },
    /// Rows are columns of the file; so many matrices have one in turn.
    Columns {
        /// Which of the matrices, counted from 0.
        place: usize,
        /// How many there are.
        n_beside: usize,
    },
}

impl Order {
    /// The shape of the tensor, of that stored.
    pub(crate) fn shape(self, stored: &[usize]) -> Vec<usize> {
        let mut shape = stored.to_vec();
        if matches!(self, Order::Columns { .. }) {
            shape.reverse();
        }
        if let Some(n_rows) = shape.first_mut() {
            *n_rows /= self.n_beside();
        }
        shape
    }

    /// Rows stored, of the matrix that has so many.
    pub(crate) fn n_stored(self, n_rows: usize) -> usize {
        n_rows * self.n_beside()
    }

    /// Where a row is stored.
    pub(crate) fn stored(self, row_idx: usize) -> usize {
        match self {
            Order::Same => row_idx,
            Order::Interleaved { head_size } => {
                // Wanted: all of the first half, then all of the second.
                let (head_idx, in_head) = (row_idx / head_size, row_idx % head_size);
                let (half_idx, pair_idx) = (in_head / (head_size / 2), in_head % (head_size / 2));
                head_idx * head_size + pair_idx * 2 + half_idx
            }
            Order::Alternating { place } | Order::Columns { place, .. } => {
                row_idx * self.n_beside() + place
            }
        }
    }

    fn n_beside(self) -> usize {
        match self {
            Order::Same | Order::Interleaved { .. } => 1,
            Order::Alternating { .. } => 2,
            Order::Columns { n_beside, .. } => n_beside,
        }
    }
}
