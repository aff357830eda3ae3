//! Loads and stores of whole vectors: with the dispatch, the only unsafe code
//! here. Beside them the widening to `f64`, which every sum needs.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
