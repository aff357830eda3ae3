//! Names for runs and records that no two of them share.

use std::time::{SystemTime, UNIX_EPOCH};

use lapwing_files::checksum;

use super::Record;

const N_ID_DIGITS: usize = 16;

/// A name for one call of `bench`: 16 hexadecimal digits.
///
/// The same host cannot start two processes with the same id at the same nanosecond.
pub fn run_id(host: &str, started_at: SystemTime, process_id: u32) -> String {
    let since = started_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let text = format!("{host}\n{}\n{process_id}", since.as_nanos());
    shortened(text.as_bytes())
}

impl Record {
    /// A name for this record that follows from everything else in it: 16 hexadecimal digits.
    ///
    /// [`Record::record_id`] itself does not count, so that the result can be put there.
    pub fn content_id(&self) -> String {
        let unnamed = Record { record_id: String::new(), ..self.clone() };
        let json = serde_json::to_vec(&unnamed).expect("a record has only string keys");
        shortened(&json)
    }
}

fn shortened(bytes: &[u8]) -> String {
    checksum::sha256_bytes(bytes)[..N_ID_DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::samples;

    #[test]
    fn runs_differ_by_host_time_and_process() {
        let time = UNIX_EPOCH + Duration::from_nanos(1);
        let later = UNIX_EPOCH + Duration::from_nanos(2);
        let ids = [
            run_id("a", time, 1),
            run_id("b", time, 1),
            run_id("a", later, 1),
            run_id("a", time, 2),
        ];
        for (idx, id) in ids.iter().enumerate() {
            assert_eq!(id.len(), 16);
            assert!(!ids[..idx].contains(id), "{ids:?}");
        }
        assert_eq!(run_id("a", time, 1), ids[0]);
    }

    #[test]
    fn an_id_follows_from_the_content_alone() {
        let mut record = samples::decode();
        let id = record.content_id();
        assert_eq!(id.len(), 16);
        record.record_id = id.clone();
        assert_eq!(record.content_id(), id);
        record.protocol.order_idx += 1;
        assert_ne!(record.content_id(), id);
    }
}
