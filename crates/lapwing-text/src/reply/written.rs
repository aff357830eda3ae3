//! How a model writes thoughts and calls: what a [`super::ReplyParser`] reads, told to those who keep
//! an answer to a form.

use lapwing_model::TokenId;

use super::format::{Marker, ReplyFormat, Role, START, Syntax, Thought};

/// A marker as a model writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// How it is spelled.
    pub spelling: &'static str,
    /// The special token that it is; `None` where it is text.
    pub token: Option<TokenId>,
}

/// The markers around a thought at the start of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenThought {
    /// What opens it; `None` where the prompt did.
    pub open: Option<Written>,
    /// What closes it.
    pub close: Written,
}

/// How calls are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenCalls {
    /// `{"name": …, "arguments": {…}}`: each between markers, with a line's end within them.
    Objects {
        /// Before a call.
        open: Written,
        /// Behind it.
        close: Written,
    },
    /// A list of such objects behind a marker, or between two.
    List {
        /// Before the list.
        open: Written,
        /// Behind it.
        close: Option<Written>,
        /// What the members are called that have the function's name and its arguments.
        keys: [&'static str; 2],
    },
    /// One such object, which is the whole answer.
    Bare {
        /// What the members are called that have the function's name and its arguments.
        keys: [&'static str; 2],
    },
    /// `NAME` and a JSON object behind it: each with a marker before the name and one behind it.
    Named {
        /// Before a name.
        open: Written,
        /// Before the arguments.
        arguments: Written,
    },
    /// `[name(a=1), …]` between markers.
    Python {
        /// Before the list.
        open: Written,
        /// Behind it.
        close: Written,
    },
    /// Marked names and JSON objects, in markers of their own, all of them between two more.
    Nested {
        /// Before all calls, and behind them.
        all: [Written; 2],
        /// Before a call, and behind it.
        each: [Written; 2],
        /// Before the arguments.
        arguments: Written,
    },
    /// One message to a function, as gpt-oss writes it, behind the beginning of a message.
    Message(WrittenMessages),
}

/// The markers of an answer of gpt-oss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenMessages {
    /// Begins a message.
    pub start: Written,
    /// Before the channel.
    pub channel: Written,
    /// Before what a message is written in.
    pub constrain: Written,
    /// Before the text.
    pub message: Written,
    /// Behind it.
    pub end: Written,
}

/// The parts of an answer whose calls nothing can be said about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnwrittenCalls {
    /// The model has no way to mark calls.
    #[error("answers of this model mark no calls")]
    None,
    /// They are no JSON.
    #[error("answers of this model write calls behind {0:?} in a way that no form is known for")]
    Syntax(&'static str),
}

const NAME_AND_ARGUMENTS: [&str; 2] = ["name", "arguments"];

impl From<&Marker> for Written {
    fn from(marker: &Marker) -> Written {
        Written { spelling: marker.spelling, token: marker.token }
    }
}

impl ReplyFormat {
    /// The thought that an answer may begin with, or must go on with where the prompt, which ends with
    /// `prompt_end`, opened it.
    #[must_use]
    pub fn written_thought(&self, prompt_end: &str) -> Option<WrittenThought> {
        let end = prompt_end.trim_end();
        let pair = |(open, thought): (&Marker, Thought)| {
            let close = self.written(Role::ThoughtClose(thought))?;
            Some((Written::from(open), close))
        };
        let thoughts = self.markers().iter().filter_map(|marker| match marker.role {
            Role::ThoughtOpen(Thought::Announced) => None,
            Role::ThoughtOpen(thought) => Some((marker, thought)),
            _ => None,
        });
        let pairs: Vec<_> = thoughts.filter_map(pair).collect();
        let opened = pairs.iter().find(|(open, _)| end.ends_with(open.spelling));
        let (open, close) = *opened.or(pairs.first())?;
        Some(WrittenThought { open: opened.is_none().then_some(open), close })
    }

    /// The markers of messages, where all of an answer is messages.
    #[must_use]
    pub fn written_messages(&self) -> Option<WrittenMessages> {
        let end = self.markers().iter().find(|marker| marker.role == Role::End)?;
        Some(WrittenMessages {
            start: self.written(Role::Start).filter(|start| start.spelling == START)?,
            channel: self.written(Role::Channel)?,
            constrain: self.written(Role::Constrain)?,
            message: self.written(Role::Message)?,
            end: end.into(),
        })
    }

    /// How calls are written.
    ///
    /// # Errors
    ///
    /// When the model marks none, or writes them in a way that nothing can be said about.
    pub fn written_calls(&self) -> Result<WrittenCalls, UnwrittenCalls> {
        if let Some(messages) = self.written_messages() {
            return Ok(WrittenCalls::Message(messages));
        }
        let (open, syntax) = self
            .markers()
            .iter()
            .find_map(|marker| match marker.role {
                Role::CallsOpen(syntax) => Some((marker, syntax)),
                _ => None,
            })
            .ok_or(UnwrittenCalls::None)?;
        let close = self.closer(open);
        let calls = self.written_as(open.into(), syntax, close);
        calls.ok_or(UnwrittenCalls::Syntax(open.spelling))
    }

    fn written_as(
        &self,
        open: Written,
        syntax: Syntax,
        close: Option<Written>,
    ) -> Option<WrittenCalls> {
        let keys = NAME_AND_ARGUMENTS;
        match syntax {
            Syntax::JsonOrXml => close.map(|close| WrittenCalls::Objects { open, close }),
            Syntax::Json if self.written(Role::ThoughtOpen(Thought::Cohere)).is_some() => {
                Some(WrittenCalls::List { open, close, keys: ["tool_name", "parameters"] })
            }
            Syntax::Json => {
                // The template may not have it, and the model not know it, but for a token.
                let close = close.filter(|close| open.token.is_none() || close.token.is_some());
                Some(WrittenCalls::List { open, close, keys })
            }
            Syntax::JsonOrNamed => {
                let arguments = self.written(Role::Arguments).filter(|it| it.token.is_some());
                Some(match arguments {
                    Some(arguments) => WrittenCalls::Named { open, arguments },
                    None => WrittenCalls::List { open, close: None, keys },
                })
            }
            Syntax::Python => close.map(|close| WrittenCalls::Python { open, close }),
            Syntax::PythonCall => Some(WrittenCalls::Bare { keys: ["name", "parameters"] }),
            Syntax::DeepSeek => Some(WrittenCalls::Nested {
                all: [open, self.written(Role::CallsClose)?],
                each: [self.written(Role::CallOpen)?, self.written(Role::CallClose)?],
                arguments: self.written(Role::Arguments)?,
            }),
            Syntax::XmlName | Syntax::Gemma | Syntax::Fenced => None,
        }
    }

    fn written(&self, role: Role) -> Option<Written> {
        self.markers().iter().find(|marker| marker.role == role).map(Written::from)
    }

    /// The closing marker of the same family: it follows the opening one.
    fn closer(&self, open: &Marker) -> Option<Written> {
        let place = self.markers().iter().position(|marker| marker == open)?;
        let behind = &self.markers()[place + 1..];
        let behind = behind.iter().take_while(|marker| !matches!(marker.role, Role::CallsOpen(_)));
        let mut closers = behind.filter(|marker| marker.role == Role::CallsClose);
        closers.next().map(Written::from)
    }
}
