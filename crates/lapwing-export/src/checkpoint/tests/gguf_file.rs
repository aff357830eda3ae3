//! Writes small GGUF files for tests.

use std::path::{Path, PathBuf};

/// A GGUF file in the making.
#[derive(Clone, Default)]
pub(crate) struct GgufFile {
    entries: Vec<(String, Vec<u8>)>,
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl GgufFile {
    /// Metadata; an entry of the same key gives way.
    fn entry(&mut self, key: &str, value_type: u32, value: Vec<u8>) -> &mut GgufFile {
        let bytes = [value_type.to_le_bytes().to_vec(), value].concat();
        self.entries.retain(|(other, _)| other != key);
        self.entries.push((key.to_owned(), bytes));
        self
    }

    pub(crate) fn u32(&mut self, key: &str, value: u32) -> &mut GgufFile {
        self.entry(key, 4, value.to_le_bytes().to_vec())
    }

    pub(crate) fn f32(&mut self, key: &str, value: f32) -> &mut GgufFile {
        self.entry(key, 6, value.to_le_bytes().to_vec())
    }

    pub(crate) fn bool(&mut self, key: &str, value: bool) -> &mut GgufFile {
        self.entry(key, 7, vec![value.into()])
    }

    pub(crate) fn string(&mut self, key: &str, value: &str) -> &mut GgufFile {
        self.entry(key, 8, string(value))
    }

    pub(crate) fn strings(&mut self, key: &str, values: &[String]) -> &mut GgufFile {
        self.list(key, 8, values.len(), values.iter().flat_map(|value| string(value)).collect())
    }

    pub(crate) fn i32s(&mut self, key: &str, values: &[i32]) -> &mut GgufFile {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.list(key, 5, values.len(), bytes)
    }

    pub(crate) fn f32s(&mut self, key: &str, values: &[f32]) -> &mut GgufFile {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.list(key, 6, values.len(), bytes)
    }

    fn list(&mut self, key: &str, value_type: u32, n: usize, values: Vec<u8>) -> &mut GgufFile {
        let head = [&value_type.to_le_bytes()[..], &(n as u64).to_le_bytes()].concat();
        self.entry(key, 9, [head, values].concat())
    }

    /// A tensor of F32, its shape outermost first; one of the same name gives way.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32]) -> &mut GgufFile {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
        self.tensors.retain(|(other, ..)| other != name);
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensors.push((name.to_owned(), shape.to_vec(), bytes));
        self
    }

    pub(crate) fn without_tensor(&mut self, name: &str) -> &mut GgufFile {
        self.tensors.retain(|(other, ..)| other != name);
        self
    }

    /// Write the file as `model.gguf`.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            bytes.extend(string(key));
            bytes.extend(value);
        }
        let mut data: Vec<u8> = Vec::new();
        for (name, shape, values) in &self.tensors {
            bytes.extend(string(name));
            bytes.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|&size| bytes.extend((size as u64).to_le_bytes()));
            bytes.extend(0_u32.to_le_bytes());
            bytes.extend((data.len() as u64).to_le_bytes());
            data.extend(values);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(data);
        let path = folder.join("model.gguf");
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}
