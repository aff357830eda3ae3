//! What whoever serves asks of a worker, and what a worker says.
//!
//! Every request has a number ([`lapwing_host::worker`]); what is said to it ends with
//! [`Said::Ended`], [`Said::Failed`] or the answer of its kind. All of it is JSON that both sides
//! write and read.

mod spelled;
mod told;

use lapwing_backend::OpenOptions;
use lapwing_host::{BackendChoice, CorrectionChoice};
use lapwing_model::TokenId;
use lapwing_store::Variant;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// How tokens are chosen.
pub use lapwing_host::sampling::SamplingRequest as Sampling;
/// A part of an answer.
pub use lapwing_text::ReplyEvent;
pub use spelled::{Probability, Spelled};
pub use told::{Abilities, Card, Library, Listing, OfferedDevice, State};

/// What is asked of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Open a model: the first that is asked of a worker that is to hold one. [`Said::Opened`].
    Open(Box<Opening>),
    /// Answer. [`Said::Began`], [`Said::Piece`]s, [`Said::Ended`].
    Generate(Box<Generate>),
    /// Give up a request by its number; it ends as cancelled. Nothing is said to this.
    Cancel(u64),
    /// The tokens of a text. [`Said::Encoded`].
    Encode {
        /// The text. Spellings of special tokens in it become those.
        text: String,
        /// Whether what begins every text, as the tokenizer has it, is put before it.
        add_special: bool,
    },
    /// The text of tokens, special ones included. [`Said::Decoded`].
    Decode(Vec<TokenId>),
    /// The prompt of a conversation. [`Said::Encoded`] with its text.
    Render(Prompt),
    /// What a model's text side alone tells, of a worker that holds none: to [`Ask::Encode`],
    /// [`Ask::Decode`] or [`Ask::Render`], as is said to those.
    OfText {
        /// A name in the store.
        model: String,
        /// What is asked.
        ask: Box<Ask>,
    },
    /// Embeddings of texts. [`Said::Embedded`].
    Embed {
        /// The texts, or their tokens.
        inputs: Vec<EmbedInput>,
        /// Whether vectors get length 1.
        normalise: bool,
        /// Whether texts are cut off that are too long, instead of refused.
        truncates: bool,
    },
    /// What there is in the store. [`Said::Listed`].
    List,
    /// What the libraries offer on this machine. [`Said::Offered`].
    Devices,
    /// The SHA-256 of a model's files, all of which are read for it. [`Said::Hashed`].
    Hash {
        /// A name in the store or a path.
        model: String,
        /// Which of several graphs of its folder, as [`Card::variant`] tells.
        variant: Option<String>,
    },
    /// How things stand. [`Said::State`].
    Look,
    /// Compute for this share of the time from now on, above 0 and at most 1. Nothing is said to this.
    Pace(f64),
}

/// How a model is opened, and what may be kept for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// A name in the store or a path.
    pub model: String,
    /// Which of several graphs of its folder.
    pub variant: Option<Variant>,
    /// It makes embeddings, and no answers; see [`Abilities::embeds`]. Such a model runs on the CPU.
    #[serde(default)]
    pub embeds: bool,
    /// What runs it.
    pub backend: BackendChoice,
    /// What the library is asked for.
    pub options: OpenOptions,
    /// The correction of its logits.
    pub correction: CorrectionChoice,
    /// Sequences that are kept or run at a time.
    pub n_sequences_max: usize,
    /// Bytes that kept sequences may take together.
    pub n_kept_bytes_max: u64,
}

/// What an answer is made from, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Generate {
    /// What it answers.
    pub prompt: Prompt,
    /// How tokens are chosen; what is left out is as the model's authors say.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub sampling: Sampling,
    /// Most tokens; as many as fit where it is left out or is more.
    pub n_tokens_max: Option<usize>,
    /// Each of these strings ends the answer.
    #[serde(default)]
    pub stop_texts: Vec<String>,
    /// Go on behind the tokens that end an answer.
    #[serde(default)]
    pub ignores_end: bool,
    /// Whether the log probability of every token is told.
    #[serde(default)]
    pub log_probabilities: bool,
    /// How many of the most probable tokens are told with each.
    #[serde(default)]
    pub n_top: usize,
    /// What the answer must look like.
    pub form: Option<Form>,
    /// Whose it is: clients get turns in turn.
    #[serde(default)]
    pub client: u64,
    /// Whether somebody waits for it; what is done in the background waits for that.
    #[serde(default)]
    pub is_background: bool,
    /// Positions that must be left for the answer, or the prompt counts as too long.
    #[serde(default)]
    pub n_room: usize,
    /// Read all of the prompt, whatever a kept sequence knows of it: the same prompt then gives the
    /// same numbers.
    #[serde(default)]
    pub reads_anew: bool,
}

impl Generate {
    /// The answer to `prompt` as the model's authors would have it, without a limit.
    #[must_use]
    pub fn new(prompt: Prompt) -> Generate {
        Generate {
            prompt,
            sampling: Sampling::default(),
            n_tokens_max: None,
            stop_texts: Vec::new(),
            ignores_end: false,
            log_probabilities: false,
            n_top: 0,
            form: None,
            client: 0,
            is_background: false,
            n_room: 0,
            reads_anew: false,
        }
    }
}

