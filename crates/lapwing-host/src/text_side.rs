//! What a model's folder knows of text: needs no runtime, no graph and no weights.

use std::path::Path;

use lapwing_files::regular::is_there;
use lapwing_model::OpenFolderError;
use lapwing_text::{ChatTemplate, OpenTemplateError, OpenTokenizerError, SpecialTokens, Tokenizer};
use serde_json::Value;

use crate::engine::NoTokenizer;

/// A tokenizer, and the chat template beside it.
#[derive(Debug)]
pub struct TextSide {
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// Messages to a prompt, when the folder has a template.
    pub template: Option<ChatTemplate>,
}

/// A folder that knows nothing of text.
#[derive(Debug, thiserror::Error)]
pub enum OpenTextError {
    /// It is no folder.
    #[error(transparent)]
    Folder(#[from] OpenFolderError),
    /// Nothing in it reads text.
    #[error(transparent)]
    None(#[from] NoTokenizer),
    /// Its tokenizer is none.
    #[error(transparent)]
    Tokenizer(#[from] OpenTokenizerError),
    /// Its template cannot be read.
    #[error(transparent)]
    Template(#[from] OpenTemplateError),
}

impl TextSide {
    /// Read `folder`: an export, or the checkpoint of one.
    ///
    /// # Errors
    ///
    /// When it has no tokenizer, or one that cannot be read.
    pub fn open(folder: &Path) -> Result<TextSide, OpenTextError> {
        if folder.is_file() {
            return Err(OpenFolderError::NotAFolder { path: folder.to_owned() }.into());
        }
        let file = folder.join("tokenizer.json");
        if !is_there(&file) {
            return Err(NoTokenizer { folder: folder.to_owned() }.into());
        }
        let tokenizer = Tokenizer::open(&file)?;
        Ok(TextSide { tokenizer, template: ChatTemplate::open(folder)? })
    }

    /// The same from what would be the files of a folder: `tokenizer.json`, `tokenizer_config.json`
    /// `chat_template.jinja` and the template of prompts with tools. `path` names where they come
    /// from in errors.
    ///
    /// # Errors
    ///
    /// When the tokenizer cannot be read.
    pub fn from_parts(
        tokenizer: &[u8],
        config: &Value,
        template: Option<&str>,
        tool_template: Option<&str>,
        path: &Path,
    ) -> Result<TextSide, OpenTextError> {
        let special = SpecialTokens::from_config(config);
        let template = template.map(|source| {
            let template = ChatTemplate::from_source(source, special, path);
            match tool_template {
                Some(source) => template.with_tool_use(source, path),
                None => template,
            }
        });
        Ok(TextSide { tokenizer: Tokenizer::from_bytes(tokenizer, path)?, template })
    }
}
