//! Which markers a model's answers have.

use std::sync::Arc;

use lapwing_model::TokenId;

use super::tools::Tools;
use crate::chat_template::ChatTemplate;
use crate::tokenizer::Tokenizer;

/// How a model marks thoughts and calls. Cloning is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyFormat {
    markers: Arc<[Marker]>,
    /// A JSON object at the start of an answer, or of a block of code, may be a call without any marker.
    has_bare_calls: bool,
    tools: Arc<Tools>,
}

/// A marker, and what it is to a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) role: Role,
    pub(super) spelling: &'static str,
    /// The special token that it is; `None` where it is text.
    pub(super) token: Option<TokenId>,
}

/// What a marker means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    ThoughtOpen(Thought),
    ThoughtClose(Thought),
    /// Around the content; it says nothing more.
    Response,
    CallsOpen(Syntax),
    CallsClose,
    /// Behind calls that stand in a block of code.
    FenceClose,
    /// Within calls: where a single one begins and ends, its arguments begin, its id begins, and what
    /// stands for a quotation mark.
    CallOpen,
    CallClose,
    Arguments,
    CallId,
    Quote,
    /// Of gpt-oss, whose whole answer is messages with headers.
    Start,
    Channel,
    Constrain,
    Message,
    End,
}

/// Thoughts are closed by the marker that belongs to the one that opened them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thought {
    Tagged,
    Bracketed,
    /// Behind the opening marker stands what the channel is called.
    Channel,
    Cohere,
    /// Announced in plain words, at the start of an answer only.
    Announced,
}

/// How calls are written between their markers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// `{"name": …, "arguments": {…}}`, or a list of such objects.
    Json,
    /// The same, or `<function=NAME><parameter=P>…`.
    JsonOrXml,
    /// `<function=` was the marker itself.
    XmlName,
    /// JSON, or `NAME` and the arguments behind a marker or a brace.
    JsonOrNamed,
    /// `[name(a=1)]`, or JSON.
    Python,
    /// `name.call(a=1)`, or JSON.
    PythonCall,
    /// `call:NAME{a:1}`.
    Gemma,
    /// A marker around each call, and one between name and arguments.
    DeepSeek,
    /// JSON in a block of code, if its function is offered.
    Fenced,
}

/// What belongs together: the family has all of it where the tokenizer or the template has one of
/// `signs`.
struct Family {
    name: &'static str,
    signs: &'static [&'static str],
    markers: &'static [(Role, &'static str)],
}

const FAMILIES: &[Family] = &[
    Family {
        name: "think",
        signs: &["<think>", "</think>"],
        markers: &[
            (Role::ThoughtOpen(Thought::Tagged), "<think>"),
            (Role::ThoughtClose(Thought::Tagged), "</think>"),
        ],
    },
    Family {
        name: "granite response",
        signs: &["<response>"],
        markers: &[(Role::Response, "<response>"), (Role::Response, "</response>")],
    },
    Family {
        name: "granite words",
        signs: &["Here is my response:"],
        markers: &[
            (Role::ThoughtOpen(Thought::Announced), "Here is my thought process:"),
            (Role::ThoughtClose(Thought::Announced), "Here is my response:"),
        ],
    },
    Family {
        name: "mistral think",
        signs: &["[THINK]"],
        markers: &[
            (Role::ThoughtOpen(Thought::Bracketed), "[THINK]"),
            (Role::ThoughtClose(Thought::Bracketed), "[/THINK]"),
        ],
    },
    Family {
        name: "gemma channel",
        signs: &["<|channel>"],
        markers: &[
            (Role::ThoughtOpen(Thought::Channel), "<|channel>"),
            (Role::ThoughtClose(Thought::Channel), "<channel|>"),
        ],
    },
    Family {
        name: "cohere",
        signs: &["<|START_THINKING|>", "<|START_ACTION|>"],
        markers: &[
            (Role::ThoughtOpen(Thought::Cohere), "<|START_THINKING|>"),
            (Role::ThoughtClose(Thought::Cohere), "<|END_THINKING|>"),
            (Role::Response, "<|START_RESPONSE|>"),
            (Role::Response, "<|END_RESPONSE|>"),
            (Role::CallsOpen(Syntax::Json), "<|START_ACTION|>"),
            (Role::CallsClose, "<|END_ACTION|>"),
        ],
    },
    Family {
        name: "tool_call",
        signs: &["<tool_call>"],
        markers: &[
            (Role::CallsOpen(Syntax::JsonOrXml), "<tool_call>"),
            (Role::CallsClose, "</tool_call>"),
        ],
    },
    Family {
        name: "qwen coder",
        signs: &["<function="],
        markers: &[(Role::CallsOpen(Syntax::XmlName), "<function=")],
    },
    Family {
        name: "nemotron",
        signs: &["<TOOLCALL>"],
        markers: &[
            (Role::CallsOpen(Syntax::Json), "<TOOLCALL>"),
            (Role::CallsClose, "</TOOLCALL>"),
        ],
    },
    Family {
        name: "phi, granite",
        signs: &["<|tool_call|>"],
        markers: &[
            (Role::CallsOpen(Syntax::Json), "<|tool_call|>"),
            (Role::CallsClose, "<|/tool_call|>"),
        ],
    },
    Family {
        name: "phi",
        signs: &["<|tool_calls|>"],
        markers: &[
            (Role::CallsOpen(Syntax::Json), "<|tool_calls|>"),
            (Role::CallsClose, "<|/tool_calls|>"),
        ],
    },
    Family {
        name: "mistral",
        signs: &["[TOOL_CALLS]"],
        markers: &[
            (Role::CallsOpen(Syntax::JsonOrNamed), "[TOOL_CALLS]"),
            (Role::CallId, "[CALL_ID]"),
            (Role::Arguments, "[ARGS]"),
        ],
    },
    Family {
        name: "lfm2",
        signs: &["<|tool_call_start|>"],
        markers: &[
            (Role::CallsOpen(Syntax::Python), "<|tool_call_start|>"),
            (Role::CallsClose, "<|tool_call_end|>"),
        ],
    },
    Family {
        name: "llama",
        signs: &["<|python_tag|>"],
        markers: &[(Role::CallsOpen(Syntax::PythonCall), "<|python_tag|>")],
    },
    Family {
        name: "gemma",
        signs: &["<|tool_call>"],
        markers: &[
            (Role::CallsOpen(Syntax::Gemma), "<|tool_call>"),
            (Role::CallsClose, "<tool_call|>"),
            (Role::Quote, "<|\"|>"),
        ],
    },
    Family {
        name: "deepseek",
        signs: &["<｜tool▁calls▁begin｜>"],
        markers: &[
            (Role::CallsOpen(Syntax::DeepSeek), "<｜tool▁calls▁begin｜>"),
            (Role::CallOpen, "<｜tool▁call▁begin｜>"),
            (Role::Arguments, "<｜tool▁sep｜>"),
            (Role::CallClose, "<｜tool▁call▁end｜>"),
            (Role::CallsClose, "<｜tool▁calls▁end｜>"),
        ],
    },
];

