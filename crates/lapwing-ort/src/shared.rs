//! What all decoders of a model share.

use std::sync::Mutex;

use ort::session::Session;

use crate::contract::Contract;
use crate::embedder::Embedder;

/// What decoders share.
pub(crate) struct Shared {
    /// The crate's `Session` runs through `&mut`, so decoders take turns.
    pub(crate) session: Mutex<Session>,
    /// What is asked before it, where tokens do not go in as their ids.
    pub(crate) embedder: Option<Embedder>,
    pub(crate) contract: Contract,
    pub(crate) rows: LogitsRows,
    pub(crate) n_positions_max: usize,
    /// Length of the hidden states, when they were asked for.
    pub(crate) n_hidden: Option<usize>,
}

/// How the graph is told which positions' logits to compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogitsRows {
    /// By the input that Lapwing added: minus the number of last positions.
    Start,
    /// By an input of the exporter's: the number of last positions.
    Count,
    /// Not at all: those of every position come out.
    Every,
    /// Not at all: those of the last position come out.
    Last,
}
