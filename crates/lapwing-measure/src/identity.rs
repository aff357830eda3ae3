//! What tells one configuration from another.
//!
//! Two records of equal [`Identity`] are repetitions of each other. Versions of programs, libraries
//! and drivers are no part of it: that those change is what a history and a comparison are about.

use std::collections::BTreeSet;

use lapwing_report::printable;
use serde::Serialize;

use crate::record::Record;

/// One of the things in which configurations can differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// The name of the machine.
    Host,
    /// The processor's name.
    CpuModel,
    /// What ran the model.
    Program,
    /// The name of the model's folder or file.
    Model,
    /// SHA-256 of the model's files.
    ModelSha256,
    /// Which of the graphs in the folder.
    Variant,
    /// The library that ran it.
    Backend,
    /// What the library ran it on; what it was asked for where it does not tell.
    Device,
    /// How exactly the library computed.
    Precision,
    /// The threads asked for.
    Threads,
    /// The logit correction.
    Correction,
    /// SHA-256 of the correction's profile.
    CorrectionSha256,
    /// Every other setting.
    Settings,
}

impl Field {
    /// All of them, in the order in which labels name them.
    pub const ALL: [Field; 13] = [
        Field::Host,
        Field::CpuModel,
        Field::Program,
        Field::Model,
        Field::ModelSha256,
        Field::Variant,
        Field::Backend,
        Field::Device,
        Field::Precision,
        Field::Threads,
        Field::Correction,
        Field::CorrectionSha256,
        Field::Settings,
    ];

    /// The name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Field::Host => "host",
            Field::CpuModel => "processor",
            Field::Program => "program",
            Field::Model => "model",
            Field::ModelSha256 => "model hash",
            Field::Variant => "variant",
            Field::Backend => "backend",
            Field::Device => "device used",
            Field::Precision => "precision",
            Field::Threads => "threads",
            Field::Correction => "correction",
            Field::CorrectionSha256 => "correction hash",
            Field::Settings => "settings",
        }
    }

    fn read(self, record: &Record) -> String {
        let configuration = &record.configuration;
        let or_none = |value: &Option<String>| value.clone().unwrap_or_default();
        match self {
            Field::Host => record.host.clone(),
            Field::CpuModel => or_none(&record.conditions.cpu_model),
            Field::Program => record.program.name.clone(),
            Field::Model => configuration.model.clone(),
            Field::ModelSha256 => configuration.model_sha256.clone(),
            Field::Variant => or_none(&configuration.variant),
            Field::Backend => configuration.backend.clone(),
            Field::Device => configuration
                .device_used
                .as_ref()
                .unwrap_or(&configuration.device_requested)
                .clone(),
            Field::Precision => configuration.precision.clone(),
            Field::Threads => configuration.n_threads.map_or_else(String::new, |n| n.to_string()),
            Field::Correction => configuration.correction.clone(),
            Field::CorrectionSha256 => or_none(&configuration.correction_sha256),
            Field::Settings => {
                let settings = configuration.settings.iter();
                let words: Vec<_> =
                    settings.map(|(name, value)| format!("{name}={value}")).collect();
                words.join(" ")
            }
        }
    }
}

/// The values of every [`Field`]; empty where a record does not tell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    values: [String; Field::ALL.len()],
}

impl Identity {
    /// That of the configuration of `record`.
    #[must_use]
    pub fn of(record: &Record) -> Identity {
        Identity { values: Field::ALL.map(|field| field.read(record)) }
    }

    /// The value of `field`; empty where the record does not tell.
    #[must_use]
    pub fn get(&self, field: Field) -> &str {
        let place = Field::ALL.iter().position(|&other| other == field);
        &self.values[place.expect("every field is in the list of all")]
    }

    /// The same with `fields` forgotten.
    #[must_use]
    pub fn without(mut self, fields: &[Field]) -> Identity {
        for (field, value) in Field::ALL.iter().zip(&mut self.values) {
            if fields.contains(field) {
                value.clear();
            }
        }
        self
    }

