//! Advice about models, backends and answers.

use std::error::Error;
use std::io;
use std::path::Path;

use lapwing_backend::OpenError;
use lapwing_export::{ExportError, ReadPlanError};
use lapwing_host::conversation::{EncodePromptError, PromptTooLong};
use lapwing_host::{EmbedError, LoadBackendError, NoNativeBackend, NoTokenizer, OpenModelError};
use lapwing_model::OpenFolderError;
use lapwing_runtime::GenerateError;
use lapwing_store::natives::Runtime;
use lapwing_text::{OpenTemplateError, OpenTokenizerError, RenderError};
use lapwing_weights::OpenCheckpointError;

use super::quoted;
use crate::prompt::PromptError;

/// What the user can do about an error of the libraries, if that is known.
pub(super) fn for_cause(cause: &(dyn Error + 'static)) -> Option<String> {
    first_of!(cause =>
        folder, open, embed, open_model, no_backend, no_tokenizer, too_long, prompt, generate, render,
        encode_prompt, template, tokenizer, export, checkpoint, plan, load
    )
}

fn load(error: &LoadBackendError) -> Option<String> {
    match error {
        // Found by its source.
        LoadBackendError::Locate(_) => None,
        LoadBackendError::Ort(_) => Some(library(Runtime::OnnxRuntime)),
        LoadBackendError::OpenVino(_) => Some(library(Runtime::OpenVino)),
    }
}

/// A library that is there and cannot be used.
fn library(runtime: Runtime) -> String {
    let (name, variable) = (runtime.name(), super::variable_of(runtime));
    format!(
        "`lapwing pull {name}` gets the right one, which is taken when {variable} is unset; \
         `lapwing doctor` looks at all of them"
    )
}

const INCOMPLETE: &str = "the copy is not complete: get it again (`lapwing pull --force` for a \
    model of the store) or export it again";

fn folder(error: &OpenFolderError) -> Option<String> {
    match error {
        OpenFolderError::NotAFolder { path } => Some(file(path)),
        OpenFolderError::NoManifest { folder, found }
            if found.contains(".gguf") || found.contains(".safetensors") =>
        {
            Some(export_first(folder))
        }
        OpenFolderError::NoManifest { .. } => {
            Some("`lapwing list` shows the models in the store".into())
        }
        OpenFolderError::Missing { .. } => Some(INCOMPLETE.into()),
        OpenFolderError::Read { source, .. } if source.is::<serde_json::Error>() => {
            Some(format!("if the file was whole once, {INCOMPLETE}"))
        }
        OpenFolderError::NoVariant { .. } => Some("choose one of them with --variant".into()),
        OpenFolderError::OneGraph { .. } => Some("leave out --variant".into()),
        _ => None,
    }
}

/// A file where a model was expected.
fn file(path: &Path) -> String {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gguf") => export_first(path),
        Some("safetensors") => export_first(folder),
        Some("xml" | "bin" | "onnx" | "data") => {
            format!("give the folder that holds all files of the model: {}", folder.display())
        }
        _ => "a model is a folder, or a name from `lapwing list`; `lapwing list --all` shows \
              models that can be pulled"
            .to_owned(),
    }
}

fn export_first(checkpoint: &Path) -> String {
    let checkpoint = quoted(checkpoint.display().to_string());
    format!("a checkpoint is exported first: `lapwing export {checkpoint} --to openvino --out DIR`")
}

