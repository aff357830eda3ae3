//! Numbers of a cache or of a matrix that was never quantised, in either of their formats.

use crate::f16::f16_to_f32;
use crate::lanes::{F32Lanes, N_LANES};

/// Floats of sixteen or of 32 bits.
#[derive(Clone, Copy, Debug)]
pub enum Floats<'a> {
    /// Their bytes, as in [`crate::f16_to_f32`].
    F16(&'a [[u8; 2]]),
    /// As they are.
    F32(&'a [f32]),
}

impl Floats<'_> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Floats::F16(floats) => floats.len(),
            Floats::F32(floats) => floats.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One of the two formats, for loops that are made for each.
pub(crate) trait Float: Copy {
    fn to_f32(self) -> f32;
    fn load<F: F32Lanes>(proof: F::Proof, from: &[Self; N_LANES]) -> F;
}

impl Float for [u8; 2] {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f16_to_f32(self)
    }

    #[inline(always)]
    fn load<F: F32Lanes>(proof: F::Proof, from: &[Self; N_LANES]) -> F {
        F::load_f16(proof, from)
    }
}

impl Float for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn load<F: F32Lanes>(proof: F::Proof, from: &[Self; N_LANES]) -> F {
        F::load(proof, from)
    }
}
