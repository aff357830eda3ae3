use std::path::Path;

use super::*;

/// A file with this header and `n_data` zero bytes.
fn file(header: &str, n_data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + n_data, 0);
    bytes
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    std::fs::write(folder.join(name), bytes).unwrap();
}

fn open_bytes(bytes: &[u8]) -> Result<SafeTensors, OpenSafeTensorsError> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "model.safetensors", bytes);
    SafeTensors::open(folder.path())
}

/// Opening fails, and the message with its causes says `expected`.
fn check_refused(found: Result<SafeTensors, OpenSafeTensorsError>, expected: &str) {
    let error = found.expect_err(expected);
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    let message = format!("{error}: {cause}");
    assert!(message.contains(expected), "{message:?} does not say {expected:?}");
}

const TWO: &str = r#"{"__metadata__":{"format":"pt"},
    "b":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},
    "a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}  "#;

#[test]
fn a_single_file_is_read() {
    let mut bytes = file(TWO, 16);
    let at = bytes.len() - 16;
    bytes[at..at + 4].copy_from_slice(&2.5_f32.to_le_bytes());
    let checkpoint = open_bytes(&bytes).unwrap();
    let names: Vec<&str> = checkpoint.tensors().map(|tensor| tensor.name).collect();
    assert_eq!(names, ["a", "b"]);
    let (a, b) = (checkpoint.tensor("a").unwrap(), checkpoint.tensor("b").unwrap());
    assert_eq!((a.dtype, a.shape, a.bytes), (Dtype::F32, &[][..], &2.5_f32.to_le_bytes()[..]));
    assert_eq!((b.dtype, b.shape, b.bytes.len()), (Dtype::F16, &[2, 3][..], 12));
    assert_eq!(checkpoint.tensor("c"), None);
}

#[test]
fn files_of_the_kept_crate_are_read() {
    let data: Vec<u8> = (0..24).collect();
    let view = safetensors::tensor::TensorView::new(Dtype::BF16, vec![3, 4], &data).unwrap();
    let bytes = safetensors::serialize([("x", view)], None).unwrap();
    let checkpoint = open_bytes(&bytes).unwrap();
    assert_eq!(checkpoint.tensor("x").unwrap().bytes, data);
}

#[test]
fn damaged_headers_are_refused_with_the_cause() {
    let check = |bytes: &[u8], expected: &str| check_refused(open_bytes(bytes), expected);
    check(b"", "expected 8 bytes, found 0 in all");
    check(&u64::MAX.to_le_bytes(), "expected at most 0, found 18446744073709551615");
    check(&file("[]", 0), "expected an object of tensors");
    check(&file(&TWO[..50], 16), "cannot read its header");
    check(&file(TWO, 15), "an end by 15");
    check(&file(TWO, 17), "expected 16 bytes, found 17");
    let one = |dtype: &str, shape: &str, offsets: &str| {
        let description =
            format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#);
        file(&format!(r#"{{"a":{description}}}"#), 16)
    };
    open_bytes(&one("U8", "[16]", "[0,16]")).unwrap();
    check(&one("U8", "[15]", "[0,16]"), "the bytes of U8 [15], found 0..16");
    check(&one("U8", "[12]", "[4,16]"), "a start at 0");
    check(&one("U8", "[12]", "[16,4]"), "found 16..4");
    check(&one("F4", "[1]", "[0,1]"), "the bytes of F4");
    check(&one("U8", "[18446744073709551615,2]", "[0,16]"), "the bytes of U8");
    check(&one("U8", "[1,1,1,1,1,1,1,1,16]", "[0,16]"), "up to 8 sizes");
    check(&one("U9", "[16]", "[0,16]"), "unknown variant `U9`");
    let twice = r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
        "a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    check(&file(twice, 2), "found \"a\" twice");
}

#[test]
fn two_checkpoints_in_one_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tensor = file(r#"{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}"#, 3);
    let index = |name: &str| {
        let index = format!(r#"{{"weight_map":{{"a":"{name}"}}}}"#);
        write(folder.path(), "model.safetensors.index.json", index.as_bytes());
    };
    write(folder.path(), "model-00001-of-00001.safetensors", &tensor);
    index("model-00001-of-00001.safetensors");
    SafeTensors::open(folder.path()).unwrap();
    write(folder.path(), "model.safetensors", &tensor);
    let expected = "holds both model.safetensors and model.safetensors.index.json";
    check_refused(SafeTensors::open(folder.path()), expected);
    // An index of the one file is no second checkpoint.
    index("model.safetensors");
    SafeTensors::open(folder.path()).unwrap();
}

#[test]
fn shards_are_read_through_their_index() {
    let folder = tempfile::tempdir().unwrap();
    let shard = |name: &str, n: usize| {
        let header =
            format!(r#"{{"{name}":{{"dtype":"U8","shape":[{n}],"data_offsets":[0,{n}]}}}}"#);
        file(&header, n)
    };
    write(folder.path(), "one.safetensors", &shard("a", 3));
    write(folder.path(), "two.safetensors", &shard("b", 5));
    let open = |weight_map: &str| {
        let index = format!(r#"{{"metadata":{{"total_size":8}},"weight_map":{weight_map}}}"#);
        write(folder.path(), "model.safetensors.index.json", index.as_bytes());
        SafeTensors::open(folder.path())
    };
    let checkpoint = open(r#"{"a":"one.safetensors","b":"two.safetensors"}"#).unwrap();
    assert_eq!(checkpoint.tensor("a").unwrap().shape, [3]);
    assert_eq!(checkpoint.tensor("b").unwrap().shape, [5]);
    let marked = b"\xef\xbb\xbf{\"weight_map\":{\"a\":\"one.safetensors\"}}";
    write(folder.path(), "model.safetensors.index.json", marked);
    SafeTensors::open(folder.path()).unwrap();

    let check = |weight_map: &str, expected: &str| check_refused(open(weight_map), expected);
    check(r#"{"a":"two.safetensors"}"#, "expected a in two.safetensors, found none");
    check(r#"{"a":"../one.safetensors"}"#, "found \"../one.safetensors\"");
    check(r#"{"a":"/one.safetensors"}"#, "plain file names");
    check(r#"{"a":"C:one.safetensors"}"#, "plain file names");
    check(r#"{"a":"one.bin"}"#, "plain file names");
    check(r#"{"a":"three.safetensors"}"#, "cannot open");
    check("{}", "at least one tensor");
    check("[]", "an object of tensor names");
    write(folder.path(), "two.safetensors", &shard("a", 5));
    check(r#"{"a":"one.safetensors","a":"two.safetensors"}"#, "found a twice");
}