/// What an answer answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// A conversation, by the model's template.
    Chat(Box<Chat>),
    /// A text as it is. Spellings of special tokens in it become those.
    Text {
        /// The text.
        text: String,
        /// Whether what begins every text is put before it.
        add_special: bool,
    },
    /// Tokens.
    #[schema(value_type = Vec<u32>)]
    Ids(Vec<TokenId>),
}

/// A conversation, as OpenAI's interface writes it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Chat {
    /// Messages with their roles, oldest first.
    pub messages: Vec<Value>,
    /// Functions that the model may call.
    pub tools: Option<Vec<Value>>,
    /// Further variables of the template.
    #[serde(default)]
    pub variables: Map<String, Value>,
    /// Whether the model shall think before it answers; its own custom where it is left out.
    pub thinks: Option<bool>,
    /// How much it shall think, in the template's words.
    pub effort: Option<String>,
    /// Begin a new answer also where the last message is one; else that one goes on.
    #[serde(default)]
    pub begins_anew: bool,
}

/// What an answer must look like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// A JSON object.
    Json,
    /// What a JSON schema describes.
    Schema(Value),
    /// At least one call of the conversation's tools, of `name` if that is given.
    Call {
        /// The function.
        name: Option<String>,
    },
}

/// What embeddings are made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EmbedInput {
    /// A text.
    Text(String),
    /// Its tokens, with those that begin and end every text.
    #[schema(value_type = Vec<u32>)]
    Ids(Vec<TokenId>),
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// Something worth knowing while a model is opened.
    Notice(String),
    /// The model is open.
    Opened(Box<Card>),
    /// So much of the prompt is read. Comes now and then.
    Reading {
        /// Tokens that are read.
        n_read: usize,
        /// Tokens of the prompt.
        n_prompt: usize,
    },
    /// The prompt was made; it is about to be read.
    Began {
        /// Tokens of the prompt.
        n_prompt: usize,
        /// Most tokens of the answer: what was asked for, or what is left of the context.
        n_tokens_max: usize,
    },
    /// The next token of an answer.
    Piece(Box<Piece>),
    /// The answer has ended.
    Ended(Box<Ended>),
    /// To [`Ask::Encode`] and [`Ask::Render`].
    Encoded {
        /// The tokens.
        #[schema(value_type = Vec<u32>)]
        ids: Vec<TokenId>,
        /// How each is spelled.
        pieces: Vec<Spelled>,
        /// The text that they are of.
        text: String,
    },
    /// To [`Ask::Decode`].
    Decoded(String),
    /// To [`Ask::Embed`].
    Embedded {
        /// A vector for each input, in order.
        vectors: Vec<Vec<f32>>,
        /// Tokens of all inputs.
        n_tokens: usize,
    },
    /// To [`Ask::List`].
    Listed(Vec<Listing>),
    /// To [`Ask::Devices`].
    Offered(Vec<Library>),
    /// To [`Ask::Hash`].
    Hashed {
        /// SHA-256 in hexadecimal digits.
        sha256: String,
        /// Bytes of the files.
        n_bytes: u64,
    },
    /// To [`Ask::Look`].
    State(State),
    /// It cannot be had.
    Failed(Failure),
}

/// What became certain with a token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Piece {
    /// The token.
    #[schema(value_type = u32)]
    pub token: TokenId,
    /// Text, thoughts and calls, in order; often nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub parts: Vec<ReplyEvent>,
    /// What was asked for of its probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<Box<Probability>>,
}

/// How an answer ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ended {
    /// Why.
    pub why: Why,
    /// The stop string that ended it.
    pub stop_text: Option<String>,
    /// Tokens of the prompt.
    pub n_prompt: usize,
    /// Tokens of the prompt that a kept sequence still knew.
    pub n_reused: usize,
    /// Tokens of the answer.
    pub n_tokens: usize,
    /// Tokens of the answer that are thoughts.
    pub n_thought_tokens: usize,
    /// From the request to the begin of its prompt.
    pub queue_ms: f64,
    /// Reading the prompt, others' turns left out.
    pub prompt_ms: f64,
    /// Making the answer, others' turns left out.
    pub answer_ms: f64,
    /// What it took; known to whoever serves, not to a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy: Option<Spent>,
}

/// What the processor took while an answer was made, in joules, or why that is not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Spent {
    /// Joules.
    pub energy_j: Option<f64>,
    /// Why they are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub energy_null: Option<String>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The model came to its end, or what the form allows is complete.
    Stop,
    /// A stop string came.
    StopText,
    /// As many tokens as were asked for.
    Length,
    /// The context is full.
    Full,
    /// It was given up.
    Cancelled,
}

/// Why something cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// Whose fault it is.
    pub kind: FailureKind,
    /// In words, with causes.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// What was asked for makes no sense, or this model cannot do it.
    Request,
    /// The prompt does not fit.
    TooLong,
    /// There is no such model.
    NoModel,
    /// The model, its files or the library.
    Model,
}
