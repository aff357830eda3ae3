//! Inline weights as references into their own file.

use super::OnnxModel;
use super::proto::{StringStringEntryProto, TensorProto};

impl OnnxModel {
    /// Turn the main graph's inline weights of at least `n_bytes_min` bytes into external ones that
    /// point into the graph file itself, so that [`OnnxModel::encode`] gives a small message and a
    /// runtime takes the weights from the mapped file. Gives the number of bytes moved out.
    ///
    /// Only weights that still lie in the mapped file are moved; nothing is when the file's name
    /// is not UTF-8. The references are good only while the file is where it was opened.
    pub fn externalize(&mut self, n_bytes_min: usize) -> u64 {
        let Some(location) = self.path.file_name().and_then(|name| name.to_str()) else {
            return 0;
        };
        let location = location.to_owned();
        let file = self.file.clone();
        let mut n_bytes_moved = 0;
        for tensor in &mut self.graph_mut().initializer {
            let Some(raw) = &tensor.raw_data else { continue };
            let n_bytes = raw.len();
            if n_bytes < n_bytes_min.max(1) || tensor.is_external() {
                continue;
            }
            let Some(offset) = offset_in(&file, raw) else { continue };
            refer_to(tensor, &location, offset as u64, n_bytes as u64);
            n_bytes_moved += n_bytes as u64;
        }
        n_bytes_moved
    }
}

/// Make `tensor` an external one.
pub(super) fn refer_to(tensor: &mut TensorProto, location: &str, offset: u64, n_bytes: u64) {
    let entry = |key: &str, value: String| StringStringEntryProto {
        key: Some(key.to_owned()),
        value: Some(value),
    };
    tensor.raw_data = None;
    tensor.data_location = Some(TensorProto::EXTERNAL);
    tensor.external_data = vec![
        entry("location", location.to_owned()),
        entry("offset", offset.to_string()),
        entry("length", n_bytes.to_string()),
    ];
}

/// How far `part` is into `whole`, when it is a slice of it.
fn offset_in(whole: &[u8], part: &[u8]) -> Option<usize> {
    let offset = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let end = offset.checked_add(part.len())?;
    (end <= whole.len()).then_some(offset)
}