fn open(error: &OpenError) -> Option<String> {
    match error {
        OpenError::WrongKind { .. } => {
            Some("leave out --backend: the folder's kind decides".into())
        }
        OpenError::Encoder { folder, .. } => {
            let folder = quoted(folder.display().to_string());
            Some(format!("`lapwing embed {folder} TEXT` makes embeddings with it"))
        }
        OpenError::NoEncoder { .. } => Some(
            "`lapwing run` answers with it, if it is a language model; `lapwing inspect` shows it"
                .into(),
        ),
        OpenError::NoDevice { .. } => Some(
            "`lapwing devices` shows what is there, `lapwing doctor` what a device needs".into(),
        ),
        OpenError::LongContext { n_positions_max, .. } => Some(format!(
            "--context {n_positions_max} is short enough; --device cpu runs longer ones"
        )),
        OpenError::UnfitWeights { found, .. } if found.contains("experts") => Some(
            "export its checkpoint with --weights int8; --device cpu runs these weights".into(),
        ),
        OpenError::UnfitWeights { .. } => Some(
            "export its checkpoint for an NPU: `lapwing export CHECKPOINT --to openvino --for npu \
             --out DIR`; --device cpu and gpu run these weights"
                .into(),
        ),
        OpenError::Read { .. } => Some(format!("if the file was whole once, {INCOMPLETE}")),
        // No export is known to run on every device.
        OpenError::Refused { device, .. } if !device.starts_with("CPU") => Some(
            "--device cpu leaves this device's compiler out; `lapwing inspect` shows the model"
                .into(),
        ),
        OpenError::Refused { .. } => Some(
            "`lapwing inspect` shows the model; an export of `lapwing export` is known to run"
                .into(),
        ),
        OpenError::Unsupported { reason, .. } if reason.contains("head size") => Some(
            "export it with `lapwing export`, which writes standard operators for such heads"
                .into(),
        ),
        OpenError::Unsupported { reason, .. } if reason.starts_with("embeddings are made") => {
            Some("leave out --device, or say --device cpu".into())
        }
        OpenError::Unsupported { reason, .. } if reason.starts_with("property ") => {
            Some("leave it out of --property, LAPWING_PROPERTY and the settings file".into())
        }
        OpenError::Unsupported { .. } => Some(
            "`lapwing list --all` shows models that run; `lapwing inspect` shows this one".into(),
        ),
    }
}

fn embed(error: &EmbedError) -> Option<String> {
    match error {
        EmbedError::TooLong { .. } => {
            Some("--truncate cuts off what is too long; better, embed its parts".into())
        }
        _ => None,
    }
}

fn open_model(error: &OpenModelError) -> Option<String> {
    match error {
        OpenModelError::Vocabulary { .. } => {
            Some("put the tokenizer.json of this model into its folder".into())
        }
        _ => None,
    }
}

fn no_backend(_: &NoNativeBackend) -> Option<String> {
    Some("leave out --backend".into())
}

fn no_tokenizer(_: &NoTokenizer) -> Option<String> {
    Some("put the model's tokenizer.json there, or give tokens with --prompt-ids".into())
}

fn prompt(error: &PromptError) -> Option<String> {
    match error {
        PromptError::Empty { .. } => {
            Some("give one with --prompt, --prompt-file or on stdin".into())
        }
        PromptError::Utf16 { .. } => Some(super::CONVERT.into()),
        PromptError::Zero { .. } => {
            Some("if it is UTF-16, convert it: `iconv -f UTF-16LE -t UTF-8 FILE > NEW`".into())
        }
        PromptError::Read { source, .. } => super::piped(source),
        PromptError::TooLarge { .. } => None,
    }
}

fn too_long(error: &PromptTooLong) -> Option<String> {
    let PromptTooLong { n_positions_max, n_positions_model, .. } = error;
    // More than the model's own limit cannot be asked for.
    Some(match n_positions_max < n_positions_model {
        true => format!(
            "shorten the prompt, or ask for more with --context: the model has room for \
             {n_positions_model}"
        ),
        false => "shorten the prompt: the model has no room for more".to_owned(),
    })
}

fn generate(error: &GenerateError) -> Option<String> {
    match error {
        GenerateError::PromptTooLong { .. } => Some(
            "shorten the prompt; what --context allows is at most the model's own limit".into(),
        ),
        GenerateError::PromptBeyondCompiled { n_tokens, .. } => Some(format!(
            "shorten the prompt, or compile for longer ones: --npu-prompt {n_tokens}, within --context"
        )),
        GenerateError::NoSuchToken { .. } => {
            Some("the ids are of another model: `lapwing inspect` shows the vocabulary".into())
        }
        GenerateError::Choose { .. } | GenerateError::Correct { .. } => Some(format!(
            "--precision exact computes in f32; where that gives no numbers either, {INCOMPLETE}"
        )),
        _ => None,
    }
}

fn render(error: &RenderError) -> Option<String> {
    match error {
        RenderError::Raised { .. } => {
            Some("change the messages as the template says, or send the prompt with --raw".into())
        }
        RenderError::Unusable(_) => Some(
            "mend it, or get it again with the model; --raw sends the prompt without it".into(),
        ),
        _ => Some("--raw sends the prompt without the template".into()),
    }
}

