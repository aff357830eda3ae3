//! How long a model stays loaded, as clients write it.

use std::time::Duration;

use serde_json::Value;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// How long a model is kept after a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum KeepAlive {
    /// As the daemon's settings say.
    #[default]
    Usual,
    /// So long.
    For(Duration),
    /// As long as there is memory.
    Forever,
}

impl<'de> serde::Deserialize<'de> for KeepAlive {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        let expected = "expected seconds, or a duration such as \"5m\"";
        KeepAlive::of(&value).ok_or_else(|| serde::de::Error::custom(expected))
    }
}

impl serde::Serialize for KeepAlive {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            KeepAlive::Usual => serializer.serialize_none(),
            KeepAlive::For(duration) => serializer.serialize_f64(duration.as_secs_f64()),
            KeepAlive::Forever => serializer.serialize_i64(-1),
        }
    }
}

impl PartialSchema for KeepAlive {
    fn schema() -> RefOr<Schema> {
        let types = vec![Type::Number, Type::String, Type::Null];
        let about = "Seconds, or a duration such as `5m`; negative ones mean for ever.";
        let schema = ObjectBuilder::new().schema_type(SchemaType::from_iter(types));
        schema.description(Some(about)).build().into()
    }
}

impl ToSchema for KeepAlive {}

impl KeepAlive {
    /// Seconds as a number or as digits, or numbers with units (`1h30m`, `500ms`); any negative one
    /// means for ever.
    fn of(value: &Value) -> Option<KeepAlive> {
        let seconds = match value {
            Value::Null => return Some(KeepAlive::Usual),
            Value::Number(seconds) => seconds.as_f64()?,
            Value::String(text) => parse_seconds(text.trim())?,
            _ => return None,
        };
        match Duration::try_from_secs_f64(seconds) {
            Ok(duration) => Some(KeepAlive::For(duration)),
            Err(_) if seconds < 0.0 => Some(KeepAlive::Forever),
            // Longer than any clock goes.
            Err(_) => seconds.is_finite().then_some(KeepAlive::Forever),
        }
    }
}

/// Seconds as digits, or numbers with units: `300`, `1h30m`, `500ms`.
pub fn parse_seconds(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Some(seconds).filter(|seconds| seconds.is_finite());
    }
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut total = 0.0;
    while !rest.is_empty() {
        let is_number = |symbol: char| symbol.is_ascii_digit() || symbol == '.';
        let n_digits = rest.find(|symbol| !is_number(symbol))?;
        let number: f64 = rest[..n_digits].parse().ok()?;
        rest = &rest[n_digits..];
        let n_unit = rest.find(is_number).unwrap_or(rest.len());
        total += number
            * match &rest[..n_unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "\u{b5}s" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[n_unit..];
    }
    (!text.is_empty()).then_some(sign * total)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_way_to_write_it_is_understood() {
        let check = |value: Value, expected: KeepAlive| {
            assert_eq!(KeepAlive::of(&value), Some(expected), "{value}");
        };
        let seconds = |seconds| KeepAlive::For(Duration::from_secs(seconds));
        check(json!("5m"), seconds(300));
        check(json!("300"), seconds(300));
        check(json!(300), seconds(300));
        check(json!(5.0), seconds(5));
        check(json!("1h30m"), seconds(5400));
        check(json!("30s"), seconds(30));
        check(json!(0), seconds(0));
        check(json!("0"), seconds(0));
        check(json!(-1), KeepAlive::Forever);
        check(json!("-1m"), KeepAlive::Forever);
        check(json!(1e300), KeepAlive::Forever);
        check(json!(null), KeepAlive::Usual);
        for wrong in [json!("soon"), json!("5x"), json!([]), json!(""), json!("5m5"), json!("nan")]
        {
            assert_eq!(KeepAlive::of(&wrong), None, "{wrong}");
        }
    }
}
