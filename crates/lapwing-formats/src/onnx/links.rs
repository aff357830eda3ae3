//! Weights whose files are links, as in every snapshot of Hugging Face's cache.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};

use super::OnnxModel;
use super::external::ExternalError;
use super::proto::TensorProto;
use super::tensors::Stop;

/// Why a runtime cannot be told where weights behind links are.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum FollowLinksError {
    /// The system does not say where the file is.
    #[error("cannot find the file behind {}", path.display())]
    Find { path: PathBuf, source: io::Error },
    /// The files have no folder in common, as on several drives, or names that are not UTF-8.
    #[error("a graph cannot name {} among the files of its weights", path.display())]
    Unnameable { path: PathBuf },
    /// A tensor does not say where it is, or a subgraph is malformed.
    #[error("a tensor in another file cannot be found")]
    Tensor(#[source] ExternalError),
}

impl OnnxModel {
    /// Make weights that lie in other files refer to where links lead, and give the folder that
    /// locations are then relative to: [`OnnxModel::folder`] where nothing is a link, else the
    /// innermost folder that holds all the real files.
    ///
    /// Runtimes refuse a location that leads out of the folder they are told, also through a link.
    ///
    /// # Errors
    ///
    /// When a file is gone, or there is no such folder.
    pub fn follow_links(&mut self) -> Result<PathBuf, FollowLinksError> {
        let folder = self.folder().to_owned();
        let located = self.tensor_files().map_err(FollowLinksError::Tensor)?;
        let mut files: BTreeMap<_, _> =
            located.into_iter().map(|location| (location, PathBuf::new())).collect();
        let real_folder = real(&folder.join("."))?;
        let mut is_any_elsewhere = false;
        for (location, file) in &mut files {
            *file = real(&folder.join(location))?;
            is_any_elsewhere |= *file != real_folder.join(location);
        }
        if !is_any_elsewhere {
            return Ok(folder);
        }
        let common = common_folder(files.values()).unwrap_or_default();
        let mut names = BTreeMap::new();
        for (location, path) in files {
            let name = path.strip_prefix(&common).ok().and_then(Path::to_str).map(str::to_owned);
            let is_named = name.filter(|_| common.is_absolute());
            names.insert(location, is_named.ok_or(FollowLinksError::Unnameable { path })?);
        }
        let renamed = &mut |tensor: &mut TensorProto| Ok::<_, Infallible>(rename(tensor, &names));
        self.edit_tensors(renamed).map_err(|stop| match stop {
            Stop::Failed(never) => match never {},
            Stop::Unreadable { node } => {
                let problem = format!("node {node} cannot be read");
                FollowLinksError::Tensor(ExternalError { problem, source: None })
            }
        })?;
        Ok(common)
    }
}

/// Give what lies in another file its new location; whether that was so.
fn rename(tensor: &mut TensorProto, names: &BTreeMap<String, String>) -> bool {
    let mut is_changed = false;
    for entry in tensor.external_data.iter_mut().filter(|entry| entry.key() == "location") {
        if let Some(name) = entry.value.as_ref().and_then(|location| names.get(location)) {
            entry.value = Some(name.clone());
            is_changed = true;
        }
    }
    is_changed
}

fn real(path: &Path) -> Result<PathBuf, FollowLinksError> {
    let found = path.canonicalize();
    found.map_err(|source| FollowLinksError::Find { path: path.to_owned(), source })
}

