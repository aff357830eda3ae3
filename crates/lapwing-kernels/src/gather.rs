//! Read and write the entries of a row that a list of ids names. Plain code:
//! the gathers and scatters of AVX2 and AVX-512 are no faster, since a row that
//! does not fit in the first cache waits for memory either way.

use crate::Level;

/// `out[i] = row[ids[i]]`; the same on every level.
///
/// Shapes: `row [n]`, `ids [n_ids]` in any order, repeats allowed, `out [n_ids]`.
///
/// # Panics
///
/// When an id is not below the length of the row, or ids and `out` differ in
/// length.
pub fn gather(_level: Level, row: &[f32], ids: &[u32], out: &mut [f32]) {
    assert_eq!(ids.len(), out.len(), "ids and out");
    for (out, &id) in out.iter_mut().zip(ids) {
        *out = row[id as usize];
    }
}

/// `row[ids[i]] = values[i]`; the same on every level.
///
/// Shapes: `values [n_ids]`, `ids [n_ids]`, distinct, in any order, `row [n]`.
///
/// # Panics
///
/// When an id is not below the length of the row (values before it have been
/// written), or values and ids differ in length.
pub fn scatter(_level: Level, values: &[f32], ids: &[u32], row: &mut [f32]) {
    assert_eq!(values.len(), ids.len(), "values and ids");
    for (&value, &id) in values.iter().zip(ids) {
        row[id as usize] = value;
    }
}

#[cfg(test)]
mod tests;
