//! Nulls and their reasons.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Record;

impl Record {
    /// The nulls that nothing explains, as paths with dots, ascending.
    ///
    /// A number that is not finite counts as one: JSON has no other word for it.
    pub fn missing_reasons(&self) -> Vec<String> {
        let is_explained =
            |path: &String| self.nulls.get(path).is_some_and(|reason| !reason.trim().is_empty());
        self.null_paths().into_iter().filter(|path| !is_explained(path)).collect()
    }

    /// The reasons for something that is not null, or that a record does not have, as paths with
    /// dots, ascending.
    pub fn needless_reasons(&self) -> Vec<String> {
        let nulls = self.null_paths();
        self.nulls.keys().filter(|path| !nulls.contains(*path)).cloned().collect()
    }

    fn null_paths(&self) -> BTreeSet<String> {
        let value = serde_json::to_value(self).expect("a record has only string keys");
        let mut paths = BTreeSet::new();
        collect(&value, "", &mut paths);
        paths
    }
}

fn collect(value: &Value, path: &str, paths: &mut BTreeSet<String>) {
    let below = |key: &str| match path {
        "" => key.to_owned(),
        path => format!("{path}.{key}"),
    };
    match value {
        Value::Null => {
            paths.insert(path.to_owned());
        }
        Value::Object(fields) => {
            for (key, value) in fields {
                collect(value, &below(key), paths);
            }
        }
        Value::Array(values) => {
            for (idx, value) in values.iter().enumerate() {
                collect(value, &below(&idx.to_string()), paths);
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::samples;

    fn check(change: fn(&mut Record), missing: &[&str], needless: &[&str]) {
        let mut record = samples::decode();
        change(&mut record);
        assert_eq!(record.missing_reasons(), missing);
        assert_eq!(record.needless_reasons(), needless);
    }

    #[test]
    fn every_null_needs_a_reason_and_no_value_has_one() {
        check(|_| {}, &[], &[]);
        check(|record| record.memory.kv_bytes = None, &["memory.kv_bytes"], &[]);
        check(
            |record| {
                record.nulls.remove("start");
            },
            &["start"],
            &[],
        );
        check(
            |record| {
                record.nulls.insert("start".into(), " ".into());
            },
            &["start"],
            &[],
        );
        // What is inside a null needs no reason, and has none.
        check(|record| record.energy = None, &["energy"], &[]);
        check(
            |record| {
                record.energy = None;
                record.nulls.insert("energy".into(), "no sensor".into());
                record.nulls.insert("energy.energy_j".into(), "no sensor".into());
            },
            &[],
            &["energy.energy_j"],
        );
        check(
            |record| {
                record.nulls.insert("memory.kv_bytes".into(), "not told".into());
            },
            &[],
            &["memory.kv_bytes"],
        );
        check(
            |record| {
                record.nulls.insert("memory.kw_bytes".into(), "not told".into());
            },
            &[],
            &["memory.kw_bytes"],
        );
    }

    #[test]
    fn a_number_that_is_not_finite_is_a_null() {
        let not_finite = |record: &mut Record| {
            let latency = record.latency.as_mut().unwrap();
            latency.ms_mad = f64::NAN;
            latency.samples_ms[1] = f64::INFINITY;
            latency.tokens_per_s.low = Some(f64::NEG_INFINITY);
        };
        let paths = ["latency.ms_mad", "latency.samples_ms.1", "latency.tokens_per_s.low"];
        check(not_finite, &paths, &[]);
    }
}