fn encode_prompt(error: &EncodePromptError) -> Option<String> {
    match error {
        EncodePromptError::NoSuchToken { .. } => {
            Some("a text model has no such tokens: leave it out of the prompt".into())
        }
        _ => None,
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
        // They hide what they wrap from the chain.
        ExportError::Open(error) => checkpoint(error),
        ExportError::OutputExists { .. } => Some("choose another folder, or --overwrite".into()),
        ExportError::NotAnExport { .. } => Some("choose another folder".into()),
        ExportError::Quantize { .. } | ExportError::Range { .. } => Some(
            "--weights f32 has room for such weights; a plan (--weights FILE) gives f32 to this \
             tensor alone"
                .into(),
        ),
        ExportError::NotFinite { .. } => {
            Some("the checkpoint is damaged, or its training was: get another copy".into())
        }
        ExportError::Stopped => Some("nothing was kept".into()),
        ExportError::HeadMap { .. } | ExportError::OtherBody { .. } => Some(CALIBRATE.into()),
        _ => None,
    }
}

const CALIBRATE: &str = "a head map holds for the weights that it was calibrated with: export with \
    the options of the profile's model, or calibrate this export with `lapwing calibrate`";

fn plan(_: &ReadPlanError) -> Option<String> {
    Some(r#"a plan is like {"default":"int4","head":"int8","tensors":{"*.v_proj.*":"f16"}}"#.into())
}

/// `lapwing inspect` reads GGUF and safetensors.
fn damaged(cause: &(dyn Error + 'static)) -> String {
    let is_missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let mut next = Some(cause);
    while let Some(cause) = next {
        if cause.downcast_ref().is_some_and(is_missing) {
            return INCOMPLETE_CHECKPOINT.to_owned();
        }
        next = cause.source();
    }
    format!("if the file was whole once, {INCOMPLETE_CHECKPOINT}")
}

const INCOMPLETE_CHECKPOINT: &str = "the copy is not complete: get it again (`lapwing pull --force` \
    for a model of the store)";

fn checkpoint(error: &OpenCheckpointError) -> Option<String> {
    Some(match error {
        OpenCheckpointError::OtherFormat { path, .. } => {
            let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
            let folder = quoted(folder.display().to_string());
            format!(
                "get the model as safetensors or GGUF, or convert it where transformers is installed: \
                 python3 -c \"import sys, transformers as t; t.AutoModelForCausalLM.from_pretrained(\
                 sys.argv[1], torch_dtype='auto').save_pretrained(sys.argv[1])\" {folder}"
            )
        }
        OpenCheckpointError::Unrecognised { path, .. }
            if path.extension().is_some_and(|extension| extension == "safetensors")
                || path.to_string_lossy().ends_with(".safetensors.index.json") =>
        {
            let folder = path.parent().filter(|folder| *folder != Path::new(""));
            let folder = folder.unwrap_or(Path::new(".")).display();
            format!("give the folder that holds all files of the model: {folder}")
        }
        OpenCheckpointError::SafeTensors(error) if error.to_string().contains(" holds both ") => {
            "move the one that is out of date elsewhere, with the files that it names: `ls -l` shows \
             which is older"
                .to_owned()
        }
        OpenCheckpointError::AlreadyExported { path, .. } => {
            let path = quoted(path.display().to_string());
            format!("`lapwing run --model {path}` takes it as it is; export its checkpoint instead")
        }
        OpenCheckpointError::Unrecognised { found, .. } if found.contains("git lfs") => {
            super::FETCH.to_owned()
        }
        OpenCheckpointError::Unrecognised { found, .. }
            if found.starts_with("config.json") && found.contains(".safetensors") =>
        {
            "call one file of weights model.safetensors; of several, get their index, too".to_owned()
        }
        OpenCheckpointError::Unrecognised { .. } => {
            "`lapwing list --all` shows checkpoints that can be pulled".to_owned()
        }
        OpenCheckpointError::Unsupported { what, .. } if what == "adapter" => {
            "merge the adapter into the weights first".to_owned()
        }
        OpenCheckpointError::Unsupported { what, .. } if what.starts_with("type of ") => {
            "get the model in another precision: f16, Q8_0 or Q4_K_M, say".to_owned()
        }
        OpenCheckpointError::Unsupported { .. } => {
            "`lapwing export` would give other numbers than the model's own program, so it does not; \
             `lapwing run` takes the same model as optimum-intel or onnxruntime-genai exports it"
                .to_owned()
        }
        OpenCheckpointError::Tensors { .. } => {
            "weights and configuration are of different models, or the copy is not complete: get \
             both again"
                .to_owned()
        }
        OpenCheckpointError::Gguf(_)
        | OpenCheckpointError::SafeTensors(_)
        | OpenCheckpointError::Read { .. } => damaged(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_file_as_a_model_is_not_told_to_be_exported() {
        let check = |path: &str, expected: &str| {
            let error = OpenFolderError::NotAFolder { path: path.into() };
            let hint = for_cause(&error).unwrap();
            assert!(hint.contains(expected), "{path}: {hint}");
            assert_eq!(hint.contains("export"), expected.contains("export"), "{path}: {hint}");
        };
        check("some.txt", "a model is a folder, or a name from `lapwing list`");
        check("noname", "a model is a folder");
        check("a/m.gguf", "`lapwing export a/m.gguf ");
        check("a/model.safetensors", "`lapwing export a ");
        check("model.safetensors", "`lapwing export . ");
        check("a/openvino_model.xml", "the folder that holds all files of the model: a");
        check("model.onnx", "the folder that holds all files of the model: .");
    }

    #[test]
    fn a_file_that_is_cut_off_is_told_to_be_got_again() {
        let cut_off = || serde_json::from_str::<serde_json::Value>("{\"a\":").unwrap_err();
        let folder = OpenFolderError::Read { file: "config.json".into(), source: cut_off().into() };
        assert!(for_cause(&folder).unwrap().contains("the copy is not complete"));
        let read = OpenCheckpointError::Read { path: "c".into(), source: cut_off().into() };
        assert!(for_cause(&read).unwrap().contains("the copy is not complete"));
        // What else the system says is no fault of the copy.
        let other = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let folder = OpenFolderError::Read { file: "config.json".into(), source: other.into() };
        assert_eq!(for_cause(&folder), None);
    }

    #[test]
    fn a_context_that_would_fit_is_named() {
        let error = OpenError::LongContext {
            backend: "openvino",
            folder: "m".into(),
            reason: "it does not: expected less".into(),
            n_positions_max: 256,
            found: 512,
        };
        assert!(error.to_string().ends_with("expected less, found 512"));
        assert!(for_cause(&error).unwrap().starts_with("--context 256 "));
    }

    #[test]
    fn checkpoints_that_cannot_be_opened_are_told_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let check = |files: &[(&str, &str)], opened: &str, expected: &str| {
            let below = folder.path().join(expected.replace(['/', ' '], "_"));
            std::fs::create_dir(&below).unwrap();
            for (name, contents) in files {
                std::fs::write(below.join(name), contents).unwrap();
            }
            let error = lapwing_weights::Checkpoint::open(&below.join(opened)).unwrap_err();
            let message = error.to_string();
            // As an export gives it, too, which hides it.
            let error = anyhow::Error::new(ExportError::Open(error));
            let hint = super::super::for_error(&error, None).unwrap();
            assert!(hint.contains(expected), "{message}: {hint}");
        };
        let config = ("config.json", r#"{"model_type":"llama"}"#);
        check(&[config, ("pytorch_model.bin", "")], "", "save_pretrained(sys.argv[1])");
        check(&[("a.pth", "")], "a.pth", "as safetensors or GGUF");
        check(&[config, ("model.safetensors", "")], "model.safetensors", "give the folder");
        check(&[config, ("other.safetensors", "")], "", "call one file of weights");
        let index = r#"{"weight_map":{"a":"b.safetensors"}}"#;
        let index = ("model.safetensors.index.json", index);
        check(&[config, index, ("model.safetensors", "")], "", "`ls -l` shows which is older");
        check(&[config, index], "", "the copy is not complete: get it again");
        check(&[("a.gguf", "GGUF")], "a.gguf", "if the file was whole once");
        let adapter = ("adapter_config.json", "{}");
        check(&[config, ("model.safetensors", ""), adapter], "", "merge the adapter");
    }

    #[test]
    fn an_export_is_advised_only_where_exports_run() {
        let check = |device: &str, expected: &str| {
            let error = OpenError::Refused {
                backend: "openvino",
                version: "2026.4.1".to_owned(),
                model: "m.xml".into(),
                device: device.to_owned(),
                source: "no".into(),
            };
            let hint = for_cause(&error).unwrap();
            assert!(hint.contains(expected), "{device}: {hint}");
        };
        check("CPU", "an export of `lapwing export`");
        check("NPU:CPU", "--device cpu");
        check("GPU.1", "--device cpu");
    }

    #[test]
    fn a_prompt_beyond_the_models_own_limit_is_not_told_of_context() {
        let check = |n_positions_max: usize, names_context: bool| {
            let n_positions_model = 512;
            let error = PromptTooLong { n_tokens: 900, n_positions_max, n_positions_model };
            let hint = for_cause(&error).unwrap();
            assert_eq!(hint.contains("--context"), names_context, "{hint}");
        };
        check(512, false);
        check(64, true);
    }
}
