//! How a text becomes one vector: what the files of sentence-transformers say beside a graph.
//!
//! Source: sentence-transformers 5, `models/Pooling.py`, `models/Transformer.py`, `util/file_io.py`.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::json::Manifest;
use crate::{Architecture, ModelFolder, OpenFolderError};

/// How rows of tokens become the vector of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The mean of all rows.
    Mean,
    /// The row of the first token.
    First,
    /// The row of the last token.
    Last,
    /// The largest of each number.
    Max,
}

/// What turns the rows of a graph into embeddings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddingRecipe {
    /// How rows become a vector.
    pub pooling: Pooling,
    /// Whether the folder says so; where it does not, it is the mean.
    pub is_said: bool,
    /// Most tokens of a text, those included that the tokenizer puts around it.
    pub n_tokens_max: usize,
}

/// What a graph gives for a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EncoderOutput {
    /// A row for each token, under this name.
    Tokens(String),
    /// One row, pooled by the graph itself.
    Pooled(String),
}

impl EncoderOutput {
    /// What is used of a graph with these outputs; none of one that gives logits, or nothing that is
    /// known. What the graph pools itself goes first: its makers may have put more behind it.
    pub fn of<'a>(outputs: impl IntoIterator<Item = &'a str>) -> Option<EncoderOutput> {
        let outputs: Vec<&str> = outputs.into_iter().collect();
        let named = |name: &&str| outputs.contains(name).then(|| (*name).to_owned());
        if outputs.contains(&"logits") {
            return None;
        }
        let pooled = named(&"sentence_embedding").map(EncoderOutput::Pooled);
        let tokens = || ["last_hidden_state", "token_embeddings"].iter().find_map(named);
        pooled.or_else(|| tokens().map(EncoderOutput::Tokens))
    }

    /// The output's name.
    pub fn name(&self) -> &str {
        match self {
            EncoderOutput::Tokens(name) | EncoderOutput::Pooled(name) => name,
        }
    }
}

impl Pooling {
    /// Shapes: `rows [n, n_hidden]` with `1 <= n`, the result `[n_hidden]`.
    pub fn pool(self, rows: &[f32], n_hidden: usize) -> Vec<f32> {
        let mut each = rows.chunks_exact(n_hidden);
        let Some(first) = each.next() else { return vec![0.0; n_hidden] };
        match self {
            Pooling::First => first.to_vec(),
            Pooling::Last => each.next_back().unwrap_or(first).to_vec(),
            Pooling::Max => each.fold(first.to_vec(), |mut most, row| {
                most.iter_mut().zip(row).for_each(|(most, &x)| *most = most.max(x));
                most
            }),
            Pooling::Mean => {
                let n_rows = 1.0 + each.len() as f32;
                let mut sum = each.fold(first.to_vec(), |mut sum, row| {
                    sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
                    sum
                });
                sum.iter_mut().for_each(|x| *x /= n_rows);
                sum
            }
        }
    }
}

impl fmt::Display for Pooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Pooling::Mean => "mean of all tokens",
            Pooling::First => "first token",
            Pooling::Last => "last token",
            Pooling::Max => "maximum of all tokens",
        })
    }
}

/// Ways of pooling by their names in `1_Pooling/config.json`: a flag of each, and a word since
/// sentence-transformers 5.
const POOLINGS: [(&str, &str, Pooling); 4] = [
    ("pooling_mode_mean_tokens", "mean", Pooling::Mean),
    ("pooling_mode_cls_token", "cls", Pooling::First),
    ("pooling_mode_lasttoken", "lasttoken", Pooling::Last),
    ("pooling_mode_max_tokens", "max", Pooling::Max),
];

/// Models that begin to count positions behind the padding's id, 1: two of their positions are never
/// used. Source: transformers, `create_position_ids_from_input_ids`.
const COUNT_FROM_2: [&str; 4] = ["roberta", "xlm-roberta", "camembert", "mpnet"];

impl EmbeddingRecipe {
    /// What the files beside the graph of `folder` say: `modules.json` and what it names,
    /// `sentence_bert_config.json`, `tokenizer_config.json`.
    ///
    /// # Errors
    ///
    /// When one is malformed, or says something that is not done here.
    pub fn read(folder: &ModelFolder) -> Result<EmbeddingRecipe, OpenFolderError> {
        let pooling = pooling(&folder.root)?;
        Ok(EmbeddingRecipe {
            pooling: pooling.unwrap_or(Pooling::Mean),
            is_said: pooling.is_some(),
            n_tokens_max: n_tokens_max(&folder.root, &folder.architecture)?,
        })
    }
}

