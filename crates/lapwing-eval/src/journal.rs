//! Results in journals, so that a measurement can go on after a break.
//!
//! Journals go on exactly: a measurement that was broken off gives the same bits as one that was
//! not. Results that may be infinite therefore read theirs through [`infinity`].

pub(crate) mod infinity;

use serde_json::Value;

pub use lapwing_files::{Journal, JournalKey, JournalUnitError, OpenJournalError};

pub(crate) use lapwing_files::resume;

/// A key, or a part of one, from an object of JSON.
pub fn key_of(object: Value) -> JournalKey {
    match object {
        Value::Object(key) => key,
        other => JournalKey::from_iter([("settings".to_owned(), other)]),
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Unit {
        #[serde(deserialize_with = "infinity::plus")]
        sum: f64,
        #[serde(deserialize_with = "infinity::each_plus")]
        values: Vec<f32>,
    }

    #[test]
    fn results_come_back_with_the_same_bits() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.jsonl");
        let key = JournalKey::new();
        let unit =
            |sum| Unit { sum, values: vec![0.1, f32::MIN_POSITIVE, -0.0, 1e30, f32::INFINITY] };
        let (first, second) = (unit(0.1 + 0.2), unit(f64::INFINITY));
        let mut journal = Journal::open(&path, &key).expect("a new journal");
        journal.finish("window 0", &first).expect("it is written");
        journal.finish("window 1", &second).expect("it is written");
        drop(journal);
        let journal = Journal::open(&path, &key).expect("it opens again");
        assert_eq!(journal.result("window 0").expect("a unit"), Some(first));
        assert_eq!(journal.result("window 1").expect("a unit"), Some(second));
    }
}
