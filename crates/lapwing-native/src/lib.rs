//! A CPU engine for quantised language models.
//!
//! [`Network`] says what a decoder computes, [`read`] finds it in the files that people have.
//!
//! To add an option that a family has: a field in `network.rs`, where each reader finds it, and the
//! stage that computes it. To add a format: a module below `read`.

mod network;
pub mod read;

pub use network::{Attention, FeedForward, Layer, Linear, Network, Norm, Pairs, Rotary};
