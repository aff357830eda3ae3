//! What requests of Ollama's interface say beside their text: options, format, thoughts.

use std::fmt;

use lapwing_serving::message::{Abilities, Form, Sampling};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::checks::{self, Stop};
use crate::refusal::Refusal;

/// `options`. What is left out, or null, is as the model's authors say; what is not named here is of
/// no meaning, above all `num_ctx`: another length would mean to load the model anew, and clients of
/// two opinions would have it loaded with every request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct Options {
    pub(super) num_predict: Option<Whole>,
    pub(super) temperature: Option<f32>,
    pub(super) top_k: Option<Whole>,
    pub(super) top_p: Option<f32>,
    pub(super) min_p: Option<f32>,
    pub(super) seed: Option<Whole>,
    pub(super) stop: Option<Stop>,
    pub(super) repeat_penalty: Option<f32>,
    pub(super) repeat_last_n: Option<Whole>,
    pub(super) presence_penalty: Option<f32>,
    pub(super) frequency_penalty: Option<f32>,
}

impl Options {
    /// How tokens are chosen, checked.
    pub(super) fn sampling(&self) -> Result<Sampling, Refusal> {
        checks::sampling(Sampling {
            temperature: self.temperature,
            top_k: self.top_k.map(|Whole(top_k)| checks::top_k(top_k)),
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            // -1 is the whole context.
            repeat_window: self.repeat_last_n.and_then(|Whole(n)| usize::try_from(n).ok()),
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            logit_bias: Vec::new(),
            // Negative ones mean any.
            seed: self.seed.and_then(|Whole(seed)| u64::try_from(seed).ok()),
        })
    }

    /// Most tokens of the answer; 0 and negative numbers mean that there is no limit.
    pub(super) fn n_tokens_max(&self) -> Option<usize> {
        let Whole(n) = self.num_predict?;
        usize::try_from(n).ok().filter(|&n| n != 0)
    }
}

