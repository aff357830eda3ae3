//! Rotary embedding: which frequencies turn the elements of a head.

/// Llama 3's own scaling, but for the factor: what a GGUF's divisors are compared with.
const LLAMA3_LOW: f32 = 1.0;
const LLAMA3_HIGH: f32 = 4.0;
const LLAMA3_N_POSITIONS: usize = 8192;

/// One rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f32,
    /// The first elements of a head, which turn; the others stay as they are.
    pub n_rotated: usize,
    /// How the frequencies are stretched, if they are.
    pub scaling: Option<RopeScaling>,
}

/// How rotary frequencies are stretched for a longer context.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Every frequency divided by one factor.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// Low frequencies divided, high ones kept, a ramp between.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f32,
        /// Wavelengths longer than `n_positions_original / low` are low frequencies.
        low_frequency_factor: f32,
        /// Wavelengths shorter than `n_positions_original / high` are high frequencies.
        high_frequency_factor: f32,
        /// Context of the original training.
        n_positions_original: usize,
    },
    /// Low frequencies divided, high ones kept, a ramp over their indices between.
    ///
    /// Source: Peng et al., "YaRN", section 3.2, as transformers and llama.cpp compute it.
    Yarn {
        /// The divisor of low frequencies.
        factor: f32,
        /// Turns within the original context from which on a frequency is kept.
        beta_fast: f32,
        /// Turns within the original context up to which a frequency is divided.
        beta_slow: f32,
        /// Whether the ramp begins and ends at whole indices.
        truncate: bool,
        /// Context of the original training.
        n_positions_original: usize,
        /// What cosines and sines are multiplied by.
        magnitude: f32,
    },
    /// One divisor a frequency; others where the whole sequence is longer than the original
    /// context, for all of its positions.
    ///
    /// Source: Ding et al., "LongRoPE", as transformers computes it.
    LongRope {
        /// `[n_rotated / 2]`.
        short: Vec<f32>,
        /// `[n_rotated / 2]`.
        long: Vec<f32>,
        /// Context of the original training.
        n_positions_original: usize,
        /// What cosines and sines are multiplied by.
        magnitude: f32,
    },
    /// One divisor a frequency, `[n_rotated / 2]`.
    Divisors(Vec<f32>),
}

impl Rope {
    /// Rotary frequencies in radians a position, scaling applied.
    ///
    /// Shapes: `[n_rotated / 2]`. Source: RoFormer, eq. 15; llama3 scaling as in the model card.
    pub fn inverse_frequencies(&self) -> Vec<f32> {
        let plain = plain_frequencies(self.theta, self.n_rotated);
        match &self.scaling {
            None => plain.collect(),
            Some(RopeScaling::Linear { factor }) => plain.map(|f| f / factor).collect(),
            Some(
                RopeScaling::Divisors(divisors) | RopeScaling::LongRope { short: divisors, .. },
            ) => plain.zip(divisors).map(|(f, divisor)| f / divisor).collect(),
            Some(RopeScaling::Llama3 {
                factor,
                low_frequency_factor: low,
                high_frequency_factor: high,
                n_positions_original,
            }) => {
                let n_original = *n_positions_original as f32;
                plain.map(|f| stretch(f, *factor, *low, *high, n_original)).collect()
            }
            Some(RopeScaling::Yarn { factor, .. }) => {
                let shares = self.yarn_shares();
                let mix = |(f, kept): (f32, f32)| f / factor * (1.0 - kept) + f * kept;
                plain.zip(shares).map(mix).collect()
            }
        }
    }

    /// The frequencies of sequences longer than so many positions, where these have others.
    ///
    /// Shapes: `[n_rotated / 2]`.
    pub fn long_frequencies(&self) -> Option<(usize, Vec<f32>)> {
        let Some(RopeScaling::LongRope { long, n_positions_original, .. }) = &self.scaling else {
            return None;
        };
        let plain = plain_frequencies(self.theta, self.n_rotated);
        Some((*n_positions_original, plain.zip(long).map(|(f, divisor)| f / divisor).collect()))
    }

    /// What cosines and sines are multiplied by.
    pub fn magnitude(&self) -> f32 {
        match &self.scaling {
            Some(RopeScaling::Yarn { magnitude, .. } | RopeScaling::LongRope { magnitude, .. }) => {
                *magnitude
            }
            _ => 1.0,
        }
    }

    /// How much of each frequency YaRN keeps, from 0 to 1.
    fn yarn_shares(&self) -> Vec<f32> {
        let Some(RopeScaling::Yarn {
            beta_fast, beta_slow, truncate, n_positions_original, ..
        }) = self.scaling
        else {
            return Vec::new();
        };
        let n = self.n_rotated as f64;
        let index_of = |n_turns: f32| {
            let turns = n_positions_original as f64 / (f64::from(n_turns) * std::f64::consts::TAU);
            n * turns.ln() / (2.0 * f64::from(self.theta).ln())
        };
        let (mut low, mut high) = (index_of(beta_fast), index_of(beta_slow));
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (low.max(0.0), high.min(n - 1.0));
        if low == high {
            high += 0.001;
        }
        let share = |index: usize| 1.0 - ((index as f64 - low) / (high - low)).clamp(0.0, 1.0);
        (0..self.n_rotated / 2).map(|index| share(index) as f32).collect()
    }
}

