//! Models in several files: each says how many there are and which it is.
//!
//! Source: llama.cpp, `llama_split_path` and the keys that `llama-gguf-split` writes.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::cursor::Cursor;
use super::{Gguf, OpenGgufError, TensorEntry, refuse_twice, sorted_by};
use crate::Map;

/// How many of the files that are missing are named.
const N_NAMED_MAX: usize = 4;

/// The name of a part: `model-00001-of-00003.gguf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitName<'a> {
    /// What the parts have in common: `model`, with the folders before it.
    pub stem: &'a str,
    /// Which part this is, from 1 on.
    pub number: u16,
    /// How many parts there are.
    pub n_parts: u16,
}

impl<'a> SplitName<'a> {
    /// Read the name of a file; none when it is not that of a part.
    pub fn parse(name: &'a str) -> Option<SplitName<'a>> {
        let (rest, n_parts) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (stem, number) = rest.rsplit_once('-')?;
        let five_digits = |text: &str| {
            let fits = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
            fits.then(|| text.parse().ok()).flatten()
        };
        let name = SplitName { stem, number: five_digits(number)?, n_parts: five_digits(n_parts)? };
        (1 <= name.number && name.number <= name.n_parts).then_some(name)
    }

    /// The name of another part of the same model.
    #[must_use]
    pub fn of_part(&self, number: u16) -> String {
        format!("{}-{number:05}-of-{:05}.gguf", self.stem, self.n_parts)
    }
}

/// The file that stands for the one model that these GGUF files are: the only one, or the first of
/// all its parts. None when they are several models, or none.
pub fn only_model(paths: &[PathBuf]) -> Option<&Path> {
    if let [only] = paths {
        return Some(only);
    }
    let parts = SplitName::parse(paths.first()?.to_str()?)?;
    if paths.len() != usize::from(parts.n_parts) {
        return None;
    }
    let there: HashSet<&Path> = paths.iter().map(PathBuf::as_path).collect();
    let is_there = |number: u16| there.get(Path::new(&parts.of_part(number))).copied();
    let first = is_there(1)?;
    (2..=parts.n_parts).all(|number| is_there(number).is_some()).then_some(first)
}

/// The whole model that `part` belongs to; `part` itself when it is all of it.
pub(super) fn whole(part: Gguf) -> Result<Gguf, OpenGgufError> {
    if part.get("split.count").is_none_or(|n_parts| n_parts.as_u64().is_some_and(|n| n <= 1)) {
        return Ok(part);
    }
    let path = part.path().to_owned();
    let wrong = |problem: String| OpenGgufError::Split { path: path.clone(), problem };
    let Some((number, n_parts)) = told_place(&part) else {
        let shown = |key: &str| match part.get(key).map(|value| value.as_u64()) {
            None => "none".to_owned(),
            Some(None) => "no number".to_owned(),
            Some(Some(number)) => number.to_string(),
        };
        let [number, n_parts] = ["split.no", "split.count"].map(shown);
        return Err(wrong(format!(
            "split.no: expected a number below split.count ({n_parts}), found {number}"
        )));
    };
    let name = path.file_name().and_then(|name| name.to_str()).and_then(SplitName::parse);
    let Some(name) = name.filter(|name| (name.number, name.n_parts) == (number, n_parts)) else {
        let expected = SplitName { stem: "NAME", number, n_parts }.of_part(number);
        return Err(wrong(format!(
            "it is part {number} of {n_parts}, and only names such as {expected} tell the others"
        )));
    };
    let sibling = |number: u16| path.with_file_name(name.of_part(number));
    require_all(&path, n_parts, &sibling)?;
    let mut own = Some(part);
    let mut parts = Vec::new();
    for number in 1..=n_parts {
        let path = sibling(number);
        let part = match own.take_if(|own| own.path() == path) {
            Some(own) => own,
            None => Gguf::read(Map::open(&path)?)?,
        };
        if told_place(&part) != Some((number, n_parts)) {
            let problem = format!("by its name it is part {number} of {n_parts}, by its keys not");
            return Err(OpenGgufError::Split { path, problem });
        }
        parts.push(part);
    }
    joined(parts)
}

/// Which part of how many a file says that it is, from 1 on.
fn told_place(part: &Gguf) -> Option<(u16, u16)> {
    let number = |key: &str| u16::try_from(part.get(key)?.as_u64()?).ok();
    let place = (number("split.no")?.checked_add(1)?, number("split.count")?);
    (place.0 <= place.1).then_some(place)
}

/// Refuse a model of which a part is not there.
fn require_all(
    path: &Path,
    n_parts: u16,
    sibling: &dyn Fn(u16) -> PathBuf,
) -> Result<(), OpenGgufError> {
    let mut missing = (1..=n_parts).map(sibling).filter(|path| !path.exists());
    let named: Vec<String> = missing
        .by_ref()
        .take(N_NAMED_MAX)
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    if named.is_empty() {
        return Ok(());
    }
    let more = missing.next().map_or("", |_| " and more");
    let problem =
        format!("it is one of {n_parts} parts; missing beside it: {}{more}", named.join(", "));
    Err(OpenGgufError::Split { path: path.to_owned(), problem })
}

/// One model out of all its parts: the keys of the first, the tensors of all.
fn joined(parts: Vec<Gguf>) -> Result<Gguf, OpenGgufError> {
    let mut parts = parts.into_iter();
    let mut whole = parts.next().expect("a split model has at least two parts");
    for part in parts {
        let number = whole.files.len() as u16;
        whole.files.extend(part.files);
        let tensors = part.tensors.into_iter();
        whole.tensors.extend(tensors.map(|tensor| TensorEntry { part: number, ..tensor }));
    }
    let told = whole.get("split.tensors.count").and_then(|value| value.as_u64());
    if let Some(expected) = told.filter(|&expected| expected != whole.tensors.len() as u64) {
        let problem =
            format!("expected {expected} tensors in all parts, found {}", whole.tensors.len());
        return Err(OpenGgufError::Split { path: whole.path().to_owned(), problem });
    }
    whole.tensors_by_name = sorted_by(&whole.tensors, |tensor| &tensor.name);
    let cursor = Cursor::new(whole.path(), &whole.files[0]);
    refuse_twice(&cursor, "tensor name", &whole.tensors, &whole.tensors_by_name, |t| &t.name)?;
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts() {
        let check = |name: &str, expected: Option<(&str, u16, u16)>| {
            let found = SplitName::parse(name);
            assert_eq!(found.map(|found| (found.stem, found.number, found.n_parts)), expected);
            if let Some(found) = found {
                assert_eq!(found.of_part(found.number), name);
            }
        };
        check("tiny-q4_k_m-00001-of-00002.gguf", Some(("tiny-q4_k_m", 1, 2)));
        check("Q8_0/a-00012-of-00012.gguf", Some(("Q8_0/a", 12, 12)));
        check("-00001-of-00001.gguf", Some(("", 1, 1)));
        for name in [
            "a.gguf",
            "a-00001-of-00002.bin",
            "a-1-of-2.gguf",
            "a-00000-of-00002.gguf",
            "a-00003-of-00002.gguf",
            "a-+0001-of-00002.gguf",
            "a-00001-of-99999.gguf",
            "00001-of-00002.gguf",
        ] {
            check(name, None);
        }
    }

    #[test]
    fn one_model_of_a_folder() {
        let check = |names: &[&str], expected: Option<&str>| {
            let paths: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
            assert_eq!(only_model(&paths), expected.map(Path::new), "{names:?}");
        };
        let [one, two] = ["f/a-00001-of-00002.gguf", "f/a-00002-of-00002.gguf"];
        check(&[], None);
        check(&["f/a.gguf"], Some("f/a.gguf"));
        check(&[two], Some(two));
        check(&[two, one], Some(one));
        check(&[one, "f/b-00002-of-00002.gguf"], None);
        check(&[one, two, "f/b.gguf"], None);
        check(&["f/a.gguf", "f/b.gguf"], None);
        check(&["f/a-00001-of-00003.gguf", "f/a-00002-of-00003.gguf"], None);
    }

    #[test]
    fn the_most_parts_that_names_can_tell_are_one_model_at_once() {
        let name = SplitName { stem: "f/a", number: 1, n_parts: u16::MAX };
        let paths: Vec<PathBuf> =
            (1..=name.n_parts).rev().map(|number| name.of_part(number).into()).collect();
        let started = std::time::Instant::now();
        assert_eq!(only_model(&paths), Some(Path::new("f/a-00001-of-65535.gguf")));
        assert!(started.elapsed() < std::time::Duration::from_secs(10));
    }
}