/// A whole number, which some clients write as `5.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole(pub(super) i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl de::Visitor<'_> for Reader {
            type Value = Whole;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a whole number")
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Whole, E> {
                Ok(Whole(n))
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Whole, E> {
                i64::try_from(n).map(Whole).map_err(|_| E::custom("the number is too large"))
            }
            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Whole, E> {
                /// Up to here a double tells all whole numbers apart.
                const EXACT: f64 = (1_u64 << 53) as f64;
                if n.fract() != 0.0 || EXACT < n.abs() {
                    return Err(E::custom(format_args!("expected a whole number, found {n}")));
                }
                Ok(Whole(n as i64))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl PartialSchema for Whole {
    fn schema() -> RefOr<Schema> {
        i64::schema()
    }
}

impl ToSchema for Whole {}

impl Serialize for Whole {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

/// `format`: `"json"` or a schema; nothing, null and `""` are none.
pub(super) fn form_of(format: Option<&Value>) -> Result<Option<Form>, Refusal> {
    match format {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(format)) if format.is_empty() => Ok(None),
        Some(Value::String(format)) if format == "json" => Ok(Some(Form::Json)),
        Some(schema @ Value::Object(_)) => Ok(Some(Form::Schema(schema.clone()))),
        Some(_) => Err(Refusal::field("format", "expected format \"json\" or a JSON schema")),
    }
}

/// `think`: whether to, or how much.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected true, false, \"low\", \"medium\" or \"high\"")]
pub(super) enum Think {
    Whether(bool),
    HowMuch(String),
}

impl Think {
    /// Whether to think and how much, for a model named `name` that `can` this and that.
    pub(super) fn told(
        think: Option<Think>,
        name: &str,
        can: Abilities,
    ) -> Result<(Option<bool>, Option<String>), Refusal> {
        let (thinks, effort) = match think {
            None => return Ok((None, None)),
            Some(Think::Whether(thinks)) => (thinks, None),
            Some(Think::HowMuch(effort)) => match &*effort {
                "" => return Ok((None, None)),
                "low" | "medium" | "high" => (true, Some(effort)),
                _ => {
                    let message = "expected think true, false, \"low\", \"medium\" or \"high\"";
                    return Err(Refusal::field("think", message));
                }
            },
        };
        if thinks && !can.thinks {
            return Err(Refusal::field("think", format!("'{name}' does not support thinking")));
        }
        Ok((Some(thinks), effort))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options(json: Value) -> Options {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn options_become_sampling() {
        let given = options(json!({
            "num_predict": 5.0, "num_ctx": 8192, "temperature": 0.5, "top_k": 40, "top_p": 0.9,
            "min_p": 0.1, "seed": 7, "stop": ["a"], "repeat_penalty": 1.1, "repeat_last_n": 64,
            "presence_penalty": 0.2, "frequency_penalty": 0.3, "mirostat": 1, "num_gpu": null,
        }));
        let expected = Sampling {
            temperature: Some(0.5),
            top_k: Some(40),
            top_p: Some(0.9),
            min_p: Some(0.1),
            repeat_penalty: Some(1.1),
            repeat_window: Some(64),
            presence_penalty: Some(0.2),
            frequency_penalty: Some(0.3),
            logit_bias: Vec::new(),
            seed: Some(7),
        };
        assert_eq!(given.sampling(), Ok(expected));
        assert_eq!(given.n_tokens_max(), Some(5));
        let json = serde_json::to_value(&given).unwrap();
        assert_eq!(options(json), given);
        let none = options(json!({"temperature": null, "seed": -1, "repeat_last_n": -1}));
        assert_eq!(none.sampling(), Ok(Sampling::default()));
    }

    #[test]
    fn no_limit_is_written_in_several_ways() {
        let check = |n: Value| assert_eq!(options(json!({"num_predict": n})).n_tokens_max(), None);
        [json!(-1), json!(-2), json!(0), json!(null)].into_iter().for_each(check);
    }

    #[test]
    fn what_is_out_of_bounds_is_refused() {
        for wrong in [json!(1.5), json!("5"), json!(1e300), json!(u64::MAX), json!(true)] {
            let options = serde_json::from_value::<Options>(json!({"top_k": wrong}));
            assert!(options.is_err(), "{wrong}");
        }
        assert!(options(json!({"temperature": 9.0})).sampling().is_err());
    }

    #[test]
    fn formats_are_json_a_schema_or_none() {
        let schema = json!({"type": "object"});
        assert_eq!(form_of(None), Ok(None));
        assert_eq!(form_of(Some(&json!(null))), Ok(None));
        assert_eq!(form_of(Some(&json!(""))), Ok(None));
        assert_eq!(form_of(Some(&json!("json"))), Ok(Some(Form::Json)));
        assert_eq!(form_of(Some(&schema)), Ok(Some(Form::Schema(schema.clone()))));
        for wrong in [json!("yaml"), json!(1), json!(true), json!([])] {
            assert!(form_of(Some(&wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_models_that_think_can_be_told_to() {
        let can = |thinks| Abilities { thinks, ..Abilities::default() };
        let told = |json: Value, thinks| {
            let think: Option<Think> = serde_json::from_value(json.clone()).unwrap();
            assert_eq!(serde_json::to_value(&think).unwrap(), json);
            Think::told(think, "m", can(thinks))
        };
        for thinks in [true, false] {
            assert_eq!(told(json!(null), thinks), Ok((None, None)));
            assert_eq!(told(json!(false), thinks), Ok((Some(false), None)));
        }
        assert_eq!(told(json!(true), true), Ok((Some(true), None)));
        assert_eq!(told(json!("high"), true), Ok((Some(true), Some("high".to_owned()))));
        assert!(told(json!(true), false).is_err());
        assert!(told(json!("high"), false).is_err());
        assert!(told(json!("very"), true).is_err());
    }
}