/// The families in whose answers a call may have no marker at all: Llama's are taught so, and small
/// models of Qwen's leave theirs out.
const BARE: [&str; 2] = ["llama", "tool_call"];

/// Around calls of these families where they make code of them.
const FENCE: Family = Family {
    name: "fence",
    signs: &[],
    markers: &[
        (Role::FenceClose, FENCE_MARK),
        (Role::CallsOpen(Syntax::Fenced), "```json"),
        (Role::CallsOpen(Syntax::Fenced), FENCE_MARK),
    ],
};

/// Begins and ends a block of code.
pub(super) const FENCE_MARK: &str = "```";

/// Begins a message of gpt-oss.
pub(super) const START: &str = "<|start|>";

/// Of gpt-oss, where its channels are tokens: all that its answers have.
const HARMONY: Family = Family {
    name: "harmony",
    signs: &["<|channel|>", "<|message|>"],
    markers: &[
        (Role::Start, START),
        (Role::Channel, "<|channel|>"),
        (Role::Constrain, "<|constrain|>"),
        (Role::Message, "<|message|>"),
        (Role::End, "<|end|>"),
        (Role::End, "<|call|>"),
        (Role::End, "<|return|>"),
    ],
};

impl ReplyFormat {
    /// All is content.
    #[must_use]
    pub fn plain() -> ReplyFormat {
        ReplyFormat { markers: Arc::from([]), has_bare_calls: false, tools: Arc::default() }
    }

    /// The format of a model with this chat template, if it has one, and this tokenizer.
    #[must_use]
    pub fn detect(template: Option<&ChatTemplate>, tokenizer: &Tokenizer) -> ReplyFormat {
        let has_token = |sign: &&str| tokenizer.token_id(sign).is_some();
        let is_mentioned = |sign: &&str| template.is_some_and(|template| template.mentions(sign));
        if HARMONY.signs.iter().all(has_token) {
            return ReplyFormat::of(&[&HARMONY], tokenizer);
        }
        let has = |sign: &&str| has_token(sign) || is_mentioned(sign);
        let families = FAMILIES.iter().filter(|family| family.signs.iter().any(has));
        let mut families: Vec<&Family> = families.collect();
        if families.iter().any(|family| BARE.contains(&family.name)) {
            families.push(&FENCE);
        }
        ReplyFormat::of(&families, tokenizer)
    }

    fn of(families: &[&Family], tokenizer: &Tokenizer) -> ReplyFormat {
        let names: Vec<&str> = families.iter().map(|family| family.name).collect();
        tracing::debug!(?names, "format of answers");
        let marker = |&(role, spelling): &(Role, &'static str)| {
            let token = tokenizer.token_id(spelling).filter(|&id| tokenizer.is_special(id));
            Marker { role, spelling, token }
        };
        let markers = families.iter().flat_map(|family| family.markers).map(marker).collect();
        ReplyFormat { markers, has_bare_calls: names.contains(&FENCE.name), tools: Arc::default() }
    }

    /// The format where the prompt offers these functions, as JSON schemas. Their schemas say what is
    /// a string, and what is not marked is a call only if its function is offered.
    #[must_use]
    pub fn with_tools(&self, tools: &[serde_json::Value]) -> ReplyFormat {
        ReplyFormat { tools: Arc::new(Tools::new(tools)), ..self.clone() }
    }

    /// Whether all is content.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.markers.is_empty()
    }

    /// Whether answers may begin with a thought.
    #[must_use]
    pub fn thinks(&self) -> bool {
        let is_thought = |marker: &Marker| matches!(marker.role, Role::ThoughtOpen(_));
        self.is_harmony() || self.markers.iter().any(is_thought)
    }

    pub(super) fn is_harmony(&self) -> bool {
        self.markers.iter().any(|marker| marker.role == Role::Channel)
    }

    pub(super) fn has_bare_calls(&self) -> bool {
        self.has_bare_calls && !self.tools.is_empty()
    }

    pub(super) fn tools(&self) -> &Arc<Tools> {
        &self.tools
    }

    pub(super) fn markers(&self) -> &[Marker] {
        &self.markers
    }

    /// The marker that a special token is.
    pub(super) fn marker(&self, token: TokenId) -> Option<&Marker> {
        self.markers.iter().find(|marker| marker.token == Some(token))
    }
}
