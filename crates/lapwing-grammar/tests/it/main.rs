//! Forms with the tokenizers that are at hand, and a model that says anything.

mod calls;
mod hostile;
mod model;
mod schemas;
