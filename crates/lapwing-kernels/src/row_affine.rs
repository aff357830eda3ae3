//! Shift and scale the finite entries of a row, in place.

use crate::level::{Isa, Level};

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

/// `row[i] += offset[i]` where `row[i]` is finite.
///
/// Shapes: `row [n]`, `offset [n]`, finite. NaN and both infinities in the row
/// stay what they are, to the bit.
///
/// # Panics
///
/// When the slices differ in length.
pub fn add_offset(level: Level, row: &mut [f32], offset: &[f32]) {
    assert_eq!(row.len(), offset.len(), "row and offset");
    match level.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx2 and fma.
        Isa::Avx2 => unsafe { avx2::add_offset(row, offset) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx512f.
        Isa::Avx512 => unsafe { avx512::add_offset(row, offset) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `Level` proves neon.
        Isa::Neon => unsafe { neon::add_offset(row, offset) },
        _ => scalar::add_offset(row, offset),
    }
}

/// `row[i] = (row[i] - from_mean) * scale + to_mean` where `row[i]` is finite.
///
/// Shapes: `row [n]`. The three numbers are finite. NaN and both infinities in
/// the row stay what they are, to the bit. Each of the three steps is rounded.
pub fn affine_in_place(level: Level, row: &mut [f32], from_mean: f32, scale: f32, to_mean: f32) {
    match level.0 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx2 and fma.
        Isa::Avx2 => unsafe { avx2::affine_in_place(row, from_mean, scale, to_mean) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Level` proves avx512f.
        Isa::Avx512 => unsafe { avx512::affine_in_place(row, from_mean, scale, to_mean) },
        #[cfg(target_arch = "aarch64")]
        // SAFETY: `Level` proves neon.
        Isa::Neon => unsafe { neon::affine_in_place(row, from_mean, scale, to_mean) },
        _ => scalar::affine_in_place(row, from_mean, scale, to_mean),
    }
}

#[cfg(test)]
mod tests;
