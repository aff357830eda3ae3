//! One model of a repository with GGUF files: one precision, in one file or all its parts.
//!
//! Source: names as llama.cpp's tools and those who publish quantised models write them.

use std::collections::{HashMap, HashSet};

use lapwing_formats::gguf::SplitName;

use super::{Chosen, SelectError, Selected, at_root, told, unless_alone};
use crate::options::Variant;

/// Precisions from the most to the least wanted on a laptop, of those that an export reads: the fewest
/// bits first, of four those whose grid an export keeps or that lose least. With fewer bits answers
/// are too bad to be a default.
const PREFERENCE: [&str; 14] = [
    "q4_0", "q4_k_m", "q4_1", "q4_k_s", "q5_k_m", "q5_k_s", "q5_0", "q5_1", "q6_k", "q8_0", "f16",
    "fp16", "bf16", "f32",
];

/// One model of the repository.
struct Candidate<'a> {
    /// The names of its files have this in common.
    stem: &'a str,
    /// The last part of it, which is a precision in most repositories.
    name: &'a str,
    files: Vec<&'a str>,
    /// The parts that it is in; none when it is one file.
    parts: Option<SplitName<'a>>,
}

pub(super) fn select<'a>(
    repo: &str,
    paths: &[&'a str],
    variant: Option<&Variant>,
) -> Result<Chosen<'a>, SelectError> {
    let candidates = candidates(paths);
    let variant = unless_alone(variant, candidates.len());
    let mut chosen = match variant {
        Some(variant) => called(&candidates, variant),
        None => preferred(&candidates),
    };
    // The same in one file and in parts, or in the root and in a folder.
    prefer(&mut chosen, |candidate| candidate.parts.is_none());
    prefer(&mut chosen, |candidate| !candidate.stem.contains('/'));
    let candidate = match chosen.as_slice() {
        [candidate] => candidate,
        [] if candidates.is_empty() => return Err(SelectError::NoModel { repo: repo.to_owned() }),
        [] => {
            let mut seen = HashSet::new();
            let names = candidates.iter().map(|candidate| candidate.name);
            let names: Vec<&str> = names.filter(|name| seen.insert(*name)).collect();
            return Err(SelectError::NoVariant {
                repo: repo.to_owned(),
                variant: variant.unwrap_or_default().to_owned(),
                found: told(&names),
            });
        }
        [first, ..] => {
            let stems: Vec<&str> = chosen.iter().map(|candidate| candidate.stem).collect();
            return Err(SelectError::Several {
                repo: repo.to_owned(),
                variant: first.name.to_owned(),
                found: told(&stems),
            });
        }
    };
    require_all_parts(repo, candidate)?;
    let mut selected: Vec<_> =
        at_root(paths, &[]).into_iter().filter(|file| !file.remote.ends_with(".json")).collect();
    selected.extend(
        candidate
            .files
            .iter()
            .map(|path| Selected { remote: path, local: path.rsplit('/').next().unwrap_or(path) }),
    );
    Ok((selected, Some(candidate.name).filter(|name| !name.is_empty())))
}

/// Keep those that are better, where any are.
fn prefer<'a>(chosen: &mut Vec<&Candidate<'a>>, is_better: impl Fn(&Candidate<'a>) -> bool) {
    if chosen.iter().any(|candidate| is_better(candidate)) {
        chosen.retain(|candidate| is_better(candidate));
    }
}

/// Every model among `paths`, in their order; files that help a model are none.
fn candidates<'a>(paths: &[&'a str]) -> Vec<Candidate<'a>> {
    let mut candidates: Vec<Candidate<'a>> = Vec::new();
    // A hub may list a hundred thousand of them.
    let mut by_name = HashMap::new();
    for path in paths.iter().filter(|path| path.split('/').all(|part| !part.starts_with('.'))) {
        let Some(whole_stem) = path.strip_suffix(".gguf") else { continue };
        let parts = SplitName::parse(path);
        let stem = parts.map_or(whole_stem, |parts| parts.stem);
        let file_name = stem.rsplit('/').next().unwrap_or(stem);
        let name = file_name.rsplit(['.', '-']).next().unwrap_or(file_name);
        let lower = file_name.to_ascii_lowercase();
        // Models that were made with an importance matrix may have it in their names.
        let is_matrix = lower.contains("imatrix") && !is_precision(name);
        if is_matrix || lower.contains("mmproj") {
            continue;
        }
        let key = (stem, parts.map(|parts| parts.n_parts));
        let index = *by_name.entry(key).or_insert_with(|| {
            candidates.push(Candidate { stem, name, files: Vec::new(), parts });
            candidates.len() - 1
        });
        candidates[index].files.push(path);
    }
    candidates
}

