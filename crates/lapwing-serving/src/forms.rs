//! What answers must look like: forms are compiled in threads of their own, so that one that takes
//! long delays nobody else.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use lapwing_grammar::{Answer, FormError, Vocabulary, compile};
use lapwing_model::TokenId;
use lapwing_runtime::Constraint;
use lapwing_text::{ReplyFormat, SpecialPieces};
use serde_json::Value;

use crate::message::{Failure, FailureKind, Form};
use crate::served::Served;
use crate::words::failure;

/// So much of a prompt's end is looked at for a thought that it opens.
const N_END_TOKENS: usize = 32;

/// The forms of one model.
#[derive(Default)]
pub(crate) struct Forms {
    /// Made for the first form.
    vocabulary: OnceLock<Result<Arc<Vocabulary>, Failure>>,
    /// Requests whose forms are being compiled.
    compiling: Mutex<HashSet<u64>>,
}

/// What an answer is to, as far as its form depends on it.
pub(crate) struct Asked<'a> {
    pub(crate) form: &'a Form,
    pub(crate) prompt: &'a [TokenId],
    pub(crate) tools: &'a [Value],
    /// All of the answer is text: its prompt is no conversation.
    pub(crate) is_text: bool,
    /// Whether a thought may come before the form.
    pub(crate) may_think: bool,
}

impl Forms {
    /// Take note that the form of a request is being compiled.
    pub(crate) fn begin(&self, number: u64) {
        self.compiling().insert(number);
    }

    /// Do something with a request whose form was being compiled, unless it was given up meanwhile;
    /// nobody can give it up while it is done. Whether it was done.
    pub(crate) fn end(&self, number: u64, work: impl FnOnce()) -> bool {
        let mut compiling = self.compiling();
        let is_wanted = compiling.remove(&number);
        if is_wanted {
            work();
        }
        is_wanted
    }

    /// What keeps an answer to its form.
    pub(crate) fn compile(
        &self,
        served: &Served,
        asked: &Asked<'_>,
    ) -> Result<Box<dyn Constraint>, Failure> {
        let Some(tokenizer) = &served.tokenizer else {
            let message = "cannot keep to a form: the model has no tokenizer".to_owned();
            return Err(Failure { kind: FailureKind::Request, message, hint: None });
        };
        let vocabulary = self.vocabulary.get_or_init(|| {
            let vocabulary = Vocabulary::new(tokenizer, &served.stop_ids);
            vocabulary.map(Arc::new).map_err(|error| failure(FailureKind::Model, &error))
        });
        let vocabulary = vocabulary.as_ref().map_err(Clone::clone)?;
        let end = &asked.prompt[asked.prompt.len().saturating_sub(N_END_TOKENS)..];
        let reply = if asked.is_text { ReplyFormat::plain() } else { served.reply.clone() };
        let form = match asked.form {
            Form::Json => lapwing_grammar::Form::Json,
            Form::Schema(schema) => lapwing_grammar::Form::Schema(schema),
            Form::Call { name } => {
                lapwing_grammar::Form::Calls { tools: asked.tools, name: name.as_deref() }
            }
        };
        let answer = Answer {
            form,
            reply: &reply,
            prompt_end: &tokenizer.decode(end, SpecialPieces::Show),
            may_think: asked.may_think,
        };
        match compile(vocabulary, &answer) {
            Ok(keeper) => Ok(Box::new(keeper)),
            Err(error @ (FormError::Busy { .. } | FormError::Thread(_))) => {
                Err(failure(FailureKind::Model, &error))
            }
            Err(error) => Err(failure(FailureKind::Request, &error)),
        }
    }

    fn compiling(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.compiling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
