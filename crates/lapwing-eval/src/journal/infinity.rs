//! JSON has no infinity, and `serde_json` writes one as null: what null is read as. Finite numbers
//! come back with the same bits by themselves.

use serde::{Deserialize, Deserializer};

/// For `#[serde(deserialize_with)]` on a number that may be infinite.
pub(crate) fn plus<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + From<f32>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(|found| found.unwrap_or(T::from(f32::INFINITY)))
}

/// On a number that may be infinite below 0.
pub(crate) fn minus<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + From<f32>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(|found| found.unwrap_or(T::from(f32::NEG_INFINITY)))
}

/// On a list of such numbers; `null` is one of them.
fn each<'de, T, D>(deserializer: D, null: f32) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de> + From<f32>,
    D: Deserializer<'de>,
{
    let values = Vec::<Option<T>>::deserialize(deserializer)?;
    Ok(values.into_iter().map(|found| found.unwrap_or_else(|| T::from(null))).collect())
}

pub(crate) fn each_plus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    each(deserializer, f32::INFINITY)
}

pub(crate) fn each_minus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    each(deserializer, f32::NEG_INFINITY)
}