/// Whether a part of a name is a precision: `Q4_K_M`, `IQ4_XS`, `bf16`, `MXFP4`.
fn is_precision(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let codes = lower.strip_prefix(['i', 't']).unwrap_or(&lower);
    let has_codes = codes
        .strip_prefix('q')
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    has_codes || ["f16", "fp16", "bf16", "f32", "fp32", "mxfp4", "nvfp4"].contains(&&*lower)
}

/// Those whose precision, or else whose whole name, is `variant`.
fn called<'c, 'a>(candidates: &'c [Candidate<'a>], variant: &str) -> Vec<&'c Candidate<'a>> {
    let all = |is_it: &dyn Fn(&Candidate<'a>) -> bool| -> Vec<&'c Candidate<'a>> {
        candidates.iter().filter(|candidate| is_it(candidate)).collect()
    };
    let by_precision = all(&|candidate| candidate.name.eq_ignore_ascii_case(variant));
    match by_precision.is_empty() {
        true => all(&|candidate| candidate.stem.eq_ignore_ascii_case(variant)),
        false => by_precision,
    }
}

/// Those of the first precision of [`PREFERENCE`] that is there, else the first with any.
fn preferred<'c, 'a>(candidates: &'c [Candidate<'a>]) -> Vec<&'c Candidate<'a>> {
    if let [only] = candidates {
        return vec![only];
    }
    let of_names = PREFERENCE.iter().map(|name| called(candidates, name));
    if let Some(found) = of_names.into_iter().find(|found| !found.is_empty()) {
        return found;
    }
    let any = candidates.iter().find(|candidate| is_precision(candidate.name));
    any.or(candidates.first()).into_iter().collect()
}

fn require_all_parts(repo: &str, candidate: &Candidate<'_>) -> Result<(), SelectError> {
    let Some(parts) = candidate.parts else { return Ok(()) };
    let files: HashSet<&str> = candidate.files.iter().copied().collect();
    let mut names = (1..=parts.n_parts).map(|number| parts.of_part(number));
    let missing = names.find(|name| !files.contains(name.as_str()));
    match missing {
        Some(path) => Err(SelectError::Unusable {
            repo: repo.to_owned(),
            problem: format!("{path} is missing, one of {} parts", parts.n_parts),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_bits_are_preferred_from_four_on() {
        let n_bits = |name: &&str| -> u32 {
            let digits: String = name.chars().filter(char::is_ascii_digit).collect();
            // `q4_0` begins with its bits, and a float has two digits of them.
            digits[..if name.starts_with('q') { 1 } else { 2 }].parse().unwrap()
        };
        let bits: Vec<u32> = PREFERENCE.iter().map(n_bits).collect();
        assert!(bits.is_sorted() && bits[0] == 4, "{bits:?}");
        assert_eq!(PREFERENCE[0], "q4_0");
        let paths = ["m-Q2_K.gguf", "m-Q8_0.gguf", "m-Q5_K_M.gguf", "m-F16.gguf", "m-Q4_K_M.gguf"];
        let mut left = paths.to_vec();
        for expected in ["m-Q4_K_M", "m-Q5_K_M", "m-Q8_0", "m-F16", "m-Q2_K"] {
            let candidates = candidates(&left);
            let chosen = preferred(&candidates);
            assert_eq!(chosen.iter().map(|it| it.stem).collect::<Vec<_>>(), [expected]);
            left.retain(|path| !path.starts_with(expected));
        }
    }
}
