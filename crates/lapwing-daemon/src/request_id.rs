//! Numbers of requests and of what answers them: unlike each other, and unlike those of a daemon that
//! ran before.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A number that no other request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestId(u128);

static COUNT: AtomicU64 = AtomicU64::new(0);

impl RequestId {
    pub(crate) fn new() -> RequestId {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        RequestId(since.as_nanos() << 32 | u128::from(count & 0xffff_ffff))
    }

    /// An id with the prefix that a protocol expects: `chatcmpl-`, `msg_`.
    pub(crate) fn with_prefix(self, prefix: &str) -> String {
        format!("{prefix}{:024x}", self.0 & (u128::MAX >> 32))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.with_prefix("req_"))
    }
}