impl RopeScaling {
    /// How YaRN lets cosines and sines grow where nobody says.
    pub fn yarn_magnitude(factor: f32, weight: f32) -> f32 {
        if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 }
    }

    /// How LongRoPE lets cosines and sines grow where nobody says.
    pub fn long_rope_magnitude(factor: f32, n_positions_original: usize) -> f32 {
        if factor <= 1.0 {
            return 1.0;
        }
        (1.0 + f64::from(factor).ln() / (n_positions_original as f64).ln()).sqrt() as f32
    }

    /// The rule behind divisors of plain frequencies: Llama 3's where they match it, else
    /// themselves.
    pub fn from_divisors(divisors: Vec<f32>, theta: f32, n_rotated: usize) -> RopeScaling {
        let factor = divisors.iter().copied().fold(1.0, f32::max);
        let n_original = LLAMA3_N_POSITIONS as f32;
        let is_llama3 = plain_frequencies(theta, n_rotated).zip(&divisors).all(|(f, found)| {
            let expected = f / stretch(f, factor, LLAMA3_LOW, LLAMA3_HIGH, n_original);
            (expected - found).abs() <= 1e-4 * expected
        });
        if !is_llama3 {
            return RopeScaling::Divisors(divisors);
        }
        RopeScaling::Llama3 {
            factor,
            low_frequency_factor: LLAMA3_LOW,
            high_frequency_factor: LLAMA3_HIGH,
            n_positions_original: LLAMA3_N_POSITIONS,
        }
    }
}

fn plain_frequencies(theta: f32, n_rotated: usize) -> impl Iterator<Item = f32> {
    (0..n_rotated / 2).map(move |index| {
        let exponent = (2 * index) as f32 / n_rotated as f32;
        1.0 / theta.powf(exponent)
    })
}

/// Llama 3's rule for one frequency.
fn stretch(frequency: f32, factor: f32, low: f32, high: f32, n_original: f32) -> f32 {
    let wavelength = 2.0 * std::f32::consts::PI / frequency;
    if wavelength < n_original / high {
        frequency
    } else if wavelength > n_original / low {
        frequency / factor
    } else {
        let smooth = (n_original / wavelength - low) / (high - low);
        (1.0 - smooth) * frequency / factor + smooth * frequency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scaling: Option<RopeScaling>, expected: [f32; 4]) {
        let rope = Rope { theta: 10_000.0, n_rotated: 8, scaling };
        for (found, expected) in rope.inverse_frequencies().into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6 * expected, "{found} {expected}");
        }
    }

    fn llama3(factor: f32) -> RopeScaling {
        RopeScaling::Llama3 {
            factor,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            n_positions_original: 8192,
        }
    }

    #[test]
    fn frequencies_follow_the_scaling() {
        check(None, [1.0, 0.1, 0.01, 0.001]);
        check(Some(RopeScaling::Linear { factor: 4.0 }), [0.25, 0.025, 0.0025, 0.00025]);
        let divisors = vec![1.0, 2.0, 4.0, 8.0];
        let divided = [1.0, 0.05, 0.0025, 0.000_125];
        check(Some(RopeScaling::Divisors(divisors.clone())), divided);
        let long = RopeScaling::LongRope {
            short: divisors,
            long: vec![2.0; 4],
            n_positions_original: 16,
            magnitude: 1.2,
        };
        check(Some(long.clone()), divided);
        let rope = Rope { theta: 10_000.0, n_rotated: 8, scaling: Some(long) };
        assert_eq!((rope.long_frequencies().unwrap().0, rope.magnitude()), (16, 1.2));
        // Wavelength 6283 lies between 8192 / 4 and 8192 / 1: smooth = 0.101265.
        check(Some(llama3(8.0)), [1.0, 0.1, 0.01, 0.000_213_607_54]);
        // 32 turns of 2048 positions are the index 1.0076, one turn 2.513: the ramp goes from 1 to 3.
        let yarn = RopeScaling::Yarn {
            factor: 4.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
            n_positions_original: 2048,
            magnitude: 1.0,
        };
        check(Some(yarn), [1.0, 0.1, 0.01 * (0.5 + 0.125), 0.00025]);
    }

    #[test]
    fn growth_of_cosines_and_sines_is_that_of_the_papers() {
        assert!((RopeScaling::yarn_magnitude(4.0, 1.0) - 1.138_629).abs() < 1e-6);
        assert_eq!(RopeScaling::yarn_magnitude(0.5, 1.0), 1.0);
        // Phi-3.5-mini: 131 072 positions from 4096.
        let found = RopeScaling::long_rope_magnitude(32.0, 4096);
        assert!((found - 1.190_238).abs() < 1e-6, "{found}");
    }

    #[test]
    fn divisors_of_llama3_are_recognised() {
        let rope = |scaling| Rope { theta: 500_000.0, n_rotated: 64, scaling };
        let divisors: Vec<f32> = std::iter::zip(
            rope(None).inverse_frequencies(),
            rope(Some(llama3(32.0))).inverse_frequencies(),
        )
        .map(|(plain, scaled)| plain / scaled)
        .collect();
        assert_eq!(RopeScaling::from_divisors(divisors.clone(), 500_000.0, 64), llama3(32.0));
        let found = RopeScaling::from_divisors(divisors.clone(), 10_000.0, 64);
        assert_eq!(found, RopeScaling::Divisors(divisors));
    }
}
