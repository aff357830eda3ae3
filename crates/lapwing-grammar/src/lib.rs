//! Answers that keep to a form: any JSON object, what a JSON schema describes, or calls of functions
//! as the model's family writes them.
//!
//! ```text
//! Answer ─► a grammar: rules, schemas within bounds, calls ─► Keeper: a thread that compiles it, then
//!                                                  says which tokens may come next, one step ahead
//! ```
//!
//! [`compile`] makes a [`Keeper`], which is a [`lapwing_runtime::Constraint`]. What may come behind a
//! token is worked out while the model computes. Everything is bounded: the size of a schema, the time
//! to compile it, the work for one token. What cannot be kept to is refused with its reason.
//!
//! This crate must not know a backend, a queue or a protocol. One more way to write calls goes into
//! `lapwing_text::WrittenCalls` and `calls.rs`.

mod alternatives;
mod answer;
mod bounds;
mod calls;
mod digits;
mod error;
mod keeper;
mod rules;
mod vocabulary;

pub use answer::{Answer, Form};
pub use error::FormError;
pub use keeper::{Keeper, Times, compile, compile_within};
pub use vocabulary::{Vocabulary, VocabularyError};
