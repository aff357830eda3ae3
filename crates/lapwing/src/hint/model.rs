//! Advice about models, backends and answers.

use std::error::Error;

use lapwing_backend::OpenError;
use lapwing_export::{ExportError, OpenCheckpointError};
use lapwing_model::OpenFolderError;
use lapwing_openvino::LoadError as OpenVinoLoadError;
use lapwing_ort::LoadError as OrtLoadError;
use lapwing_runtime::GenerateError;
use lapwing_text::{OpenTemplateError, OpenTokenizerError, RenderError};

use crate::engine::EngineError;
use crate::prompt::PromptError;

/// What the user can do about an error of the libraries, if that is known.
pub(super) fn for_cause(cause: &(dyn Error + 'static)) -> Option<String> {
    None.or_else(|| cause.downcast_ref().and_then(folder))
        .or_else(|| cause.downcast_ref().and_then(open))
        .or_else(|| cause.downcast_ref().and_then(engine))
        .or_else(|| cause.downcast_ref().and_then(prompt))
        .or_else(|| cause.downcast_ref().and_then(generate))
        .or_else(|| cause.downcast_ref().and_then(render))
        .or_else(|| cause.downcast_ref().and_then(template))
        .or_else(|| cause.downcast_ref().and_then(tokenizer))
        .or_else(|| cause.downcast_ref().and_then(export))
        .or_else(|| cause.downcast_ref().and_then(checkpoint))
        .or_else(|| cause.downcast_ref::<OrtLoadError>().map(|_| library("onnxruntime")))
        .or_else(|| cause.downcast_ref::<OpenVinoLoadError>().map(|_| library("openvino")))
}

fn library(name: &str) -> String {
    format!("`lapwing pull {name}` gets the right one; `lapwing doctor` looks at all of them")
}

const INCOMPLETE: &str = "the copy is not complete: get it again (`lapwing pull --force` for a \
    model of the store) or export it again";

fn folder(error: &OpenFolderError) -> Option<String> {
    match error {
        OpenFolderError::NotAFolder { path } => {
            let name = path.display();
            Some(format!(
                "a checkpoint is exported first: `lapwing export {name} --to openvino --out DIR`"
            ))
        }
        OpenFolderError::NoManifest { folder, found } if found.contains(".gguf") => {
            let name = folder.display();
            Some(format!(
                "a checkpoint is exported first: `lapwing export {name} --to openvino --out DIR`"
            ))
        }
        OpenFolderError::NoManifest { found, .. } if found.contains(".safetensors") => Some(
            "a checkpoint is exported first: `lapwing export SRC --to openvino --out DIR`".into(),
        ),
        OpenFolderError::NoManifest { .. } => {
            Some("`lapwing list` shows the models in the store".into())
        }
        OpenFolderError::Missing { .. } => Some(INCOMPLETE.into()),
        OpenFolderError::NoVariant { .. } => Some("choose one of them with --variant".into()),
        OpenFolderError::OneGraph { .. } => Some("leave out --variant".into()),
        _ => None,
    }
}

fn open(error: &OpenError) -> Option<String> {
    match error {
        OpenError::WrongKind { .. } => {
            Some("leave out --backend: the folder's kind decides".into())
        }
        OpenError::NoDevice { .. } => Some(
            "`lapwing devices` shows what is there, `lapwing doctor` what a device needs".into(),
        ),
        OpenError::Read { .. } => Some(format!("if the file was whole once, {INCOMPLETE}")),
        OpenError::Refused { .. } => Some(
            "`lapwing inspect` shows the model; an export of `lapwing export` is known to run"
                .into(),
        ),
        OpenError::Unsupported { reason, .. } if reason.contains("head size") => Some(
            "export it with `lapwing export`, which writes standard operators for such heads"
                .into(),
        ),
        OpenError::Unsupported { .. } => Some(
            "`lapwing list --all` shows models that run; `lapwing inspect` shows this one".into(),
        ),
    }
}

fn engine(error: &EngineError) -> Option<String> {
    match error {
        EngineError::NoNativeBackend => Some("leave out --backend".into()),
        EngineError::NoCorrection { .. } => Some("leave out --correction".into()),
        EngineError::Vocabulary { .. } => {
            Some("put the tokenizer.json of this model into its folder".into())
        }
        EngineError::NoTokenizer { .. } => {
            Some("put the model's tokenizer.json there, or give tokens with --prompt-ids".into())
        }
    }
}

fn prompt(error: &PromptError) -> Option<String> {
    match error {
        PromptError::Empty { .. } => {
            Some("give one with --prompt, --prompt-file or on stdin".into())
        }
        PromptError::Read { .. } | PromptError::TooLarge { .. } => None,
    }
}

fn generate(error: &GenerateError) -> Option<String> {
    match error {
        GenerateError::PromptTooLong { .. } => {
            Some("shorten the prompt, or allow more with --context if the model can".into())
        }
        GenerateError::NoSuchToken { .. } => {
            Some("the ids are of another model: `lapwing inspect` shows the vocabulary".into())
        }
        _ => None,
    }
}

fn render(error: &RenderError) -> Option<String> {
    match error {
        RenderError::Raised { .. } => {
            Some("change the messages as the template says, or send the prompt with --raw".into())
        }
        _ => Some("--raw sends the prompt without the template".into()),
    }
}

fn template(error: &OpenTemplateError) -> Option<String> {
    match error {
        OpenTemplateError::Read { .. } => None,
        _ => Some("mend it, or get it again with the model".into()),
    }
}

fn tokenizer(error: &OpenTokenizerError) -> Option<String> {
    match error {
        OpenTokenizerError::Parse { .. } => {
            Some(format!("if the file was whole once, {INCOMPLETE}"))
        }
        _ => None,
    }
}

fn export(error: &ExportError) -> Option<String> {
    match error {
        ExportError::OutputExists { .. } => Some("choose another folder, or --overwrite".into()),
        ExportError::Stopped => Some("nothing was kept".into()),
        _ => None,
    }
}

fn checkpoint(_: &OpenCheckpointError) -> Option<String> {
    Some("`lapwing inspect` shows what the file holds".into())
}
