//! What papers claim, put to the test: evidence, not product.
//!
//! A study takes opened models and texts in tokens, and gives a record in which every claim has its
//! numbers, its interval and a finding; a page is made from the record alone. Nothing outside the
//! program depends on this crate, and the program can be built without it.
//!
//! This crate must not know a concrete backend, the command line, files or the time of day; it
//! prints nothing, and reports progress through a closure that may stop it.
//!
//! One more study: a module here with its record, a command beside `lapwing lab falsify`, and a
//! document about what came of it.

pub mod falsify;
