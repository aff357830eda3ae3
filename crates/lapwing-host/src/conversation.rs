//! Messages, and from them to a prompt: its text and its token ids.

mod forms;
mod reads;

use jiff::Zoned;
use lapwing_model::TokenId;
use lapwing_text::{
    ChatTemplate, EncodeError, LocalTime, Message, RenderError, RenderInput, Tokenizer, ToolCall,
};
use serde_json::{Map, Value, json};

use crate::engine::{Engine, NoTokenizer};

use forms::is_begun_answer;
pub use reads::{NoVariable, Reads, unread_fields};

/// Why messages are no prompt.
#[derive(Debug, thiserror::Error)]
pub enum EncodePromptError {
    /// Nothing can read them.
    #[error("cannot read the prompt")]
    NoTokenizer(#[from] NoTokenizer),
    /// The tokenizer refuses.
    #[error("cannot read the prompt")]
    Encode(#[from] EncodeError),
    /// The template refuses.
    #[error("cannot make the prompt")]
    Render(#[from] RenderError),
    /// A token that the tokenizer knows and the model does not.
    #[error(
        "the prompt holds token {token} ({piece}), which the model does not have: it knows {n_model}"
    )]
    NoSuchToken {
        /// The token.
        token: TokenId,
        /// How it is spelled.
        piece: String,
        /// Tokens the model takes.
        n_model: usize,
    },
}

/// What a chat template is told beside the messages.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Functions that the model may call; `None` is not `[]`.
    pub tools: Option<Vec<Value>>,
    /// Further variables (`enable_thinking`, …).
    pub variables: Map<String, Value>,
    /// The last message, if it is an answer's text, is not over: what comes goes on from it. Else it
    /// is answered.
    pub goes_on: bool,
}

/// What goes into the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// As it reads; what the tokenizer itself puts around a text is not in it.
    pub text: String,
    /// As the model gets it.
    pub ids: Vec<TokenId>,
}

/// A prompt does not fit.
#[derive(Debug, thiserror::Error)]
#[error("prompt of {n_tokens} tokens is too long: the context holds {n_positions_max}")]
pub struct PromptTooLong {
    /// Length of the prompt.
    pub n_tokens: usize,
    /// Positions there is room for: what was asked for, at most the model's own limit.
    pub n_positions_max: usize,
    /// The model's own limit.
    pub n_positions_model: usize,
}

/// Messages that go on, those of the system first.
#[derive(Debug, Clone, Default)]
pub struct Conversation {
    messages: Vec<Message>,
    told: Told,
    /// Calls that got an id, those of forgotten messages too.
    n_calls: usize,
}

impl Conversation {
    /// A conversation without messages, whose template is told this.
    #[must_use]
    pub fn new(told: Told) -> Conversation {
        Conversation { told, ..Conversation::default() }
    }

    /// Begin anew, but for what the system said.
    pub fn reset(&mut self) {
        self.messages.retain(|message| message.role == "system");
    }

    /// Begin anew, under this system message if it says anything.
    pub fn set_system(&mut self, text: &str) {
        self.messages.clear();
        if !text.is_empty() {
            self.add("system", text);
        }
    }

    /// What `role` says next.
    pub fn add(&mut self, role: &str, text: &str) {
        self.messages.push(Message::new(role, text));
    }

    /// What the model answered. Thoughts go into later prompts only as the template has them go: if
    /// it reads them at all. Calls are text where it does not read them.
    pub fn add_answer(
        &mut self,
        template: Option<&ChatTemplate>,
        text: &str,
        reasoning: &str,
        calls: &[ToolCall],
    ) {
        let reads = |field: &str| template.is_some_and(|template| template.reads_field(field));
        let mut message = Message::new("assistant", text);
        if !reasoning.is_empty() && reads(REASONING) {
            message.extra.insert(REASONING.to_owned(), reasoning.into());
        }
        if !calls.is_empty() && reads(TOOL_CALLS) {
            let n_before = self.n_calls;
            self.n_calls += calls.len();
            let calls = calls.iter().enumerate().map(|(idx, call)| {
                // Of a form that every template takes.
                let id = format!("call{:05}", n_before + idx);
                json!({"id": id, "type": "function", "function": call.as_json()})
            });
            message.extra.insert(TOOL_CALLS.to_owned(), calls.collect());
        } else {
            append_lines(&mut message, calls.iter().map(ToolCall::as_json));
        }
        self.messages.push(message);
    }

