//! Files that harm nobody, whatever is in them, and files that users have.

#[path = "../support/hostile.rs"]
mod hostile;
mod hostile_gguf;
mod hostile_ir;
mod hostile_onnx;
mod hostile_safetensors;
mod real_ir;

#[global_allocator]
static ALLOCATOR: hostile::CountingAllocator = hostile::CountingAllocator;
