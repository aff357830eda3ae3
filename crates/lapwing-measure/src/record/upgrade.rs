//! Records of older schemas, brought to the present one.
//!
//! This is the only place that knows what records once looked like. A new version of the schema
//! adds a module for the form before it, and a sample of that to `testdata/`.

use super::{Record, SCHEMA_VERSION};

mod version_0;

/// Read a line of a schema older than [`SCHEMA_VERSION`].
pub(super) fn parse(line: &[u8], schema_version: u32) -> Result<Record, serde_json::Error> {
    assert!(schema_version < SCHEMA_VERSION, "version {schema_version} is not an older one");
    version_0::parse(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::TestKind;

    const VERSION_0: &str = include_str!("../../testdata/records_version_0.jsonl");

    #[test]
    fn version_0_is_upgraded() {
        let records: Vec<Record> =
            VERSION_0.lines().map(|line| Record::parse(line.as_bytes()).unwrap()).collect();
        let [prefill, decode] = &records[..] else { panic!("{records:?}") };
        assert_eq!((prefill.test.kind, prefill.test.name.as_str()), (TestKind::Prefill, "pp512"));
        assert_eq!((decode.test.kind, decode.test.name.as_str()), (TestKind::Decode, "tg128"));
        let latency = prefill.latency.as_ref().unwrap();
        assert_eq!(latency.samples_ms, [800.0, 1000.0, 512e3 / 600.0]);
        assert_eq!((latency.ms_median, latency.tokens_per_s.median), (512e3 / 600.0, 600.0));
        assert_eq!(prefill.protocol.n_repetitions, 3);
        assert_eq!(prefill.memory.peak_rss_bytes, Some(421_527_552));
        assert_eq!(prefill.conditions.cpu_model.as_deref(), Some("Example CPU @ 2.50GHz"));
        let throughput = &decode.latency.as_ref().unwrap().tokens_per_s;
        assert_eq!((throughput.median, throughput.coefficient_of_variation), (32.0, None));
        assert_eq!(decode.nulls["memory.peak_rss_bytes"], "schema version 0 did not record it");
        assert_ne!(prefill.record_id, decode.record_id);
        for record in &records {
            // It is a record of today in every respect.
            assert_eq!(record.schema_version, SCHEMA_VERSION);
            assert_eq!(&Record::parse(record.to_line().unwrap().as_bytes()).unwrap(), record);
        }
    }

    #[test]
    fn version_0_with_nonsense_is_refused() {
        let check = |from: &str, to: &str, expected: &str| {
            let line = VERSION_0.lines().next().unwrap();
            assert!(line.contains(from), "{from}");
            let error = Record::parse(line.replace(from, to).as_bytes()).unwrap_err();
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            let message = format!("{error}{}", cause.unwrap_or_default());
            assert!(message.contains(expected), "{message}");
        };
        check("[640.0,512.0,600.0]", "[]", "no samples");
        check("[640.0,512.0,600.0]", "[0.0]", "sample 0 is inf");
        check("[640.0,512.0,600.0]", "[-1.0]", "expected a positive sample");
        check("[640.0,512.0,600.0]", "null", "expected one of");
        check("\"n_tokens\"", "\"tg_tokens_per_s\":[1.0],\"n_tokens\"", "expected one of");
        check("\"host\":\"bench-1\",", "", "missing field `host`");
    }
}
