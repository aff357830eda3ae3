//! The special tokens that a `tokenizer_config.json` names.

use minijinja::Value;

/// How the tokens with a role are spelled; a template sees them as `bos_token` and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// The beginning of a text.
    pub bos: Option<String>,
    /// The end of an answer.
    pub eos: Option<String>,
    /// What fills up a batch.
    pub pad: Option<String>,
    /// What stands for text outside the vocabulary.
    pub unk: Option<String>,
}

impl SpecialTokens {
    /// The tokens of a `tokenizer_config.json`: each a string, or an object with `content`.
    pub fn from_config(config: &serde_json::Value) -> Self {
        let token = |name| {
            let token = config.get(name)?;
            let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
            Some(text.to_owned())
        };
        Self {
            bos: token("bos_token"),
            eos: token("eos_token"),
            pad: token("pad_token"),
            unk: token("unk_token"),
        }
    }

    /// The tokens that are there, as variables of a template.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let all = [
            ("bos_token", &self.bos),
            ("eos_token", &self.eos),
            ("pad_token", &self.pad),
            ("unk_token", &self.unk),
        ];
        all.into_iter().filter_map(|(name, token)| Some((name, Value::from(token.as_ref()?))))
    }
}
