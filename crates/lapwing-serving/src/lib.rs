//! Serving one model to many: what is asked of a worker that holds it, what it says, and how the
//! answers take turns.
//!
//! ```text
//! daemon ─ Ask ─► worker: Turns ─► prompt (template, tokenizer)
//!        ◄ Said ─                 ─► Kept   which sequence already holds its beginning
//!                                 ─► lapwing_runtime::Generation, a part or a token at a time
//!                         Embeds ─► a text at a time, by turns
//! ```
//!
//! A worker is a process of its own ([`lapwing_host::worker`]): what a model file, a template or a
//! native library does to it, whoever serves survives. All that comes from a model is parsed here,
//! and nothing of HTTP is known here. [`message`] is the contract; [`serve`] the worker. Beside it
//! [`pulling`] is one that gets models.

pub mod message;
pub mod pulling;

mod confined;
mod embeds;
#[cfg(any(test, feature = "fakes"))]
mod fake;
mod forms;
mod kept;
mod listing;
mod mouth;
mod pace;
mod prompt;
mod served;
mod textual;
mod turns;
mod words;
mod worker;

pub use worker::{Base, serve};
