use std::path::PathBuf;

use super::*;

fn fixture_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/all_types.gguf")
}

fn open_bytes(bytes: &[u8]) -> Result<Gguf, OpenGgufError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    Gguf::open(&path)
}

/// A tensor for [`file`]: name, sizes innermost first, type, offset.
type Described<'a> = (&'a str, &'a [u64], u32, u64);

/// A version 3 file with one encoded metadata entry after the other, and `n_data` zero bytes.
fn file(entries: &[(&str, u32, Vec<u8>)], tensors: &[Described<'_>], n_data: usize) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((entries.len() as u64).to_le_bytes());
    for (key, value_type, value) in entries {
        bytes.extend(string(key));
        bytes.extend(value_type.to_le_bytes());
        bytes.extend(value);
    }
    for (name, sizes, dtype, offset) in tensors {
        bytes.extend(string(name));
        bytes.extend((sizes.len() as u32).to_le_bytes());
        sizes.iter().for_each(|size| bytes.extend(size.to_le_bytes()));
        bytes.extend(dtype.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32) + n_data, 0);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// Opening fails, and the message says `expected`.
fn check_refused(bytes: &[u8], expected: &str) {
    let message = open_bytes(bytes).expect_err(expected).to_string();
    assert!(message.contains(expected), "{message:?} does not say {expected:?}");
}

#[test]
fn every_type_dequantises_as_the_reference_package_does() {
    let gguf = Gguf::open(&fixture_path()).unwrap();
    let names =
        ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"];
    for name in names {
        let tensor = gguf.tensor(name).unwrap();
        assert_eq!(tensor.dtype.to_string(), name);
        assert_eq!(tensor.shape, [2, 256]);
        let mut found = vec![f32::NAN; 512];
        dequantize(tensor.dtype, tensor.bytes, &mut found).unwrap();
        let expected = gguf.tensor(&format!("{name}.expected")).unwrap().bytes;
        let found: Vec<u8> = found.into_iter().flat_map(f32::to_le_bytes).collect();
        assert!(found == expected, "{name} differs");
    }
}

#[test]
fn mxfp4_dequantises_as_the_reference_package_does() {
    let expected: [f32; 32] = [
        -6.0, 2.0, -0.5, -4.0, 1.5, 0.0, -3.0, 1.0, 6.0, -2.0, 0.5, 4.0, -1.5, 0.0, 3.0, -1.0, 6.0,
        -1.0, -2.0, -4.0, 0.5, 1.5, 3.0, 0.0, -1.0, -2.0, -6.0, 0.5, 1.5, 4.0, 0.0, -1.0,
    ];
    let mut block = vec![127_u8];
    block.extend((0..16_u8).map(|index| index.wrapping_mul(37).wrapping_add(127)));
    let mut found = [f32::NAN; 32];
    dequantize(DType::MXFP4, &block, &mut found).unwrap();
    assert_eq!(found, expected);
    // The whole of a block has one power of two, the least of them is no normal float.
    for (exponent, power) in [(120, -7), (130, 3), (0, -127)] {
        block[0] = exponent;
        dequantize(DType::MXFP4, &block, &mut found).unwrap();
        for (found, expected) in found.iter().zip(expected) {
            assert_eq!(f64::from(*found), f64::from(expected) * 2_f64.powi(power));
        }
    }
}

#[test]
fn every_value_type_is_read() {
    let gguf = Gguf::open(&fixture_path()).unwrap();
    let check = |key: &str, expected: Value<'_>| {
        assert_eq!(gguf.get(&format!("value.{key}")), Some(expected), "{key}");
    };
    check("uint8", Value::Integer(u8::MAX.into()));
    check("int8", Value::Integer(i8::MIN.into()));
    check("uint16", Value::Integer(u16::MAX.into()));
    check("int16", Value::Integer(i16::MIN.into()));
    check("uint32", Value::Integer(u32::MAX.into()));
    check("int32", Value::Integer(i32::MIN.into()));
    check("uint64", Value::Integer(u64::MAX.into()));
    check("int64", Value::Integer(i64::MIN.into()));
    check("float32", Value::Float(0.5));
    check("float64", Value::Float(0.1));
    check("bool", Value::Bool(true));
    check("string", Value::String("Ä lapwing".as_bytes()));
    let array = gguf.get("value.array").unwrap().as_array().unwrap();
    let numbers: Vec<Value<'_>> = array.iter().collect();
    assert_eq!(numbers, [Value::Integer(-1), Value::Integer(0), Value::Integer(7)]);
    let strings = gguf.get("value.strings").unwrap().as_array().unwrap();
    let strings: Vec<&str> = strings.iter().map(|value| value.as_str().unwrap()).collect();
    assert_eq!(strings, ["a", "", "ü"]);
    assert_eq!(gguf.get("value.none"), None);
    assert_eq!((gguf.version(), gguf.alignment()), (3, 32));
}

#[test]
fn arrays_in_arrays_are_read_up_to_a_depth() {
    // An array of one array of two bytes.
    let inner = [&0_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &[5, 6]].concat();
    let outer = [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &inner].concat();
    let gguf = open_bytes(&file(&[("nested", 9, outer)], &[], 0)).unwrap();
    let outer = gguf.get("nested").unwrap().as_array().unwrap();
    let inner = outer.iter().next().unwrap().as_array().unwrap();
    assert_eq!(inner.iter().collect::<Vec<_>>(), [Value::Integer(5), Value::Integer(6)]);

    let level = [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes()].concat();
    check_refused(&file(&[("deep", 9, level.repeat(9))], &[], 0), "at most 4 arrays");
}

#[test]
fn shapes_are_outermost_first_and_bytes_are_the_tensors_own() {
    let tensors: &[Described<'_>] = &[("a", &[3, 2], 0, 0), ("b", &[], 0, 32)];
    let mut bytes = file(&[], tensors, 36);
    let n_bytes = bytes.len();
    bytes[n_bytes - 4..].copy_from_slice(&1.5_f32.to_le_bytes());
    let gguf = open_bytes(&bytes).unwrap();
    assert_eq!(gguf.tensor("a").unwrap().shape, [2, 3]);
    assert_eq!(gguf.tensor("a").unwrap().bytes.len(), 24);
    assert_eq!(gguf.tensor("b").unwrap().bytes, 1.5_f32.to_le_bytes());
    assert_eq!(gguf.tensors().map(|tensor| tensor.name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(gguf.tensor("c"), None);
}

#[test]
fn alignment_of_the_file_is_honoured() {
    let entry = ("general.alignment", 4, 64_u32.to_le_bytes().to_vec());
    let mut bytes = file(std::slice::from_ref(&entry), &[("a", &[1], 0, 64)], 0);
    bytes.resize(bytes.len().next_multiple_of(64) + 68, 7);
    let gguf = open_bytes(&bytes).unwrap();
    assert_eq!(gguf.tensor("a").unwrap().file_offset, bytes.len() - 4);
    check_refused(&file(&[entry], &[("a", &[1], 0, 32)], 99), "expected a multiple of 64");
    let odd = ("general.alignment", 4, 24_u32.to_le_bytes().to_vec());
    check_refused(&file(&[odd], &[], 0), "expected a power of two");
}

#[test]
fn unknown_and_unread_types_are_listed_but_not_dequantised() {
    let gguf = open_bytes(&file(&[], &[("a", &[256], 10, 0), ("b", &[7], 999, 96)], 96)).unwrap();
    assert_eq!(gguf.tensor("a").unwrap().dtype.to_string(), "Q2_K");
    assert_eq!(gguf.tensor("a").unwrap().bytes.len(), 84);
    assert_eq!(gguf.tensor("b").unwrap().dtype.to_string(), "type 999");
    assert!(gguf.tensor("b").unwrap().bytes.is_empty());
    for name in ["a", "b"] {
        let tensor = gguf.tensor(name).unwrap();
        let found = dequantize(tensor.dtype, tensor.bytes, &mut [0.0; 256]);
        assert_eq!(found, Err(DequantizeError::Type { dtype: tensor.dtype }));
    }
}

#[test]
fn lengths_that_do_not_fit_are_not_dequantised() {
    for (n_bytes, n_elements) in [(17, 32), (19, 32), (18, 31), (18, 64), (0, 32), (18, 0)] {
        let found = dequantize(DType::Q4_0, &vec![0; n_bytes], &mut vec![0.0; n_elements]);
        assert!(matches!(found, Err(DequantizeError::Length { .. })), "{n_bytes} {n_elements}");
    }
    assert_eq!(dequantize(DType::Q4_0, &[], &mut []), Ok(()));
}

#[test]
fn damaged_files_are_refused_with_the_cause() {
    check_refused(b"", "magic at byte 0: expected 4 bytes, found 0");
    check_refused(b"GGML\x03\0\0\0", "expected GGUF");
    check_refused(b"GGUF\x01\0\0\0", "expected 2 or 3, found 1");
    check_refused(b"GGUF\0\0\0\x03", "found a big-endian file");
    let mut claims = file(&[], &[], 0);
    claims[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    check_refused(&claims, "until the end of the file");
    claims[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    check_refused(&claims, "value type at byte 32");
    let one = |key: &'static str| (key, 0, vec![1]);
    check_refused(&file(&[one("k"), one("k")], &[], 0), "found \"k\" twice");
    check_refused(&file(&[one("")], &[], 0), "expected UTF-8 text");
    check_refused(&file(&[("k", 13, vec![])], &[], 0), "expected 0 to 12, found 13");
    let long = [&4_u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
    check_refused(&file(&[("k", 9, long)], &[], 0), "metadata array");
}

#[test]
fn tensors_out_of_place_are_refused_with_the_cause() {
    let check = |tensors: &[Described<'_>], expected: &str| {
        check_refused(&file(&[], tensors, 64), expected);
    };
    check(&[("a", &[17], 0, 0)], "data of a");
    check(&[("a", &[1], 0, 64)], "data of a");
    check(&[("a", &[1], 0, 8)], "expected a multiple of 32, found 8");
    check(&[("a", &[1], 0, u64::MAX - 31)], "data of a");
    check(&[("a", &[9], 0, 0), ("b", &[1], 0, 32)], "the end of a");
    check(&[("a", &[1], 0, 0), ("a", &[1], 0, 32)], "found \"a\" twice");
    check(&[("a", &[1; 5], 0, 0)], "expected at most 4, found 5");
    check(&[("a", &[31], 2, 0)], "rows of whole Q4_0 blocks of 32");
    check(&[("a", &[1 << 40, 1 << 40], 0, 0)], "below 2^64");
}

/// Write a model of one tensor a part as `NAME-0000i-of-0000n.gguf`, each byte its number.
fn write_parts(folder: &std::path::Path, names: &[&str], n_parts: u16) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for (part, name) in (0_u16..).zip(names) {
        let entries = [
            ("split.no", 2, part.to_le_bytes().to_vec()),
            ("split.count", 2, n_parts.to_le_bytes().to_vec()),
            ("split.tensors.count", 5, i32::from(n_parts).to_le_bytes().to_vec()),
            ("general.name", 8, string(&format!("of part {part}"))),
        ];
        let mut bytes = file(&entries, &[(name, &[2], 0, 0)], 8);
        let n_bytes = bytes.len();
        bytes[n_bytes - 8..].fill(part as u8 + 1);
        let name = SplitName { stem: "m-q8_0", number: part + 1, n_parts }.of_part(part + 1);
        paths.push(folder.join(name));
        std::fs::write(&paths[usize::from(part)], bytes).unwrap();
    }
    paths
}

#[test]
fn any_part_opens_the_whole_model() {
    let folder = tempfile::tempdir().unwrap();
    let paths = write_parts(folder.path(), &["a", "c", "b"], 3);
    for path in &paths {
        let gguf = Gguf::open(path).unwrap();
        assert_eq!(gguf.paths().collect::<Vec<_>>(), paths.iter().collect::<Vec<_>>());
        assert_eq!(gguf.path(), paths[0]);
        assert_eq!(gguf.get("general.name").unwrap().as_str(), Some("of part 0"));
        assert_eq!(gguf.tensors().map(|tensor| tensor.name).collect::<Vec<_>>(), ["a", "c", "b"]);
        for (name, byte) in [("a", 1), ("b", 3), ("c", 2)] {
            assert_eq!(gguf.tensor(name).unwrap().bytes, [byte; 8], "{name}");
        }
    }
}

#[test]
fn parts_that_are_no_whole_model_are_refused_with_the_cause() {
    let folder = tempfile::tempdir().unwrap();
    let check = |path: &PathBuf, expected: &str| {
        let message = Gguf::open(path).expect_err(expected).to_string();
        assert!(message.contains(expected), "{message:?} does not say {expected:?}");
    };
    let paths = write_parts(folder.path(), &["a", "b", "c"], 3);
    let second = std::fs::read(&paths[1]).unwrap();
    std::fs::remove_file(&paths[1]).unwrap();
    check(&paths[0], "one of 3 parts; missing beside it: m-q8_0-00002-of-00003.gguf");
    // Another file in its place.
    std::fs::copy(&paths[2], &paths[1]).unwrap();
    check(&paths[0], "by its name it is part 2 of 3");
    std::fs::write(&paths[1], &second[..second.len() - 1]).unwrap();
    check(&paths[0], "data of b");
    std::fs::write(&paths[1], &second).unwrap();
    Gguf::open(&paths[0]).unwrap();

    let renamed = folder.path().join("part1.gguf");
    std::fs::copy(&paths[0], &renamed).unwrap();
    check(&renamed, "part 1 of 3, and only names such as NAME-00001-of-00003.gguf");
    let paths = write_parts(folder.path(), &["a", "b", "a"], 3);
    check(&paths[1], "found \"a\" twice");
    let few = tempfile::tempdir().unwrap();
    let paths = write_parts(few.path(), &["a"], 40_000);
    check(&paths[0], "m-q8_0-00005-of-40000.gguf and more");
    let claims = |count: u16| {
        let number = |value: u16| value.to_le_bytes().to_vec();
        file(&[("split.no", 2, number(7)), ("split.count", 2, number(count))], &[], 0)
    };
    check_refused(&claims(7), "split.no: expected a number below split.count (7), found 7");
    // One part is all there is, whatever its number.
    open_bytes(&claims(1)).unwrap();
}
