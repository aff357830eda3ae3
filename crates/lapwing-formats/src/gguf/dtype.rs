//! Tensor encodings: their numbers in the file, their names, their block sizes.

/// How a tensor's elements are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DType(u32);

/// Number in the file, name, elements a block, bytes a block. Source: ggml.h and ggml-common.h.
const TYPES: &[(u32, &str, usize, usize)] = &[
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
];

/// The types that [`dequantize`](super::dequantize) reads.
impl DType {
    /// 32-bit floats.
    pub const F32: DType = DType(0);
    /// 16-bit floats.
    pub const F16: DType = DType(1);
    /// 4 bits, a scale each 32.
    pub const Q4_0: DType = DType(2);
    /// 4 bits, a scale and a minimum each 32.
    pub const Q4_1: DType = DType(3);
    /// 5 bits, a scale each 32.
    pub const Q5_0: DType = DType(6);
    /// 5 bits, a scale and a minimum each 32.
    pub const Q5_1: DType = DType(7);
    /// 8 bits, a scale each 32.
    pub const Q8_0: DType = DType(8);
    /// 4 bits, blocks of 256 with scales and minima of 6 bits each 32.
    pub const Q4_K: DType = DType(12);
    /// 5 bits, blocks as in [`DType::Q4_K`].
    pub const Q5_K: DType = DType(13);
    /// 6 bits, blocks of 256 with scales of 8 bits each 16.
    pub const Q6_K: DType = DType(14);
    /// Floats of 4 bits, a power of two each 32; see [`mx`](crate::mx).
    pub const MXFP4: DType = DType(39);
    /// 32-bit floats without their lower half.
    pub const BF16: DType = DType(30);
}

impl DType {
    /// The type with this number; any number is accepted, an unknown one has no block size.
    pub fn from_id(id: u32) -> DType {
        DType(id)
    }

    /// The number in the file.
    pub fn id(self) -> u32 {
        self.0
    }

    /// Elements that share one block, and the bytes of the block; none for an unknown type.
    pub fn block(self) -> Option<(usize, usize)> {
        self.row().map(|&(_, _, n_elements, n_bytes)| (n_elements, n_bytes))
    }

    /// Bytes of a tensor of this shape (outermost first); none for an unknown type.
    ///
    /// # Errors
    ///
    /// Says what shape would do, when rows are not whole blocks or the product overflows.
    pub(super) fn n_bytes(self, shape: &[usize]) -> Result<Option<usize>, String> {
        let product = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
        let Some(n_elements) = product else {
            return Err("a number of elements below 2^64".to_owned());
        };
        let Some((n_block_elements, n_block_bytes)) = self.block() else { return Ok(None) };
        if !shape.last().unwrap_or(&1).is_multiple_of(n_block_elements) {
            return Err(format!("rows of whole {self} blocks of {n_block_elements}"));
        }
        let n_bytes = (n_elements / n_block_elements).checked_mul(n_block_bytes);
        n_bytes.map(Some).ok_or_else(|| "a number of bytes below 2^64".to_owned())
    }

    fn row(self) -> Option<&'static (u32, &'static str, usize, usize)> {
        TYPES.iter().find(|(id, ..)| *id == self.0)
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.row() {
            Some((_, name, ..)) => formatter.pad(name),
            None => formatter.pad(&format!("type {}", self.0)),
        }
    }
}
