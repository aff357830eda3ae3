//! An answer, wherever it was made.

use lapwing_runtime::{Finish, Generated};
use lapwing_text::{ReplyEvent, ToolCall};

/// What a model answered, as far as people are told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What it said.
    pub text: String,
    /// What it thought before.
    pub reasoning: String,
    /// What it wants to be done.
    pub tool_calls: Vec<ToolCall>,
    /// Tokens of all of it.
    pub n_tokens: usize,
    /// Why it ended.
    pub finish: Finish,
}

impl Answer {
    /// One that was given up before it began.
    pub fn nothing() -> Answer {
        Answer {
            text: String::new(),
            reasoning: String::new(),
            tool_calls: Vec::new(),
            n_tokens: 0,
            finish: Finish::Cancelled,
        }
    }

    /// Take in what became certain.
    pub fn add(&mut self, parts: &[ReplyEvent]) {
        for part in parts {
            match part {
                ReplyEvent::Content(text) => self.text.push_str(text),
                ReplyEvent::Reasoning(text) => self.reasoning.push_str(text),
                ReplyEvent::CallStart { name, .. } => {
                    let call = ToolCall { name: name.clone(), arguments: String::new() };
                    self.tool_calls.push(call);
                }
                ReplyEvent::CallArguments { delta, .. } => {
                    if let Some(call) = self.tool_calls.last_mut() {
                        call.arguments.push_str(delta);
                    }
                }
                ReplyEvent::CallEnd { .. } => {}
            }
        }
    }
}

impl From<Generated> for Answer {
    fn from(generated: Generated) -> Answer {
        let Generated { text, reasoning, tool_calls, usage, finish, .. } = generated;
        Answer { text, reasoning, tool_calls, n_tokens: usage.n_completion_tokens, finish }
    }
}
