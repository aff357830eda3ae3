//! Rotary embedding in a GGUF: metadata, and tensors of divisors.

use lapwing_formats::gguf::{DType, dequantize};
use lapwing_model::{Rope, RopeScaling};

use super::super::OpenCheckpointError;
use super::metadata::Metadata;

/// The base of the frequencies where no key says.
pub(super) const ROPE_THETA_DEFAULT: f32 = 10_000.0;
/// Divisors of the rotary frequencies, one a frequency.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";
/// The same of short and of long sequences.
pub(super) const ROPE_FACTORS_SHORT: &str = "rope_factors_short.weight";
pub(super) const ROPE_FACTORS_LONG: &str = "rope_factors_long.weight";

impl Metadata<'_> {
    /// The rotary embedding of layers with a window, where the family has another for them. No
    /// scaling reaches it: src/models/gemma3.cpp.
    pub(super) fn window_rope(
        &self,
        n_rotated: usize,
    ) -> Result<Option<Rope>, OpenCheckpointError> {
        if !self.family.has_window_rope {
            return Ok(None);
        }
        let theta = self.number("rope.freq_base_swa")?.unwrap_or(ROPE_THETA_DEFAULT);
        Ok(Some(Rope { theta, n_rotated, scaling: None }))
    }

    pub(super) fn rope_scaling(
        &self,
        theta: f32,
        n_rotated: usize,
        n_positions_max: usize,
    ) -> Result<Option<RopeScaling>, OpenCheckpointError> {
        let [divisors, short, long] = [ROPE_FACTORS, ROPE_FACTORS_SHORT, ROPE_FACTORS_LONG]
            .map(|name| self.divisors(name, n_rotated));
        let n_original = self.optional_size("rope.scaling.original_context_length")?;
        let n_positions_original = n_original.unwrap_or(n_positions_max);
        let magnitude = self.number("rope.scaling.attn_factor")?.unwrap_or(1.0);
        let scaling_type = self.get("rope.scaling.type");
        let scaling_type = scaling_type.as_ref().and_then(|value| value.as_str());
        if let (Some(short), Some(long)) = (short?, long?) {
            if !matches!(scaling_type, None | Some("longrope" | "none")) {
                let found = self.get("rope.scaling.type");
                return Err(self.wrong("rope.scaling.type", "longrope, by the tensors", found));
            }
            return Ok(Some(RopeScaling::LongRope {
                short,
                long,
                n_positions_original,
                magnitude,
            }));
        }
        if scaling_type == Some("yarn") && divisors.as_ref().is_ok_and(Option::is_none) {
            return self.yarn(n_positions_original, magnitude).map(Some);
        }
        if magnitude != 1.0 {
            let found = self.get("rope.scaling.attn_factor");
            return Err(self.wrong("rope.scaling.attn_factor", "1", found));
        }
        let Some(mut divisors) = divisors? else {
            return Ok(self.linear_factor()?.map(|factor| RopeScaling::Linear { factor }));
        };
        let Some(factor) = self.linear_factor()? else {
            return Ok(Some(RopeScaling::from_divisors(divisors, theta, n_rotated)));
        };
        divisors.iter_mut().for_each(|divisor| *divisor *= factor);
        Ok(Some(RopeScaling::Divisors(divisors)))
    }

    /// A tensor of divisors, one a frequency.
    fn divisors(
        &self,
        name: &str,
        n_rotated: usize,
    ) -> Result<Option<Vec<f32>>, OpenCheckpointError> {
        let Some(tensor) = self.gguf.tensor(name) else { return Ok(None) };
        let n_divisors: usize = tensor.shape.iter().product();
        if tensor.dtype != DType::F32 || n_divisors != n_rotated / 2 {
            let (path, expected) = (self.gguf.path(), [n_rotated / 2]);
            return Err(OpenCheckpointError::shape(path, name, &expected, tensor.shape));
        }
        let mut divisors = vec![0.0; n_divisors];
        dequantize(tensor.dtype, tensor.bytes, &mut divisors).expect("type and length fit");
        Ok(Some(divisors))
    }

    fn yarn(
        &self,
        n_positions_original: usize,
        magnitude: f32,
    ) -> Result<RopeScaling, OpenCheckpointError> {
        const MAGNITUDE_KEY: &str = "rope.scaling.yarn_attn_factor";
        let factor = self.required_number("rope.scaling.factor")?;
        let by_factor = RopeScaling::yarn_magnitude(factor, 1.0);
        // Converters write what a configuration says, and llama.cpp computes it from the factor.
        match self.number(MAGNITUDE_KEY)? {
            Some(stated) if (stated - by_factor).abs() > 1e-4 * by_factor => {
                let expected = by_factor.to_string();
                return Err(self.wrong(MAGNITUDE_KEY, &expected, self.get(MAGNITUDE_KEY)));
            }
            _ => {}
        }
        Ok(RopeScaling::Yarn {
            factor,
            beta_fast: self.number("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: self.number("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            truncate: self.family.truncates_yarn,
            n_positions_original,
            magnitude: by_factor * magnitude,
        })
    }

    /// The factor that divides every frequency; none where it is 1.
    ///
    /// As in llama.cpp: without a type the scaling is linear, the factor may stand under the key
    /// of early files, and a factor that is absent or 0 means none.
    fn linear_factor(&self) -> Result<Option<f32>, OpenCheckpointError> {
        let scaling_type = self.get("rope.scaling.type");
        match scaling_type.map(|value| value.as_str()) {
            Some(Some("none")) => return Ok(None),
            None | Some(Some("linear")) => {}
            Some(_) => {
                return Err(self.wrong("rope.scaling.type", "none, linear or yarn", scaling_type));
            }
        }
        let factor = match self.number("rope.scaling.factor")? {
            None => self.number("rope.scale_linear")?,
            factor => factor,
        };
        Ok(factor.filter(|&factor| factor != 0.0 && factor != 1.0))
    }
}
