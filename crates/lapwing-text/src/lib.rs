//! Text on both sides of a model: tokenizer, streaming detokenizer, chat template, stop strings,
//! thoughts and calls.
//!
//! A prompt goes [`ChatTemplate::render`] → [`Tokenizer::encode`]; an answer comes back through
//! [`Detokenizer::push`] → [`StopMatcher::push`] → [`ReplyParser::push`], token by token.
//!
//! This crate must not know a backend, a session or the command line, and it knows no date: a
//! template that asks for it gets the [`LocalTime`] that the caller passes in.
//!
//! To support one more decoder of a `tokenizer.json`, add a stage in `detokenizer/stage.rs`; one more
//! filter or method of chat templates goes into `jinja/filters.rs` or `jinja/methods.rs`, with a line
//! in `testdata/snippets.txt` (and run `expected.py`); one more way to mark thoughts or calls in an
//! answer goes into `reply/format.rs`.

mod chat_input;
mod chat_template;
mod detokenizer;
mod guard;
mod jinja;
mod reply;
mod stop;
mod tables;
mod tokenizer;

pub use chat_input::{ChatInput, ChatInputError, tools_from_json};
pub use chat_template::local_time::LocalTime;
pub use chat_template::message::{Message, NotAMessage};
pub use chat_template::rendered::Rendered;
pub use chat_template::special_tokens::SpecialTokens;
pub use chat_template::{ChatTemplate, OpenTemplateError, RenderError, RenderInput};
pub use detokenizer::{Detokenizer, SpecialPieces};
pub use lapwing_model::TokenId;
pub use reply::format::ReplyFormat;
pub use reply::written::{UnwrittenCalls, Written, WrittenCalls, WrittenMessages, WrittenThought};
pub use reply::{Piece, Reply, ReplyEvent, ReplyParser, ToolCall};
pub use stop::{StopMatcher, Stopped};
pub use tokenizer::{EncodeError, OpenTokenizerError, Tokenizer};
