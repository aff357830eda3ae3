//! What is known of a file of a repository before it is here.

/// What the hub says about a file.
pub(super) struct Listed {
    pub(super) size_bytes: u64,
    /// None where it gives none that can be used.
    pub(super) hash: Option<Hash>,
}

/// The hash of a file, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256(String),
    /// Of a file that git itself keeps.
    GitBlob(String),
}

impl Hash {
    /// The digits of either.
    pub(super) fn digits(&self) -> &str {
        let (Self::Sha256(digits) | Self::GitBlob(digits)) = self;
        digits
    }

    /// Read either, which are told apart by their lengths.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::sha256(text).or_else(|| Self::git_blob(text))
    }

    pub(super) fn sha256(text: &str) -> Option<Self> {
        let hash = text.strip_prefix("sha256:").unwrap_or(text);
        is_hexadecimal(hash, 64).then(|| Self::Sha256(hash.to_ascii_lowercase()))
    }

    pub(super) fn git_blob(text: &str) -> Option<Self> {
        is_commit(text).then(|| Self::GitBlob(text.to_ascii_lowercase()))
    }
}

/// Whether a text is the name of a commit, or another hash of git.
pub(super) fn is_commit(text: &str) -> bool {
    is_hexadecimal(text, 40)
}

fn is_hexadecimal(text: &str, n_digits: usize) -> bool {
    text.len() == n_digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_lower_case() {
        for n_digits in [40, 64] {
            let hash = Hash::parse(&"A".repeat(n_digits)).unwrap();
            assert_eq!(hash.digits(), "a".repeat(n_digits));
        }
    }
}
