//! A team of threads that works in phases, and buffers that it writes in parts.
//!
//! A step of a small model is some hundred short pieces of work, each of which needs all of the one
//! before: what it costs to hand them out and to wait decides the speed. So the threads of a
//! [`Team`] stay, all run the same function, and [`Member::meet`] between two phases; a meeting
//! takes less than a microsecond.
//!
//! What they write for each other stands on a [`Board`]. Which boards are written is said for each
//! [`Phase`] beforehand, so that a board's parts can be handed out, and be read by all in another
//! phase, without locks and without a data race: the borrow of a part ends at the meeting.
//!
//! This crate must not know models or kernels. It is the only one of the engine with threads, and
//! its `unsafe` is in `board.rs` (parts of a buffer) and `team.rs` (a function that outlives no run).
#![allow(unsafe_code, reason = "parts of a buffer for several threads; see board.rs and team.rs")]

mod board;
mod meeting;
mod member;
mod placement;
mod team;

pub use board::Board;
pub use member::{Member, Phase};
pub use placement::{Placement, performance_cores};
pub use team::{RunError, Team};
