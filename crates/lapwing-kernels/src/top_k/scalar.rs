use super::{Candidate, Scan};

/// Take what is not NaN until the buffer is full or the row ends.
pub(super) fn fill(logits: &[f32], buffer: &mut [Candidate]) -> Scan {
    let mut scan = Scan { next_idx: 0, n_held: 0 };
    while scan.next_idx < logits.len() && scan.n_held < buffer.len() {
        let logit = logits[scan.next_idx];
        if !logit.is_nan() {
            buffer[scan.n_held] = Candidate { token_idx: scan.next_idx as u32, logit };
            scan.n_held += 1;
        }
        scan.next_idx += 1;
    }
    scan
}

pub(super) fn scan_above(
    logits: &[f32],
    threshold: f32,
    mut scan: Scan,
    buffer: &mut [Candidate],
) -> Scan {
    while scan.next_idx < logits.len() && scan.n_held < buffer.len() {
        let logit = logits[scan.next_idx];
        if threshold < logit {
            buffer[scan.n_held] = Candidate { token_idx: scan.next_idx as u32, logit };
            scan.n_held += 1;
        }
        scan.next_idx += 1;
    }
    scan
}