/// The least of what the files allow.
fn n_tokens_max(root: &Path, shape: &Architecture) -> Result<usize, OpenFolderError> {
    let n_uncounted = if COUNT_FROM_2.contains(&&*shape.model_type) { 2 } else { 0 };
    let mut n_max = shape.n_positions_max.saturating_sub(n_uncounted);
    for (name, key) in [
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ] {
        let file = root.join(name);
        let Some(manifest) = Manifest::read_if_there(&file)? else { continue };
        // Who knows no limit writes 1e30.
        if manifest.get(&[key]).and_then(Value::as_f64).is_some_and(|n| n < 1e12) {
            n_max = manifest.size(&[key])?.unwrap_or(n_max).min(n_max);
        }
    }
    Ok(n_max)
}

fn pooling(root: &Path) -> Result<Option<Pooling>, OpenFolderError> {
    let file = root.join("modules.json");
    let named = match Manifest::read_if_there(&file)? {
        Some(manifest) => match pooling_module(&file, &manifest)? {
            Some(folder) => Some(folder),
            None => return Ok(None),
        },
        None => None,
    };
    let is_named = named.is_some();
    let folder = named.unwrap_or_else(|| PathBuf::from("1_Pooling"));
    let file = root.join(folder).join("config.json");
    let manifest = match is_named {
        // Without what it names the model would be pooled in another way.
        true => Manifest::read(&file)?,
        false => match Manifest::read_if_there(&file)? {
            Some(manifest) => manifest,
            None => return Ok(None),
        },
    };
    let wrong = |what: String| OpenFolderError::Manifest { file: file.clone(), what };
    if let Some(word) = manifest.text(&["pooling_mode"]) {
        let known = POOLINGS.iter().find(|(_, known, _)| *known == word);
        let known = known.map(|&(_, _, pooling)| pooling);
        let expected = POOLINGS.map(|(_, word, _)| word).join(", ");
        return known.map(Some).ok_or_else(|| {
            wrong(format!("expected one of {expected} in `pooling_mode`, found {word}"))
        });
    }
    let entries = manifest.get(&[]).and_then(Value::as_object).into_iter().flatten();
    let set: Vec<&str> = entries
        .filter(|(key, value)| key.starts_with("pooling_mode_") && **value == true)
        .map(|(key, _)| key.as_str())
        .collect();
    let known = match set[..] {
        [key] => POOLINGS.iter().find(|(flag, _, _)| *flag == key),
        _ => None,
    };
    let known = known.map(|&(_, _, pooling)| pooling);
    let expected = POOLINGS.map(|(flag, _, _)| flag).join(", ");
    let found = if set.is_empty() { "none".to_owned() } else { set.join(", ") };
    let unknown = || wrong(format!("expected one of {expected} to be true, found {found}"));
    known.map(Some).ok_or_else(unknown)
}

