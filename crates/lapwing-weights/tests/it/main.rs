//! Sources that harm nobody, whatever is in them, and sources that users have.

#[path = "../support/gguf_file.rs"]
mod gguf_file;
#[path = "../../../lapwing-formats/tests/support/hostile.rs"]
mod hostile;
mod hostile_checkpoint;
mod hostile_sources;
mod real_sources;
#[path = "../support/shared.rs"]
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
mod shared;

#[global_allocator]
static ALLOCATOR: hostile::CountingAllocator = hostile::CountingAllocator;
