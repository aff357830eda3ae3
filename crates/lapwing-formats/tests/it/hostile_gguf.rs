//! Ten thousand damaged GGUF files: each is read or refused, quickly and within its memory.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use lapwing_formats::gguf::{Gguf, Value, dequantize};

use crate::hostile;

/// Everything that an open file offers.
fn read(path: &Path) {
    let Ok(gguf) = Gguf::open(path) else { return };
    for (key, value) in gguf.metadata() {
        black_box((key, value.as_str()));
        if let Value::Array(array) = value {
            black_box(array.iter().filter(|element| element.as_str().is_some()).count());
        }
    }
    for tensor in gguf.tensors() {
        let n_elements = tensor.shape.iter().product::<usize>();
        if n_elements <= 512 {
            black_box(
                dequantize(tensor.dtype, tensor.bytes, &mut [0.0; 512][..n_elements]).is_ok(),
            );
        }
    }
}

#[test]
fn mutations_neither_panic_nor_hang_nor_fill_the_memory() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/all_types.gguf");
    let seed_file = std::fs::read(path).unwrap();
    hostile::check_mutations(&seed_file, 8_000, read);
    // The structure alone, so that most mutations hit it.
    let n_structure = 1_400;
    hostile::check_mutations(&seed_file[..n_structure], 2_000, read);
}

#[test]
fn many_small_entries_stay_within_four_times_the_file() {
    let n = 20_000_u64;
    let mut bytes = [&b"GGUF\x03\0\0\0"[..], &n.to_le_bytes(), &n.to_le_bytes()].concat();
    for index in 0..n {
        let key = index.to_string();
        bytes.extend((key.len() as u64).to_le_bytes());
        bytes.extend(key.as_bytes());
        bytes.extend([0, 0, 0, 0, 7]);
    }
    for index in 0..n {
        let name = index.to_string();
        bytes.extend((name.len() as u64).to_le_bytes());
        bytes.extend(name.as_bytes());
        // No dimension, an unknown type, offset 0.
        bytes.extend([0, 0, 0, 0, 99, 0, 0, 0]);
        bytes.extend(0_u64.to_le_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.gguf");
    std::fs::write(&path, &bytes).unwrap();
    let mut n_read = 0;
    let peak = hostile::peak_allocation(|| n_read = Gguf::open(&path).unwrap().tensors().len());
    assert_eq!(n_read, 20_000);
    assert!(peak < 4 * bytes.len(), "{peak} for {}", bytes.len());
}
