//! One file per command; each has one `run` that takes what it needs of settings, printer and
//! arguments.
//!
//! A command wires libraries together and prints; what can be tested without printing is elsewhere.

pub mod bench;
pub mod cache;
pub mod calibrate;
pub mod chat;
pub mod compare;
pub mod completions;
pub mod devices;
pub mod doctor;
pub mod embed;
pub mod eval;
pub mod export;
pub mod inspect;
#[cfg(feature = "lab")]
pub mod lab;
pub mod list;
pub mod ps;
pub mod pull;
pub mod report;
pub mod rm;
pub mod run;
pub mod serve;
pub mod service;
pub mod stop;
pub mod tokenize;
pub mod worker;