    /// Write calls as text: some templates that read them refuse one without its result. Whether there
    /// were any.
    pub fn spell_calls(&mut self) -> bool {
        let mut has_calls = false;
        for message in &mut self.messages {
            let Some(Value::Array(calls)) = message.extra.shift_remove(TOOL_CALLS) else {
                continue;
            };
            append_lines(message, calls.into_iter().map(|call| call["function"].clone()));
            has_calls = true;
        }
        has_calls
    }

    /// Forget the last message of the user, and what was answered to it. Whether there was one.
    pub fn undo(&mut self) -> bool {
        let last = self.messages.iter().rposition(|message| message.role == "user");
        last.inspect(|&idx| self.messages.truncate(idx)).is_some()
    }

    /// What was said, oldest first.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// What the template is told beside it.
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// Forget the last message, whose answer failed.
    pub fn take_back(&mut self) {
        self.messages.pop();
    }

    /// The conversation as tokens, with room for an answer of `n_tokens_max`: the oldest exchanges
    /// go first, and `forgotten` hears of each. Whether the last message alone fits is not looked
    /// at: see [`check_length`].
    ///
    /// # Errors
    ///
    /// As [`encode`].
    pub fn fitting_prompt(
        &mut self,
        engine: &Engine,
        n_tokens_max: usize,
        forgotten: &mut dyn FnMut(),
    ) -> Result<Vec<TokenId>, EncodePromptError> {
        let n_positions_max = engine.model.limits().n_positions_max;
        // A small context is not all for the answer.
        let n_room = n_tokens_max.min(n_positions_max / 2);
        loop {
            let prompt =
                self.prompt(&|messages, told| encode_told(engine, messages, told, false))?.ids;
            if prompt.len() + n_room <= n_positions_max || !self.forget_oldest() {
                return Ok(prompt);
            }
            forgotten();
        }
    }

    /// What `encode` makes of the messages; where it refuses their calls, of these as text.
    fn prompt(&mut self, encode: &Encode<'_>) -> Result<Prompt, EncodePromptError> {
        match encode(&self.messages, &self.told) {
            Err(EncodePromptError::Render(error)) if refuses(&error) && self.spell_calls() => {
                encode(&self.messages, &self.told)
            }
            prompt => prompt,
        }
    }

    /// Forget the first question and its answer, never the system message or the last question.
    /// Whether there was one.
    pub fn forget_oldest(&mut self) -> bool {
        let start = self.messages.iter().take_while(|message| message.role == "system").count();
        if self.messages.len() < start + 3 {
            return false;
        }
        self.messages.drain(start..start + 2);
        true
    }
}

type Encode<'a> = dyn Fn(&[Message], &Told) -> Result<Prompt, EncodePromptError> + 'a;

/// Whether a template might take the same messages in another form: one that was written for
/// arguments of another type than it got does not raise, it fails.
fn refuses(error: &RenderError) -> bool {
    matches!(error, RenderError::Raised { .. } | RenderError::Failed { .. })
}

/// Fields of an assistant's message that templates may read.
const REASONING: &str = "reasoning_content";
const TOOL_CALLS: &str = "tool_calls";

fn append_lines(message: &mut Message, lines: impl Iterator<Item = Value>) {
    let text = message.content.as_ref().and_then(Value::as_str).unwrap_or_default();
    let text = Some(text.to_owned()).filter(|text| !text.is_empty());
    let lines = lines.map(|line| line.to_string());
    message.content = Some(text.into_iter().chain(lines).collect::<Vec<_>>().join("\n").into());
}

/// Messages alone, as [`encode_told`].
///
/// # Errors
///
/// As [`encode_told`].
pub fn encode(
    engine: &Engine,
    messages: &[Message],
    raw: bool,
) -> Result<Vec<TokenId>, EncodePromptError> {
    encode_told(engine, messages, &Told::default(), raw).map(|prompt| prompt.ids)
}