    /// The fields in which the two differ.
    #[must_use]
    pub fn differences(&self, other: &Identity) -> Vec<Field> {
        let fields = Field::ALL.into_iter();
        fields.filter(|&field| self.get(field) != other.get(field)).collect()
    }
}

/// Told in a label wherever it differs.
const TOLD: [Field; 7] = [
    Field::Host,
    Field::Program,
    Field::Model,
    Field::Backend,
    Field::Device,
    Field::Threads,
    Field::Correction,
];

/// Told in a label only where two would be the same without, in the order in which that is tried.
const TOLD_IF_NEEDED: [Field; 6] = [
    Field::Precision,
    Field::Variant,
    Field::Settings,
    Field::ModelSha256,
    Field::CorrectionSha256,
    Field::CpuModel,
];

/// A short name for each of `identities`: the backend, and what else differs among them; the
/// device as well where nothing else does. Models are named without what all their names begin
/// with.
#[must_use]
pub fn labels(identities: &[Identity]) -> Vec<String> {
    labels_from(identities, common_prefix(identities))
}

/// The same with the whole names of models, for where nothing says what they begin with.
#[must_use]
pub fn whole_labels(identities: &[Identity]) -> Vec<String> {
    labels_from(identities, 0)
}

/// Models are named without their first `n_common` bytes.
fn labels_from(identities: &[Identity], n_common: usize) -> Vec<String> {
    let differs =
        |&field: &Field| identities.windows(2).any(|pair| pair[0].get(field) != pair[1].get(field));
    let mut fields: Vec<Field> = TOLD.into_iter().filter(differs).collect();
    let n_distinct = |fields: &[Field]| {
        let told = identities
            .iter()
            .map(|identity| fields.iter().map(|&field| identity.get(field)).collect::<Vec<_>>());
        told.collect::<BTreeSet<_>>().len()
    };
    for field in TOLD_IF_NEEDED {
        let more = [&fields[..], &[field]].concat();
        if n_distinct(&more) > n_distinct(&fields) {
            fields = more;
        }
    }
    if fields.is_empty() {
        fields.push(Field::Device);
    }
    fields.push(Field::Backend);
    let label = |identity: &Identity| {
        let told = Field::ALL.into_iter().filter(|field| fields.contains(field));
        let words = told.filter_map(|field| match field {
            Field::Model => Some(identity.get(field)[n_common..].to_owned()),
            field => word(identity, field),
        });
        printable(&words.collect::<Vec<_>>().join(" · "))
    };
    identities.iter().map(label).collect()
}

/// The bytes that the names of all models begin with, up to a place where a word ends.
fn common_prefix(identities: &[Identity]) -> usize {
    let mut names = identities.iter().map(|identity| identity.get(Field::Model));
    let Some(first) = names.next() else { return 0 };
    let mut n_common = first.len();
    for name in names {
        let mut pairs = first.chars().zip(name.chars());
        let n_same = pairs.position(|(one, other)| !one.eq_ignore_ascii_case(&other));
        let n_bytes = |n: usize| first.chars().take(n).map(char::len_utf8).sum();
        n_common = n_common.min(n_same.map_or(first.len().min(name.len()), n_bytes));
    }
    let ends = first.match_indices(['-', '_', '.', ' ']).map(|(place, end)| place + end.len());
    let n_common = ends.take_while(|&end| end <= n_common).last().unwrap_or(0);
    let is_name = |identity: &Identity| identity.get(Field::Model).len() > n_common;
    if identities.iter().all(is_name) { n_common } else { 0 }
}

