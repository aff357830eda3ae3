//! Sums of products of bytes, sixteen at a time: what the loops of quantised matrices are
//! written over.
//!
//! As with `lanes.rs`, a loop takes a `D: Dots`, a value of it is the proof that the
//! CPU has the instructions, and everything is `#[inline(always)]`. A vector is 64
//! bytes, four for each of the sixteen lanes; all four are multiplied by the same
//! four activations. Sums of integers are exact, so that levels may take any way to
//! them: in 32 bits at once, or with AVX2 in 16 bits as far as they go.
//!
//! One more instruction set: its file, a variant of `level::Dot`, and its arms in
//! [`dispatch_dots`].

use crate::lanes::Lanes;
use crate::tiles::N_TILE_ROWS;

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512vnni;
#[cfg(test)]
pub(crate) mod emulated;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
#[cfg(target_arch = "x86_64")]
pub(crate) mod vnni256;

/// The vectors of a level, and the proof that the CPU has it.
pub(crate) trait Dots: Copy {
    type Lanes: Lanes;
    /// 64 bytes.
    type Bytes: Copy;
    /// Sums of products with codes of four bits, up to 32 of them a lane.
    type Chain: Copy;
    /// An `i32` for each lane.
    type Sums: Copy;
    /// What sums of activations are multiplied by, for each lane.
    type Zeros: Copy;

    /// [`Dots::add_u8`] counts its codes from here.
    const U8_ZERO: i16;
    /// Whether there are registers for two tiles at a time.
    const IS_WIDE: bool;

    fn lanes(self) -> Self::Lanes;
    fn load(self, from: &[u8; 64]) -> Self::Bytes;
    fn store(self, bytes: Self::Bytes, to: &mut [u8; 64]);
    /// The low and the high halves of all bytes.
    fn nibbles(self, bytes: Self::Bytes) -> (Self::Bytes, Self::Bytes);

    fn chain(self) -> Self::Chain;
    /// `codes` are at most 15; a chain takes eight of these.
    fn add_u4(self, chain: Self::Chain, codes: Self::Bytes, x: [i8; 4]) -> Self::Chain;
    /// Two chains that have eight in all as one.
    fn merge(self, a: Self::Chain, b: Self::Chain) -> Self::Chain;
    /// `sums` with what the chain has.
    fn add_chain(self, sums: Self::Sums, chain: Self::Chain) -> Self::Sums;
    /// `sums` with `(code - U8_ZERO) * x` of four codes; `x` is never -128.
    fn add_u8(self, sums: Self::Sums, codes: Self::Bytes, x: [i8; 4]) -> Self::Sums;

    fn splat(self, x: i32) -> Self::Sums;
    fn add(self, a: Self::Sums, b: Self::Sums) -> Self::Sums;
    /// `from - zero` for every lane.
    fn zeros(self, from: i16, zeros: &[u8; N_TILE_ROWS]) -> Self::Zeros;
    /// `zeros * (x[0] + x[1])`.
    fn start(self, zeros: Self::Zeros, x: [i16; 2]) -> Self::Sums;
    fn to_f32(self, sums: Self::Sums) -> <Self::Lanes as Lanes>::F32;
}

/// Run a kernel at a level's dot products: `dispatch_dots!(level, name(arg: Type, …))`.
///
/// As `dispatch!`; `vector` has `name(dots, arg, …)` for any [`Dots`].
macro_rules! dispatch_dots {
    ($level:expr, $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $output:ty)?) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2($($arg: $type),*) $(-> $output)? {
            vector::$name($crate::dots::avx2::Avx2Dots::here(), $($arg),*)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
        fn avxvnni($($arg: $type),*) $(-> $output)? {
            vector::$name($crate::dots::vnni256::AvxVnni::here(), $($arg),*)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,f16c,avx512vnni,avx512vl")]
        fn avx512vl($($arg: $type),*) $(-> $output)? {
            vector::$name($crate::dots::vnni256::Avx512Vl::here(), $($arg),*)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512vnni")]
        fn avx512vnni($($arg: $type),*) $(-> $output)? {
            vector::$name($crate::dots::avx512vnni::Avx512Vnni::here(), $($arg),*)
        }
        #[cfg(target_arch = "aarch64")]
        #[target_feature(enable = "neon,dotprod")]
        fn neon($($arg: $type),*) $(-> $output)? {
            vector::$name($crate::dots::neon::NeonDots::here(), $($arg),*)
        }
        match ($level.isa, $level.dot) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Level` proves avx2 of the dot products, and of the floats fma and f16c.
            (_, $crate::level::Dot::Avx2) => unsafe { avx2($($arg),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Level` proves avxvnni, and of the floats avx2, fma and f16c.
            (_, $crate::level::Dot::AvxVnni) => unsafe { avxvnni($($arg),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Level` proves avx512vnni and avx512vl, and of the floats avx2, fma and f16c.
            ($crate::level::Isa::Avx2, $crate::level::Dot::Avx512Vnni) => unsafe {
                avx512vl($($arg),*)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Level` proves avx512f and avx512vnni.
            (_, $crate::level::Dot::Avx512Vnni) => unsafe { avx512vnni($($arg),*) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `Level` proves neon and dotprod.
            (_, $crate::level::Dot::Neon) => unsafe { neon($($arg),*) },
            #[cfg(test)]
            ($crate::level::Isa::Emulated, _) => {
                vector::$name($crate::dots::emulated::Emulated, $($arg),*)
            }
            _ => scalar::$name($($arg),*),
        }
    }};
}
pub(crate) use dispatch_dots;

/// Methods that are one call of what only this level's CPUs have.
#[allow(unused_macros, reason = "an architecture without levels has no use for it")]
macro_rules! operations {
    ($(fn $name:ident($($arg:tt)*) $(-> $output:ty)? = $call:expr;)*) => {$(
        #[inline(always)]
        fn $name($($arg)*) $(-> $output)? {
            // SAFETY: `self` is the level's proof, so the CPU has the instructions.
            unsafe { $call }
        }
    )*};
}
#[allow(unused_imports, reason = "an architecture without levels has no use for it")]
use operations;

/// Four activations as the lane that they are multiplied in.
#[allow(dead_code, reason = "an architecture without levels has no use for it")]
#[inline(always)]
fn quad(x: [i8; 4]) -> i32 {
    i32::from_ne_bytes(x.map(i8::cast_unsigned))
}

/// Two sums as the lane that they are multiplied in.
#[allow(dead_code, reason = "an architecture without levels has no use for it")]
#[inline(always)]
fn pair([low, high]: [i16; 2]) -> i32 {
    i32::from(low.cast_unsigned()) | i32::from(high) << 16
}

#[cfg(test)]
mod tests;