/// A conversation as the model wants it: through the chat template, or the last text alone when
/// the folder has no template or `raw` wants none. Whether there is room for it is not looked at:
/// see [`check_length`].
///
/// # Errors
///
/// When there is no tokenizer, as [`prompt`], or when the text holds a token that the model does not
/// have.
pub fn encode_told(
    engine: &Engine,
    messages: &[Message],
    told: &Told,
    raw: bool,
) -> Result<Prompt, EncodePromptError> {
    let tokenizer = engine.tokenizer()?;
    let template = engine.template.as_ref().filter(|_| !raw);
    let prompt = prompt(tokenizer, template, messages, told)?;
    let n_model = engine.model.n_vocab();
    match prompt.ids.iter().find(|&&token| n_model <= token as usize) {
        Some(&token) => {
            let piece = tokenizer.piece(token).unwrap_or_default();
            Err(EncodePromptError::NoSuchToken { token, piece, n_model })
        }
        None => Ok(prompt),
    }
}

/// What `template` makes of `messages`, or the last text alone where there is none. What a message
/// spells like a special token stays text, but where there is no template. Where the template refuses
/// arguments of calls as objects, it gets them as JSON in a string, and where it cannot take an answer
/// without text, one with an empty text.
///
/// # Errors
///
/// When the template refuses, or the text cannot be encoded.
pub fn prompt(
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
    messages: &[Message],
    told: &Told,
) -> Result<Prompt, EncodePromptError> {
    let Some(template) = template else {
        let last = messages.last().and_then(|message| message.content.as_ref());
        let text = last.and_then(|content| content.as_str()).unwrap_or_default();
        return Ok(Prompt { text: text.to_owned(), ids: tokenizer.encode(text, true)? });
    };
    let input = RenderInput {
        messages,
        tools: told.tools.as_deref(),
        documents: None,
        add_generation_prompt: true,
        now: now(),
        extra: &told.variables,
    };
    let is_open = told.goes_on && is_begun_answer(messages);
    let render = |input: &RenderInput<'_>| {
        if is_open && let Some(rendered) = template.render_open(input, tokenizer)? {
            return Ok(rendered);
        }
        template.render_for(input, tokenizer)
    };
    let mut rendered = None;
    for messages in forms::of(messages, template, told.tools.is_some()) {
        let outcome = render(&RenderInput { messages: &messages, ..input });
        let may_take_another = matches!(&outcome, Err(error) if refuses(error));
        // Why it refuses the first form says more.
        rendered = rendered.filter(|_| outcome.is_err()).or(Some(outcome));
        if !may_take_another {
            break;
        }
    }
    let rendered = rendered.unwrap_or_else(|| render(&input))?;
    tracing::debug!(n_bytes = rendered.text().len(), "prompt rendered");
    // The template writes the special tokens itself.
    let ids = tokenizer.encode_rendered(&rendered)?;
    Ok(Prompt { text: rendered.text().to_owned(), ids })
}

/// Whether a prompt has the token for a text's beginning twice: once because the tokenizer puts it
/// there, once because it was written out.
pub fn begins_twice(engine: &Engine, prompt: &[TokenId]) -> bool {
    let bos = engine.folder.tokens.bos;
    bos.is_some() && prompt.first().copied() == bos && prompt.get(1).copied() == bos
}

/// Refuse a prompt that the model has no room for.
///
/// # Errors
///
/// When that is so.
pub fn check_length(engine: &Engine, n_tokens: usize) -> Result<(), PromptTooLong> {
    let n_positions_max = engine.model.limits().n_positions_max;
    if n_tokens <= n_positions_max {
        return Ok(());
    }
    let n_positions_model = engine.folder.architecture.n_positions_max;
    Err(PromptTooLong { n_tokens, n_positions_max, n_positions_model })
}

/// The time for templates that ask for the date, as the clocks here show it.
fn now() -> LocalTime {
    let now = Zoned::now();
    LocalTime::from_unix(now.timestamp().as_second(), now.offset().seconds())
}

#[cfg(test)]
mod tests;
