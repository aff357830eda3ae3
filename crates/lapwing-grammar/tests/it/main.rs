//! Forms with the tokenizers that are at hand, and a model that says anything.

#![allow(clippy::unwrap_used, reason = "the lint knows tests, not their helpers")]
#![allow(clippy::print_stderr, reason = "what is skipped is told")]

mod calls;
mod hostile;
mod model;
mod schemas;
