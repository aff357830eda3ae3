//! What a repository holds, as the hub tells it.

use std::collections::BTreeMap;

use serde::Deserialize;
use ureq::http::{HeaderMap, Method};

use crate::pull::hub_file::{Hash, Listed, is_commit};

use super::client::{Client, Failure};

/// What the hub may say about a repository, all parts of its list together.
const N_BYTES_MAX: usize = 64 << 20;
const N_PARTS_MAX: usize = 200;
/// More files than any model has.
const N_FILES_MAX: usize = 100_000;

/// The commit that `revision` of `repo` is now; without a revision, its main branch.
pub(super) fn commit(
    client: &Client<'_>,
    repo: &str,
    revision: Option<&str>,
) -> Result<Option<String>, Failure> {
    #[derive(Deserialize)]
    struct Info {
        sha: Option<String>,
    }
    let parts = ["api", "models"].into_iter().chain(repo.split('/'));
    let parts = parts.chain(revision.map(|revision| ["revision", revision]).into_iter().flatten());
    let (info, _, _) = client.json::<Info>(&client.endpoint.below(parts), N_BYTES_MAX)?;
    // A commit is also the name of a folder, so nothing else may pass for one.
    Ok(info.sha.filter(|sha| is_commit(sha)))
}

/// Every file of `repo` at `commit`, by its path.
pub(super) fn files(
    client: &Client<'_>,
    repo: &str,
    commit: &str,
) -> Result<BTreeMap<String, Listed>, Failure> {
    let parts = ["api", "models"].into_iter().chain(repo.split('/')).chain(["tree", commit]);
    let mut url = format!("{}?recursive=true", client.endpoint.below(parts));
    let mut files = BTreeMap::new();
    let mut n_bytes = 0;
    for _ in 0..N_PARTS_MAX {
        let (entries, next, n_bytes_here) =
            client.json::<Vec<Entry>>(&url, N_BYTES_MAX - n_bytes)?;
        n_bytes += n_bytes_here;
        let entries = entries.into_iter().filter(|entry| entry.kind == "file");
        files.extend(entries.map(|entry| (entry.path.clone(), entry.listed())));
        if N_FILES_MAX < files.len() {
            let reason = format!("it lists more than {N_FILES_MAX} files");
            return Err(Failure::Nonsense(reason));
        }
        url = match next {
            None => return Ok(files),
            Some(next) if client.endpoint.is_origin_of(&next) => next,
            Some(_) => {
                let reason = "it wants the rest of its list to be read from another host";
                return Err(Failure::Nonsense(reason.into()));
            }
        };
    }
    Err(Failure::Nonsense(format!("its list has more than {N_PARTS_MAX} parts")))
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    oid: Option<String>,
    lfs: Option<LargeFile>,
}

/// A file that git keeps a pointer to.
#[derive(Deserialize)]
struct LargeFile {
    #[serde(alias = "sha256")]
    oid: Option<String>,
}

impl Entry {
    fn listed(self) -> Listed {
        let hash = match self.lfs {
            // The other hash is then of the pointer.
            Some(large) => large.oid.and_then(|oid| Hash::sha256(&oid)),
            None => self.oid.and_then(|oid| Hash::git_blob(&oid)),
        };
        Listed { size_bytes: self.size, hash }
    }
}

/// The hash that the hub gives with the file itself, for a list that has none.
pub(super) fn hash_of_file(client: &Client<'_>, url: &str) -> Result<Option<Hash>, Failure> {
    let answer = client.try_often(|| client.ask(&Method::HEAD, url, None))?;
    let linked = |headers: &HeaderMap| {
        let value = headers.get("x-linked-etag")?.to_str().ok()?;
        Hash::sha256(value.trim_start_matches("W/").trim_matches('"'))
    };
    Ok(answer.first_headers.as_ref().and_then(linked).or_else(|| linked(&answer.headers)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_that_can_be_used() {
        let (git, sha) = ("0123456789abcdef0123456789abcdef01234567", "ab".repeat(32));
        let check = |entry: serde_json::Value, expected: Option<Hash>| {
            let mut whole = serde_json::json!({"type": "file", "path": "p", "size": 1});
            whole.as_object_mut().unwrap().extend(entry.as_object().unwrap().clone());
            let entry: Entry = serde_json::from_value(whole).unwrap();
            assert_eq!(entry.listed().hash, expected);
        };
        check(serde_json::json!({"oid": git}), Some(Hash::GitBlob(git.into())));
        check(serde_json::json!({"oid": "ab"}), None);
        check(serde_json::json!({}), None);
        let large = serde_json::json!({"oid": git, "lfs": {"oid": sha, "size": 1}});
        check(large, Some(Hash::Sha256(sha.clone())));
        let named =
            serde_json::json!({"lfs": {"sha256": format!("sha256:{}", sha.to_uppercase())}});
        check(named, Some(Hash::Sha256(sha)));
        // That of the pointer says nothing.
        check(serde_json::json!({"oid": git, "lfs": {"size": 1}}), None);
    }
}
