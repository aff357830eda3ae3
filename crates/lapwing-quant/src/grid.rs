//! How a matrix is cut and coded.

/// How wide a code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// Two codes a byte.
    Four,
    /// One code a byte.
    Eight,
}

/// How a matrix is cut and coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Width of a code.
    pub bits: Bits,
    /// Columns that share a scale; the number of columns for one scale a row. A row's last group
    /// may be shorter.
    pub group_size: usize,
    /// Whether every zero point is [`Bits::middle`].
    pub symmetric: bool,
}

impl Bits {
    /// The largest code.
    pub fn code_max(self) -> u8 {
        match self {
            Bits::Four => 15,
            Bits::Eight => 255,
        }
    }

    /// The zero point of a symmetric grid: 8 or 128.
    pub fn middle(self) -> u8 {
        self.code_max() / 2 + 1
    }

    /// Codes in one byte.
    pub fn n_per_byte(self) -> usize {
        match self {
            Bits::Four => 2,
            Bits::Eight => 1,
        }
    }
}
