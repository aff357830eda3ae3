//! The special tokens that the files of a model name.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value as Json;

use super::OpenTemplateError;
use super::files::read_json;
use crate::jinja::value::Value;

/// How the tokens with a role are spelled: `bos_token`, `eos_token`, …, and those of a model's own
/// (`eot_token`, `image_token`). A template sees them by these names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens(Vec<(String, String)>);

impl SpecialTokens {
    /// The tokens of a model folder: of `tokenizer_config.json`, and what it leaves out of
    /// `special_tokens_map.json`.
    ///
    /// # Errors
    ///
    /// When one of the files cannot be read or is no JSON.
    pub fn open(folder: &Path) -> Result<Self, OpenTemplateError> {
        let mut tokens = Self::from_config(&read_json(&folder.join("tokenizer_config.json"))?);
        let map = Self::from_config(&read_json(&folder.join("special_tokens_map.json"))?);
        for (name, spelling) in map.0 {
            tokens.add(&name, &spelling);
        }
        Ok(tokens)
    }

    /// The tokens of a `tokenizer_config.json`: each a string, or an object with `content`; those of
    /// the model's own are in an object `extra_special_tokens`.
    pub fn from_config(config: &Json) -> Self {
        let mut tokens = Self::default();
        let extra = ["extra_special_tokens", "model_specific_special_tokens"];
        let extra = extra.into_iter().filter_map(|name| config.get(name));
        for fields in std::iter::once(config).chain(extra).filter_map(Json::as_object) {
            for (name, token) in fields {
                let text = token.as_str().or_else(|| token.get("content")?.as_str());
                if let (true, Some(text)) = (name.ends_with("_token"), text) {
                    tokens.add(name, text);
                }
            }
        }
        tokens
    }

    /// How the token with the role `name` is spelled.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let token = self.0.iter().find(|(known, _)| known == name);
        token.map(|(_, spelling)| spelling.as_str())
    }

    fn add(&mut self, name: &str, spelling: &str) {
        if self.get(name).is_none() {
            self.0.push((name.to_owned(), spelling.to_owned()));
        }
    }

    /// The tokens that are there, as variables of a template.
    pub(crate) fn variables(&self) -> Vec<(Arc<str>, Value)> {
        let variable = |(name, spelling): &(String, String)| {
            (Arc::from(&**name), Value::from(spelling.as_str()))
        };
        self.0.iter().map(variable).collect()
    }
}
