//! What of a request is text alone: tokens, prompts, and what they read.

use lapwing_host::{OpenTextError, TextSide};
use lapwing_store::Store;
use lapwing_text::SpecialPieces;

use crate::message::{Ask, Failure, FailureKind, Prompt, Said};
use crate::prompt::{self, Made, PromptError, TextOf};
use crate::words::{failure, nothing_open, spelled};

pub(crate) fn refused(error: &PromptError) -> Failure {
    let kind = match error {
        PromptError::TooLong { .. } => FailureKind::TooLong,
        _ => FailureKind::Request,
    };
    failure(kind, error)
}

/// What the text side of a model tells.
pub(crate) fn told(of: TextOf<'_>, ask: Ask) -> Result<Said, Failure> {
    let prompt = match ask {
        Ask::Encode { text, add_special } => Prompt::Text { text, add_special },
        Ask::Render(prompt) => prompt,
        Ask::Decode(ids) => {
            let tokenizer = of.tokenizer.ok_or_else(|| refused(&PromptError::NoTokenizer))?;
            return Ok(Said::Decoded(tokenizer.decode(&ids, SpecialPieces::Show)));
        }
        _ => return Err(nothing_open()),
    };
    let made = match prompt::make(of, prompt) {
        Ok(made) => made,
        Err(PromptError::Empty) => Made { text: String::new(), ids: Vec::new(), tools: None },
        Err(error) => return Err(refused(&error)),
    };
    let pieces = made.ids.iter().map(|&token| spelled(token, of.tokenizer)).collect();
    Ok(Said::Encoded { pieces, ids: made.ids, text: made.text })
}

/// The same of a model that is not open: neither its graph nor its weights are read.
pub(crate) fn of_text(
    store: &Store,
    failed: &dyn Fn(&(dyn std::error::Error + 'static)) -> Failure,
    model: &str,
    ask: Ask,
) -> Result<Said, Failure> {
    #[cfg(any(test, feature = "fakes"))]
    if let Some(fake) = crate::fake::named(model, lapwing_host::backend::DeviceRequest::Auto) {
        return told(fake.text(), ask);
    }
    let stored = store.get(model);
    let Some(stored) = stored.map_err(|error| failed(&error))? else {
        let message = "the model is not in the store any more".to_owned();
        return Err(Failure { kind: FailureKind::NoModel, message, hint: None });
    };
    let TextSide { tokenizer, template } = match TextSide::open(&stored.path) {
        Ok(text) => text,
        Err(OpenTextError::None(_)) => return Err(refused(&PromptError::NoTokenizer)),
        Err(error) => return Err(failed(&error)),
    };
    let (tokenizer, template) = (Some(&tokenizer), template.as_ref());
    told(TextOf { tokenizer, template, n_vocab: None, n_positions_max: None }, ask)
}
