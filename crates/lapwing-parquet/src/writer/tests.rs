use bytes::Bytes;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::{Field, Row};

use super::*;

const LINES: &str = include_str!("../../../lapwing-measure/testdata/records_version_1.jsonl");

fn samples() -> Vec<Record> {
    LINES.lines().map(|line| Record::parse(line.as_bytes()).unwrap()).collect()
}

fn written<'a>(records: impl IntoIterator<Item = &'a Record>) -> SerializedFileReader<Bytes> {
    let mut bytes = Vec::new();
    let mut writer = RecordWriter::new(&mut bytes, "1.2.3").unwrap();
    let mut n_records = 0;
    for record in records {
        writer.write(record).unwrap();
        n_records += 1;
    }
    assert_eq!(writer.finish().unwrap(), n_records);
    SerializedFileReader::new(Bytes::from(bytes)).unwrap()
}

/// What a reader makes of a column, in the words of JSON.
fn told(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(flag) => (*flag).into(),
        Field::Long(integer) => (*integer).into(),
        Field::ULong(integer) => (*integer).into(),
        Field::Double(number) => (*number).into(),
        Field::Str(text) => text.as_str().into(),
        Field::TimestampMicros(micros) => (*micros).into(),
        Field::ListInternal(list) => list.elements().iter().map(told).collect(),
        Field::MapInternal(map) => {
            let text = |field: &Field| match field {
                Field::Str(text) => text.clone(),
                field => panic!("{field:?}"),
            };
            map.entries().iter().map(|(key, value)| (text(key), told(value))).collect()
        }
        field => panic!("{field:?}"),
    }
}

fn check(row: &Row, record: &Record) {
    let value = serde_json::to_value(record).unwrap();
    let mut n_columns = 0;
    for ((name, field), column) in row.get_column_iter().zip(COLUMNS) {
        assert_eq!(*name, column.name());
        let expected = match (column.kind, at(&value, column.path)) {
            (_, None) => Value::Null,
            (Kind::Time, Some(time)) => {
                (seconds_since_epoch(time.as_str().unwrap()).unwrap() * 1_000_000).into()
            }
            (_, Some(value)) => value.clone(),
        };
        assert_eq!(told(field), expected, "{name}");
        n_columns += 1;
    }
    assert_eq!(n_columns, COLUMNS.len());
}

#[test]
fn a_reader_finds_all_that_the_records_say() {
    let mut records = samples();
    // The ends of what a column takes, and lists and maps with nothing in them.
    records[1].protocol.seed = Some(u64::MAX);
    records[1].configuration.model_bytes = Some(i64::MAX.cast_unsigned());
    records[2].conditions.cores_used = Some(Vec::new());
    records[2].configuration.settings.clear();
    let reader = written(&records);
    let rows: Vec<Row> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), records.len());
    for (row, record) in rows.iter().zip(&records) {
        check(row, record);
    }
}

#[test]
fn a_file_tells_the_versions_and_is_compressed() {
    let reader = written(&samples());
    let metadata = reader.metadata();
    let pairs = metadata.file_metadata().key_value_metadata().unwrap();
    let pairs: Vec<(&str, Option<&str>)> =
        pairs.iter().map(|pair| (pair.key.as_str(), pair.value.as_deref())).collect();
    let schema_version = SCHEMA_VERSION.to_string();
    assert_eq!(
        pairs,
        [(SCHEMA_VERSION_KEY, Some(&*schema_version)), (PROGRAM_VERSION_KEY, Some("1.2.3"))]
    );
    assert_eq!(metadata.row_group(0).column(1).compression(), Compression::SNAPPY);
}

#[test]
fn row_groups_are_bounded() {
    let mut record = samples().swap_remove(0);
    // A megabyte in a row.
    record.conditions.kernel = Some("k".repeat(1 << 20));
    let reader = written(std::iter::repeat_n(&record, 70));
    let n_rows: Vec<i64> =
        reader.metadata().row_groups().iter().map(|group| group.num_rows()).collect();
    assert_eq!(n_rows, [32, 32, 6]);
    let reader = written(&[]);
    assert_eq!(reader.metadata().num_row_groups(), 0);
}

#[test]
fn a_number_that_no_column_takes_is_told() {
    let mut record = samples().swap_remove(0);
    record.memory.kv_bytes = Some(1 << 63);
    let mut writer = RecordWriter::new(Vec::new(), "1.2.3").unwrap();
    let error = writer.write(&record).unwrap_err();
    let expected = "cannot write record 1f3a5b7c9d000000: expected at most 9223372036854775807 in \
        memory.kv_bytes, found 9223372036854775808";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn what_cannot_be_written_is_an_error() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut writer = RecordWriter::new(Full, "1.2.3").unwrap();
    writer.write(&samples()[0]).unwrap();
    assert_eq!(writer.finish().unwrap_err().to_string(), "cannot write rows");
}