fn word(identity: &Identity, field: Field) -> Option<String> {
    let value = identity.get(field);
    match field {
        // A peer is often its own backend, and it is the peers that need telling apart.
        Field::Program if value == identity.get(Field::Backend) || value == "lapwing" => None,
        Field::Threads if value.is_empty() => Some("default threads".into()),
        Field::Threads if value == "1" => Some("1 thread".into()),
        Field::Threads => Some(format!("{value} threads")),
        Field::Correction if value == "off" => None,
        Field::Correction if is_own_profile(value, identity) => Some("corrected".into()),
        Field::ModelSha256 | Field::CorrectionSha256 if !value.is_empty() => {
            Some(value.chars().take(8).collect())
        }
        _ => Some(value.to_owned()).filter(|value| !value.is_empty()),
    }
}

/// Whether a profile has the name that it gets by itself: that of the model and the device.
fn is_own_profile(profile: &str, identity: &Identity) -> bool {
    let rest = profile.strip_prefix(identity.get(Field::Model));
    let device = rest.and_then(|rest| rest.strip_prefix('.')?.strip_suffix(".correction.json"));
    device.is_some_and(|device| !device.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn labels_say_where_and_what_differs() {
        let check = |change: &dyn Fn(&mut Record), expected: [&str; 2]| {
            let first = sample::decode(0);
            let mut second = first.clone();
            change(&mut second);
            let identities = [Identity::of(&first), Identity::of(&second)];
            assert_eq!(labels(&identities), expected);
            // Where models differ, a comparison names them whole.
            let models = [first, second].map(|record| record.configuration.model);
            for (label, model) in whole_labels(&identities).iter().zip(&models) {
                assert_eq!(label.contains(&**model), models[0] != models[1], "{label}");
            }
        };
        check(&|_| {}, ["openvino · CPU", "openvino · CPU"]);
        check(
            &|record| record.configuration.n_threads = Some(1),
            ["openvino · 2 threads", "openvino · 1 thread"],
        );
        check(
            &|record| record.configuration.backend = "onnxruntime".into(),
            ["openvino", "onnxruntime"],
        );
        check(
            &|record| {
                record.program.name = "llama.cpp".into();
                record.configuration.backend = "llama.cpp".into();
            },
            ["openvino", "llama.cpp"],
        );
        check(
            &|record| {
                record.configuration.backend = "llama.cpp".into();
                record.configuration.precision = "q8_0".into();
                record.configuration.model = "smollm2-135m-q8_0.gguf".into();
            },
            ["instruct · openvino", "q8_0.gguf · llama.cpp"],
        );
        check(
            &|record| record.configuration.model = "smollm2-135m-instruct-int4".into(),
            ["instruct · openvino", "instruct-int4 · openvino"],
        );
        check(
            &|record| record.configuration.model = "SmolLM2-135M-q4.gguf".into(),
            ["instruct · openvino", "q4.gguf · openvino"],
        );
        let of_correction = |name: &'static str| {
            move |record: &mut Record| record.configuration.correction = name.into()
        };
        check(
            &of_correction("smollm2-135m-instruct.cpu.correction.json"),
            ["openvino", "openvino · corrected"],
        );
        check(
            &of_correction("mine.correction.json"),
            ["openvino", "openvino · mine.correction.json"],
        );
        check(
            &|record| record.configuration.precision = "exact".into(),
            ["openvino · fast", "openvino · exact"],
        );
        check(
            &|record| record.configuration.device_used = Some("GPU".into()),
            ["openvino · CPU", "openvino · GPU"],
        );
        check(
            &|record| record.configuration.model_sha256 = "0123456789".into(),
            ["aaaaaaaa · openvino", "01234567 · openvino"],
        );
        check(
            &|record| record.configuration.backend_version = Some("2027.0".into()),
            ["openvino · CPU", "openvino · CPU"],
        );
    }

    #[test]
    fn what_is_forgotten_does_not_differ() {
        let first = sample::decode(0);
        let mut second = first.clone();
        second.host = "other".into();
        second.configuration.n_threads = None;
        let (first, second) = (Identity::of(&first), Identity::of(&second));
        assert_eq!(first.differences(&second), [Field::Host, Field::Threads]);
        let forgotten = [Field::Host, Field::Threads];
        assert_eq!(first.without(&forgotten), second.without(&forgotten));
    }
}
