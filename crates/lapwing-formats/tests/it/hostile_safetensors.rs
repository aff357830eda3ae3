//! Ten thousand damaged safetensors files and as many damaged indexes: each is read or refused,
//! quickly and within its memory.

use std::hint::black_box;
use std::path::Path;

use lapwing_formats::safetensors::{Dtype, SafeTensors, SafeTensorsFile};

use crate::hostile;

const N_MUTATIONS: usize = 10_000;

/// A file of `n_tensors` small tensors, written by the kept crate.
fn seed_file(n_tensors: usize) -> Vec<u8> {
    let data = [7_u8; 24];
    let view = |dtype, shape: &[usize]| {
        safetensors::tensor::TensorView::new(dtype, shape.to_vec(), &data).expect("24 bytes")
    };
    let tensors = (0..n_tensors).map(|tensor_idx| {
        let view =
            if tensor_idx % 2 == 0 { view(Dtype::F32, &[2, 3]) } else { view(Dtype::BF16, &[12]) };
        (format!("model.layers.{tensor_idx}.weight"), view)
    });
    safetensors::serialize(tensors, None).expect("the tensors are valid")
}

#[test]
fn mutated_files_neither_panic_nor_hang_nor_fill_the_memory() {
    hostile::check_mutations(&seed_file(40), N_MUTATIONS, |path| {
        let Ok(file) = SafeTensorsFile::open(path) else { return };
        for tensor in file.tensors() {
            black_box((tensor.name, tensor.shape, tensor.bytes.iter().max()));
        }
    });
}

#[test]
fn mutated_indexes_neither_panic_nor_hang_nor_fill_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("one.safetensors"), seed_file(10)).unwrap();
    let entries: Vec<String> = (0..10)
        .map(|index| format!(r#""model.layers.{index}.weight":"one.safetensors""#))
        .collect();
    let index = format!(r#"{{"metadata":{{}},"weight_map":{{{}}}}}"#, entries.join(","));
    let name = "model.safetensors.index.json";
    let read = |path: &Path| {
        black_box(SafeTensors::open_index(path).is_ok());
    };
    hostile::check_mutations_in(folder.path(), name, index.as_bytes(), N_MUTATIONS, read);
}

#[test]
fn keys_that_are_no_tensors_reserve_no_table() {
    // One tensor, then keys of five bytes each.
    let mut header = String::from(r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#);
    (0..100_000).for_each(|_| header.push_str(r#","":0"#));
    header.push('}');
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.safetensors");
    std::fs::write(&path, &bytes).unwrap();
    let peak = hostile::peak_allocation(|| assert!(SafeTensorsFile::open(&path).is_err()));
    assert!(peak < 4 * bytes.len(), "{peak} for {}", bytes.len());
}

#[test]
fn tensors_in_the_shortest_form_stay_within_four_times_the_file() {
    let entries = (0..20_000).map(|i| format!(r#""{i}":["U8",[],[{i},{}]]"#, i + 1));
    let header = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
    let mut bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    bytes.resize(bytes.len() + 20_000, 0);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.safetensors");
    std::fs::write(&path, &bytes).unwrap();
    let mut n_read = 0;
    let peak =
        hostile::peak_allocation(|| n_read = SafeTensorsFile::open(&path).unwrap().tensors().len());
    assert_eq!(n_read, 20_000);
    assert!(peak < 4 * bytes.len(), "{peak} for {}", bytes.len());
}

#[test]
fn many_small_tensors_stay_within_four_times_the_file() {
    let entries: Vec<String> = (0..20_000)
        .map(|i| {
            format!(r#""{i}":{{"dtype":"U8","shape":[0,1,1,1,1,1,1,1],"data_offsets":[0,0]}}"#)
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.safetensors");
    std::fs::write(&path, &bytes).unwrap();
    let mut n_read = 0;
    let peak =
        hostile::peak_allocation(|| n_read = SafeTensorsFile::open(&path).unwrap().tensors().len());
    assert_eq!(n_read, 20_000);
    assert!(peak < 4 * bytes.len(), "{peak} for {}", bytes.len());
}
