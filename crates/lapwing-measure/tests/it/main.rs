//! Records and everything made of them, from outside.

#![allow(clippy::unwrap_used, reason = "the lint knows tests, not their helpers")]

mod schema;
