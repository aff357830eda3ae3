//! One copy on disk of what two natives bring alike.

use std::path::Path;

use lapwing_files::checksum;

/// Make every file of `new` that is the same as its namesake in `other` a second name of that one.
/// Either folder can be removed then without harm to the other. What cannot be linked stays a copy.
pub(super) fn share(new: &Path, other: &Path, stop: &dyn Fn() -> bool) {
    for entry in std::fs::read_dir(new).into_iter().flatten().flatten() {
        let (copy, namesake) = (entry.path(), other.join(entry.file_name()));
        let is_file = |path: &Path| path.symlink_metadata().is_ok_and(|file| file.is_file());
        if !is_file(&copy) || !is_file(&namesake) || !are_equal(&copy, &namesake, stop) {
            continue;
        }
        let link = new.join(".link");
        let linked =
            std::fs::hard_link(&namesake, &link).and_then(|()| std::fs::rename(&link, &copy));
        if let Err(error) = linked {
            tracing::debug!(file = %copy.display(), %error, "stays a copy");
        }
    }
}

fn are_equal(one: &Path, other: &Path, stop: &dyn Fn() -> bool) -> bool {
    let n_bytes = |path: &Path| path.metadata().ok().map(|file| file.len());
    let sha256 = |path: &Path| checksum::sha256_file(path, &mut |_| {}, stop).ok();
    let lengths = (n_bytes(one), n_bytes(other));
    lengths.0.is_some() && lengths.0 == lengths.1 && {
        let found = sha256(one);
        found.is_some() && found == sha256(other)
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[cfg(unix)]
    #[test]
    fn only_what_is_equal_is_shared_and_nothing_changes_its_bytes() {
        use std::os::unix::fs::MetadataExt;

        let (new, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (folder, files) in [
            (&new, [("same", "1"), ("changed", "2"), ("alone", "3")]),
            (&other, [("same", "1"), ("changed", "4"), ("elsewhere", "3")]),
        ] {
            for (name, text) in files {
                std::fs::write(folder.path().join(name), text).unwrap();
            }
        }
        share(new.path(), other.path(), &|| false);
        let check = |name: &str, text: &str, n_names: u64| {
            let path = new.path().join(name);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(path.metadata().unwrap().nlink(), n_names, "{name}");
        };
        check("same", "1", 2);
        check("changed", "2", 1);
        check("alone", "3", 1);
        assert_eq!(std::fs::read_dir(new.path()).unwrap().count(), 3);
        std::fs::remove_dir_all(other.path()).unwrap();
        check("same", "1", 1);
    }
}
