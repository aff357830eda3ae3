//! Encoded blocks back to 32-bit floats.
//!
//! Plain loops, one function a type. Source: ggml-quants.c and the block layouts in
//! ggml-common.h; tests compare every type with the `gguf` Python package bit by bit.

use half::{bf16, f16};

use super::DType;
use crate::mx;

/// Why bytes could not be dequantised.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum DequantizeError {
    /// The type can be listed but not read.
    #[error(
        "cannot dequantise {dtype}: expected F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, \
         Q5_K, Q6_K or MXFP4"
    )]
    Type { dtype: DType },
    /// The bytes do not encode as many elements as there is room for.
    #[error(
        "cannot dequantise {dtype}: expected {expected} bytes for {n_elements} elements, \
         found {found}"
    )]
    Length { dtype: DType, n_elements: usize, expected: usize, found: usize },
}

/// Decode `bytes` into `out`.
///
/// Shapes: `out [n]`; `bytes` holds the whole blocks of exactly `n` elements.
///
/// # Errors
///
/// When the type is not among those read, or the lengths do not fit each other.
pub fn dequantize(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<(), DequantizeError> {
    let decode = decoder(dtype).ok_or(DequantizeError::Type { dtype })?;
    let (n_block_elements, n_block_bytes) = dtype.block().ok_or(DequantizeError::Type { dtype })?;
    let expected = out.len().div_ceil(n_block_elements).saturating_mul(n_block_bytes);
    if !out.len().is_multiple_of(n_block_elements) || bytes.len() != expected {
        let (n_elements, found) = (out.len(), bytes.len());
        return Err(DequantizeError::Length { dtype, n_elements, expected, found });
    }
    let blocks = bytes.chunks_exact(n_block_bytes);
    for (block, out) in blocks.zip(out.chunks_exact_mut(n_block_elements)) {
        decode(block, out);
    }
    Ok(())
}

/// Decodes one block; both slices have the block's lengths.
type DecodeBlock = fn(&[u8], &mut [f32]);

fn decoder(dtype: DType) -> Option<DecodeBlock> {
    Some(match dtype {
        DType::F32 => |block, out| {
            out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
        },
        DType::F16 => |block, out| out[0] = half_at(block, 0),
        DType::BF16 => |block, out| out[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32(),
        DType::Q4_0 => q4_0,
        DType::Q4_1 => q4_1,
        DType::Q5_0 => q5_0,
        DType::Q5_1 => q5_1,
        DType::Q8_0 => q8_0,
        DType::Q4_K => q4_k,
        DType::Q5_K => q5_k,
        DType::Q6_K => q6_k,
        DType::MXFP4 => mxfp4,
        _ => return None,
    })
}

fn q4_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    for (index, &pair) in block[2..18].iter().enumerate() {
        out[index] = scale * (f32::from(pair & 15) - 8.0);
        out[index + 16] = scale * (f32::from(pair >> 4) - 8.0);
    }
}

fn q4_1(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    for (index, &pair) in block[4..20].iter().enumerate() {
        out[index] = scale * f32::from(pair & 15) + minimum;
        out[index + 16] = scale * f32::from(pair >> 4) + minimum;
    }
}

fn q5_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    five_bits(&block[2..6], &block[6..22], |index, code| {
        out[index] = scale * (f32::from(code) - 16.0);
    });
}

fn q5_1(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    five_bits(&block[4..8], &block[8..24], |index, code| {
        out[index] = scale * f32::from(code) + minimum;
    });
}

/// The 32 codes of a Q5 block: nibbles, and the fifth bits in one 32-bit word.
fn five_bits(high_bits: &[u8], nibbles: &[u8], mut emit: impl FnMut(usize, u8)) {
    for (index, &pair) in nibbles.iter().enumerate() {
        let high = |index: usize| (high_bits[index / 8] >> (index % 8) & 1) << 4;
        emit(index, pair & 15 | high(index));
        emit(index + 16, pair >> 4 | high(index + 16));
    }
}

fn q8_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    for (out, &code) in out.iter_mut().zip(&block[2..34]) {
        *out = scale * f32::from(code as i8);
    }
}

fn q4_k(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let (scales, nibbles) = (&block[4..16], &block[16..144]);
    for (group_idx, out) in out.chunks_exact_mut(32).enumerate() {
        let (group_scale, group_minimum) = k_scale(scales, group_idx);
        let (scale, minimum) = (scale * group_scale, minimum * group_minimum);
        for (index, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(k_nibble(nibbles, group_idx, index)) - minimum;
        }
    }
}

fn q5_k(block: &[u8], out: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    let (scales, high_bits, nibbles) = (&block[4..16], &block[16..48], &block[48..176]);
    for (group_idx, out) in out.chunks_exact_mut(32).enumerate() {
        let (group_scale, group_minimum) = k_scale(scales, group_idx);
        let (scale, minimum) = (scale * group_scale, minimum * group_minimum);
        for (index, out) in out.iter_mut().enumerate() {
            let high = (high_bits[index] >> group_idx & 1) << 4;
            *out = scale * f32::from(k_nibble(nibbles, group_idx, index) | high) - minimum;
        }
    }
}

/// A K block's nibble: 64 elements share 32 bytes, the even group of 32 in the low nibbles.
fn k_nibble(nibbles: &[u8], group_idx: usize, index: usize) -> u8 {
    nibbles[group_idx / 2 * 32 + index] >> (4 * (group_idx % 2)) & 15
}

/// The six-bit scale and minimum of one of eight groups. The last four groups keep their upper two
/// bits on top of the first four's bytes.
fn k_scale(scales: &[u8], group_idx: usize) -> (f32, f32) {
    let (scale, minimum) = if group_idx < 4 {
        (scales[group_idx] & 63, scales[group_idx + 4] & 63)
    } else {
        let low = scales[group_idx + 4];
        let scale = low & 15 | scales[group_idx - 4] >> 6 << 4;
        (scale, low >> 4 | scales[group_idx] >> 6 << 4)
    };
    (f32::from(scale), f32::from(minimum))
}

fn q6_k(block: &[u8], out: &mut [f32]) {
    let (nibbles, pairs, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let scale = half_at(block, 208);
    for (index, out) in out.iter_mut().enumerate() {
        // Each half of 128 elements has 64 bytes of nibbles and 32 of bit pairs.
        let (half_idx, in_half) = (index / 128, index % 128);
        let low = nibbles[half_idx * 64 + in_half % 64] >> (4 * (in_half / 64)) & 15;
        let high = pairs[half_idx * 32 + in_half % 32] >> (2 * (in_half / 32)) & 3;
        let group_scale = scale * f32::from(scales[index / 16] as i8);
        *out = group_scale * (f32::from(low | high << 4) - 32.0);
    }
}

fn mxfp4(block: &[u8], out: &mut [f32]) {
    let scale = mx::scale(block[0]);
    for (index, &pair) in block[1..17].iter().enumerate() {
        out[index] = scale * mx::element(pair & 15);
        out[index + 16] = scale * mx::element(pair >> 4);
    }
}

fn half_at(block: &[u8], offset: usize) -> f32 {
    f16::from_le_bytes([block[offset], block[offset + 1]]).to_f32()
}