/// The folder of the module that pools; none where no module does. Others than a transformer, a pooling
/// and one that gives vectors length 1 would be left out silently.
fn pooling_module(
    file: &Path,
    manifest: &Manifest<'_>,
) -> Result<Option<PathBuf>, OpenFolderError> {
    let wrong = |what: String| OpenFolderError::Manifest { file: file.to_owned(), what };
    let mut folder = None;
    let modules = manifest.get(&[]).and_then(Value::as_array);
    for module in modules.ok_or_else(|| wrong("expected a list of modules".to_owned()))? {
        let kind = module["type"].as_str().unwrap_or_default();
        match kind.rsplit('.').next().unwrap_or_default() {
            "Transformer" | "Normalize" => {}
            "Pooling" => {
                let path = module["path"].as_str().unwrap_or_default();
                let is_name = !path.is_empty() && !path.contains(['/', '\\']) && path != "..";
                if !is_name {
                    return Err(wrong(format!("expected the name of a folder, found `{path}`")));
                }
                folder = Some(path.into());
            }
            other => {
                let expected = "expected modules Transformer, Pooling and Normalize";
                return Err(wrong(format!("{expected}, found {other}")));
            }
        }
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<EmbeddingRecipe, String>) {
        let root = tempfile::tempdir().unwrap();
        let config = r#"{"model_type": "bert", "vocab_size": 9, "num_hidden_layers": 1,
            "hidden_size": 4, "max_position_embeddings": 512}"#;
        std::fs::write(root.path().join("config.json"), config).unwrap();
        std::fs::write(root.path().join("model.onnx"), "").unwrap();
        for (name, text) in files {
            let file = root.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let model = ModelFolder::open(root.path(), None).unwrap();
        let recipe = EmbeddingRecipe::read(&model).map_err(|error| error.to_string());
        (root, recipe)
    }

    const MODULES: &str = r#"[
        {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]"#;

    #[test]
    fn pooling_is_what_the_files_of_sentence_transformers_say() {
        let check = |config: &str, expected: Pooling| {
            for modules in [vec![("modules.json", MODULES)], Vec::new()] {
                let files = [modules, vec![("1_Pooling/config.json", config)]].concat();
                let recipe = folder(&files).1.unwrap();
                assert_eq!((recipe.pooling, recipe.is_said), (expected, true), "{config}");
            }
        };
        let mean = r#"{"word_embedding_dimension": 4, "pooling_mode_cls_token": false,
            "pooling_mode_mean_tokens": true, "include_prompt": true}"#;
        check(mean, Pooling::Mean);
        check(r#"{"pooling_mode_cls_token": true}"#, Pooling::First);
        check(r#"{"pooling_mode_lasttoken": true}"#, Pooling::Last);
        check(r#"{"pooling_mode_max_tokens": true}"#, Pooling::Max);
        check(r#"{"pooling_mode": "lasttoken", "embedding_dimension": 4}"#, Pooling::Last);
        let untold = folder(&[]).1.unwrap();
        assert_eq!((untold.pooling, untold.is_said), (Pooling::Mean, false));
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        let check = |files: &[(&str, &str)], expected: &str| {
            let refused = folder(files).1.unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        };
        // What a module names must be there.
        check(&[("modules.json", MODULES)], "1_Pooling/config.json");
        check(&[("modules.json", "{}")], "expected a list of modules");
        let dense = MODULES.replace("models.Normalize", "models.Dense");
        check(&[("modules.json", &dense)], "found Dense");
        let outside = MODULES.replace("1_Pooling", "../1_Pooling");
        check(&[("modules.json", &outside)], "found `../1_Pooling`");
        let config = "1_Pooling/config.json";
        let two = r#"{"pooling_mode_cls_token": true, "pooling_mode_weightedmean_tokens": true}"#;
        check(&[(config, two)], "found pooling_mode_cls_token, pooling_mode_weightedmean_tokens");
        check(&[(config, "{}")], "found none");
        check(&[(config, r#"{"pooling_mode": "weightedmean"}"#)], "found weightedmean");
    }

    #[test]
    fn texts_are_as_long_as_every_file_allows() {
        let check = |files: &[(&str, &str)], expected: usize| {
            assert_eq!(folder(files).1.unwrap().n_tokens_max, expected, "{files:?}");
        };
        let sentences = ("sentence_bert_config.json", r#"{"max_seq_length": 256}"#);
        let tokenizer = ("tokenizer_config.json", r#"{"model_max_length": 128}"#);
        check(&[], 512);
        check(&[sentences], 256);
        check(&[sentences, tokenizer], 128);
        check(&[("tokenizer_config.json", r#"{"model_max_length": 1e30}"#)], 512);
        check(&[("sentence_bert_config.json", r#"{"max_seq_length": null}"#)], 512);
        let roberta = r#"{"model_type": "xlm-roberta", "vocab_size": 9, "num_hidden_layers": 1,
            "hidden_size": 4, "max_position_embeddings": 514}"#;
        check(&[("config.json", roberta)], 512);
    }

    #[test]
    fn rows_become_one() {
        let rows = [1.0, -2.0, 3.0, 4.0, 5.0, 1.0];
        let check = |pooling: Pooling, expected: [f32; 2]| {
            assert_eq!(pooling.pool(&rows, 2), expected, "{pooling}");
            assert_eq!(pooling.pool(&rows[..2], 2), rows[..2], "{pooling}");
        };
        check(Pooling::Mean, [3.0, 1.0]);
        check(Pooling::First, [1.0, -2.0]);
        check(Pooling::Last, [5.0, 1.0]);
        check(Pooling::Max, [5.0, 4.0]);
    }

    #[test]
    fn an_encoder_is_told_by_its_outputs() {
        let check = |outputs: &[&str], expected: Option<EncoderOutput>| {
            assert_eq!(EncoderOutput::of(outputs.iter().copied()), expected, "{outputs:?}");
        };
        let tokens = |name: &str| Some(EncoderOutput::Tokens(name.to_owned()));
        check(&["last_hidden_state", "pooler_output"], tokens("last_hidden_state"));
        check(&["token_embeddings"], tokens("token_embeddings"));
        let pooled = Some(EncoderOutput::Pooled("sentence_embedding".to_owned()));
        check(&["token_embeddings", "sentence_embedding"], pooled);
        check(&["logits", "last_hidden_state"], None);
        check(&["start", "end"], None);
    }
}