/// The innermost folder that holds all of `files`.
fn common_folder<'a>(files: impl Iterator<Item = &'a PathBuf> + Clone) -> Option<PathBuf> {
    let mut folder = files.clone().next()?.parent()?;
    while !files.clone().all(|file| file.starts_with(folder)) {
        folder = folder.parent()?;
    }
    Some(folder.to_owned())
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use prost::Message as _;

    use super::super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto};
    use super::super::tensors::tests::{external as weight, models};
    use super::super::{ElementType, Place, Value};
    use super::*;

    /// A graph with these weights, `inner` ones two bodies deep, written at `path`.
    fn write(path: &Path, outer: &[&str], inner: &[&str]) {
        let mut body = GraphProto {
            initializer: inner.iter().copied().map(weight).collect(),
            ..GraphProto::default()
        };
        for _ in 0..2 {
            let mut branch = AttributeProto::int("then_branch", 0);
            branch.g = Some(body.encode_to_vec().into());
            let node = NodeProto::new("", "If", &["flag"], &["y"]).with(branch);
            body = GraphProto { node: vec![node.encoded()], ..GraphProto::default() };
        }
        let plain = NodeProto::new("", "Add", &["a", "b"], &["c"]).encoded();
        body.node.push(plain);
        body.initializer = outer.iter().copied().map(weight).collect();
        body.output = vec![Value::to_proto("y", ElementType::F32, &[])];
        let model = ModelProto { graph: Some(body), ..ModelProto::default() };
        fs::write(path, model.encode_to_vec()).unwrap();
    }

    /// Open `graph`, and check which files its weights are in when links were followed.
    #[track_caller]
    fn check(graph: &Path, folder: &Path, expected: &[&str]) {
        let mut model = OnnxModel::open(graph).unwrap();
        assert_eq!(model.follow_links().unwrap(), folder);
        let expected = expected.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(model.tensor_files().unwrap(), expected);
        // What a runtime reads.
        let written = folder.join(".lapwing-written.onnx");
        fs::write(&written, model.encode()).unwrap();
        OnnxModel::open(&written).unwrap();
        fs::remove_file(&written).unwrap();
    }

    fn real_tempdir() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        (folder, real)
    }

    #[test]
    fn without_links_nothing_changes() {
        let (_folder, root) = real_tempdir();
        fs::create_dir(root.join("sub")).unwrap();
        for name in ["a.data", "sub/b.data"] {
            fs::write(root.join(name), [0; 24]).unwrap();
        }
        write(&root.join("model.onnx"), &["a.data", "./a.data"], &["sub/b.data"]);
        let before = OnnxModel::open(&root.join("model.onnx")).unwrap().encode();
        check(&root.join("model.onnx"), &root, &["a.data", "./a.data", "sub/b.data"]);
        let mut model = OnnxModel::open(&root.join("model.onnx")).unwrap();
        model.follow_links().unwrap();
        assert!(model.encode() == before);
    }

    #[test]
    fn files_of_a_snapshot_are_found_among_the_blobs() {
        let (_folder, root) = real_tempdir();
        let (blobs, snapshot) = (root.join("blobs"), root.join("snapshots/01"));
        fs::create_dir_all(&blobs).unwrap();
        fs::create_dir_all(snapshot.join("onnx")).unwrap();
        fs::write(blobs.join("ab12"), [0; 24]).unwrap();
        fs::write(blobs.join("cd34"), [0; 24]).unwrap();
        write(&blobs.join("ef56"), &["model.onnx_data"], &["model.onnx_data_1"]);
        let links = [("model.onnx", "ef56"), ("model.onnx_data", "ab12")];
        for (name, blob) in links.into_iter().chain([("model.onnx_data_1", "cd34")]) {
            symlink(format!("../../../blobs/{blob}"), snapshot.join("onnx").join(name)).unwrap();
        }
        let graph = snapshot.join("onnx/model.onnx");
        check(&graph, &blobs, &["ab12", "cd34"]);
    }

    #[test]
    fn inline_weights_are_taken_from_the_file_behind_the_graphs_link() {
        let (_folder, root) = real_tempdir();
        let (blobs, snapshot) = (root.join("blobs"), root.join("snapshot"));
        fs::create_dir(&blobs).unwrap();
        fs::create_dir(&snapshot).unwrap();
        let fixture = include_bytes!("../../tests/data/inline.onnx");
        fs::write(blobs.join("ab12"), fixture).unwrap();
        symlink("../blobs/ab12", snapshot.join("model.onnx")).unwrap();
        let mut model = OnnxModel::open(&snapshot.join("model.onnx")).unwrap();
        assert!(0 < model.externalize(1));
        assert_eq!(model.follow_links().unwrap(), blobs);
        let external = model.initializers().find_map(|weight| match weight.place {
            Place::External(range) => Some(range.location),
            Place::Inline => None,
        });
        assert_eq!(external.as_deref(), Some("ab12"));
    }

    #[test]
    fn files_that_lie_far_apart_are_named_from_the_folder_above_them() {
        let (_folder, root) = real_tempdir();
        for name in ["one/deep", "two", "model"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::write(root.join("one/deep/a"), [0; 24]).unwrap();
        fs::write(root.join("two/b"), [0; 24]).unwrap();
        fs::write(root.join("model/c.data"), [0; 24]).unwrap();
        symlink(root.join("one/deep/a"), root.join("model/a.data")).unwrap();
        symlink(root.join("two/b"), root.join("model/b.data")).unwrap();
        let graph = root.join("model/model.onnx");
        write(&graph, &["a.data", "b.data"], &["c.data"]);
        check(&graph, &root, &["one/deep/a", "two/b", "model/c.data"]);
    }

    #[test]
    fn a_link_to_the_whole_folder_changes_nothing() {
        let (_folder, root) = real_tempdir();
        fs::create_dir(root.join("real")).unwrap();
        fs::write(root.join("real/a.data"), [0; 24]).unwrap();
        write(&root.join("real/model.onnx"), &["a.data"], &[]);
        symlink(root.join("real"), root.join("link")).unwrap();
        check(&root.join("link/model.onnx"), &root.join("link"), &["a.data"]);
    }

    #[test]
    fn a_tensor_is_found_behind_its_link_wherever_it_is_in_the_model() {
        for (place, proto) in models("w.data") {
            let (_folder, root) = real_tempdir();
            for name in ["blobs", "snapshot"] {
                fs::create_dir(root.join(name)).unwrap();
            }
            fs::write(root.join("blobs/ab12"), [0; 24]).unwrap();
            symlink("../blobs/ab12", root.join("snapshot/w.data")).unwrap();
            let graph = root.join("snapshot/model.onnx");
            fs::write(&graph, proto.encode_to_vec()).unwrap();
            println!("{place}");
            check(&graph, &root.join("blobs"), &["ab12"]);
            // Of which none is there, none is used.
            fs::remove_file(root.join("blobs/ab12")).unwrap();
            let error = OnnxModel::open(&graph).unwrap_err();
            let says = format!("{:?}", error);
            assert!(says.contains("cannot find"), "{place}: {says}");
        }
    }
}
