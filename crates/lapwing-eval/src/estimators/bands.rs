//! Tokens grouped by how large their logit is on average.

/// Every token in one of a few bands that share a gain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bands {
    n_bands: usize,
    bands: Vec<usize>,
}

impl Bands {
    /// All tokens in one band.
    #[must_use]
    pub fn one(n_tokens: usize) -> Bands {
        Bands { n_bands: 1, bands: vec![0; n_tokens] }
    }

    /// Bands of equal counts by rank of the mean logit, the lowest first.
    ///
    /// Equal means are ranked by id. Tokens without a mean (NaN) rank highest, -0 below 0.
    /// With more bands than tokens some stay empty.
    ///
    /// Shapes: `means [n_tokens]`.
    ///
    /// # Panics
    ///
    /// When `n_bands` is 0.
    #[must_use]
    pub fn by_mean(means: &[f64], n_bands: usize) -> Bands {
        assert_ne!(n_bands, 0, "at least one band");
        // NaN of either sign goes last.
        let key = |token: usize| if means[token].is_nan() { f64::NAN } else { means[token] };
        let mut ranked: Vec<usize> = (0..means.len()).collect();
        ranked.sort_by(|&a, &b| key(a).total_cmp(&key(b)).then(a.cmp(&b)));
        let mut bands = vec![0; means.len()];
        for (rank, token) in ranked.into_iter().enumerate() {
            bands[token] = rank * n_bands / means.len();
        }
        Bands { n_bands, bands }
    }

    /// How many bands there are, empty ones included.
    #[must_use]
    pub fn n_bands(&self) -> usize {
        self.n_bands
    }

    /// How many tokens are in bands.
    #[must_use]
    pub fn n_tokens(&self) -> usize {
        self.bands.len()
    }

    /// The band of a token.
    ///
    /// # Panics
    ///
    /// When the token is outside the vocabulary.
    #[must_use]
    pub fn band_of(&self, token_idx: usize) -> usize {
        self.bands[token_idx]
    }

    /// The tokens of a band, ascending.
    pub fn tokens(&self, band_idx: usize) -> impl Iterator<Item = usize> {
        let of_band = move |&(_, &band): &(usize, &usize)| band == band_idx;
        self.bands.iter().enumerate().filter(of_band).map(|(token_idx, _)| token_idx)
    }

    /// The value of its band for every token.
    ///
    /// Shapes: `per_band [n_bands]`, the result `[n_tokens]`.
    ///
    /// # Panics
    ///
    /// When there is not one value for each band.
    #[must_use]
    pub fn spread(&self, per_band: &[f64]) -> Vec<f32> {
        assert_eq!(per_band.len(), self.n_bands, "one value for each band");
        self.bands.iter().map(|&band| per_band[band] as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Bands;

    fn check(means: &[f64], n_bands: usize, expected: &[usize]) {
        let bands = Bands::by_mean(means, n_bands);
        let found: Vec<usize> = (0..means.len()).map(|token| bands.band_of(token)).collect();
        assert_eq!(found, expected, "{means:?} {n_bands}");
        assert_eq!(bands.n_bands(), n_bands);
        for band in 0..n_bands {
            let tokens: Vec<usize> = bands.tokens(band).collect();
            let same: Vec<usize> = (0..means.len()).filter(|&t| expected[t] == band).collect();
            assert_eq!(tokens, same);
        }
    }

    #[test]
    fn bands_have_equal_counts_by_rank() {
        check(&[3.0, -1.0, 2.0, 0.0], 2, &[1, 0, 1, 0]);
        check(&[3.0, -1.0, 2.0, 0.0], 1, &[0, 0, 0, 0]);
        check(&[1.0, 1.0, 1.0, 1.0], 2, &[0, 0, 1, 1]);
        check(&[1.0, -f64::NAN, 0.0, f64::NAN], 2, &[0, 1, 0, 1]);
        check(&[2.0, 1.0], 4, &[2, 0]);
        check(&[5.0, 4.0, 3.0, 2.0, 1.0], 2, &[1, 1, 0, 0, 0]);
        check(&[], 3, &[]);
    }

    #[test]
    fn values_of_bands_are_spread_over_tokens() {
        let bands = Bands::by_mean(&[3.0, -1.0, 2.0, 0.0], 2);
        assert_eq!(bands.spread(&[0.25, 0.5]), [0.5, 0.25, 0.5, 0.25]);
        assert_eq!(Bands::one(3).spread(&[0.75]), [0.75; 3]);
    }
}
