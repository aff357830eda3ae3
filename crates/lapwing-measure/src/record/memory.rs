//! What a process holds.

use serde::{Deserialize, Serialize};

/// Memory in bytes in the phases of a process.
///
/// *rss* is the resident set, *pss* the proportional set: a page that `n` processes share counts
/// as one `n`th of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident before the library is loaded.
    pub idle_rss_bytes: Option<u64>,
    /// Proportional before the library is loaded.
    pub idle_pss_bytes: Option<u64>,
    /// Resident when the model is ready.
    pub loaded_rss_bytes: Option<u64>,
    /// Proportional when the model is ready.
    pub loaded_pss_bytes: Option<u64>,
    /// Resident when the prompt, or the context behind which is decoded, has been read.
    pub prefilled_rss_bytes: Option<u64>,
    /// Proportional when the prompt has been read.
    pub prefilled_pss_bytes: Option<u64>,
    /// Resident after the last token.
    pub decoding_rss_bytes: Option<u64>,
    /// Proportional after the last token.
    pub decoding_pss_bytes: Option<u64>,
    /// The most that was ever resident, as the kernel counts it.
    pub peak_rss_bytes: Option<u64>,
    /// The weights that are mapped from files.
    pub weights_mapped_bytes: Option<u64>,
    /// The keys and values of the positions of this test.
    pub kv_bytes: Option<u64>,
    /// What the library works in beside weights, keys and values.
    pub scratch_bytes: Option<u64>,
    /// On the device, where that has memory of its own or a share of it that it tells.
    pub device_bytes: Option<u64>,
}
