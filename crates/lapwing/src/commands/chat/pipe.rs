//! Messages on a pipe: each line of stdin is one.

use std::io::{self, BufRead, Read as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::interrupt;

/// How often a Ctrl-C is looked for while a pipe is silent.
const POLL: Duration = Duration::from_millis(50);

/// A message is what a person or a program wrote; a line beyond this is a mistake.
const N_LINE_BYTES_MAX: usize = 64 << 20;

/// A line that is no message.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    /// The pipe failed; nothing comes behind it.
    #[error("cannot read stdin")]
    Read(#[from] io::Error),
    /// Bytes that are no text.
    #[error(
        "line {line} of stdin is not UTF-8: byte {:#04x} behind {n_valid_bytes} bytes of text",
        byte
    )]
    NotUtf8 {
        /// From 1.
        line: usize,
        n_valid_bytes: usize,
        byte: u8,
    },
    /// It does not end.
    #[error("line {line} of stdin is longer than {N_LINE_BYTES_MAX} bytes")]
    TooLong {
        /// From 1.
        line: usize,
    },
}

impl LineError {
    /// Whether the next line can still be read.
    pub(super) fn is_of_one_line(&self) -> bool {
        !matches!(self, LineError::Read(_))
    }
}

/// The lines of stdin, read on a thread of its own: a read that waits cannot be interrupted.
pub(super) struct Pipe(Receiver<Result<String, LineError>>);

impl Pipe {
    pub(super) fn open() -> Pipe {
        let (sender, receiver) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut lines = Lines { source: io::stdin().lock(), n_read: 0 };
            while let Some(line) = lines.next().transpose() {
                let is_last = matches!(line, Err(LineError::Read(_)));
                // Nobody listens any more when the program is about to end.
                if sender.send(line).is_err() || is_last {
                    return;
                }
            }
        });
        Pipe(receiver)
    }

    /// The next line; `None` at the end.
    ///
    /// # Errors
    ///
    /// When a line cannot be read, or after Ctrl-C.
    pub(super) fn message(&self) -> anyhow::Result<Option<String>> {
        loop {
            interrupt::check()?;
            match self.0.recv_timeout(POLL) {
                Ok(line) => return Ok(Some(line?)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

/// Lines of text, one by one; what is wrong with one is no harm to the next.
struct Lines<R> {
    source: R,
    n_read: usize,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<String>, LineError> {
        let mut bytes = Vec::new();
        let mut source = (&mut self.source).take(N_LINE_BYTES_MAX as u64 + 1);
        if source.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        self.n_read += 1;
        let line = self.n_read;
        if N_LINE_BYTES_MAX < bytes.len() && bytes.last() != Some(&b'\n') {
            self.source.skip_until(b'\n')?;
            return Err(LineError::TooLong { line });
        }
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let n_valid_bytes = error.utf8_error().valid_up_to();
            LineError::NotUtf8 { line, n_valid_bytes, byte: error.as_bytes()[n_valid_bytes] }
        })?;
        // What some editors put in front of UTF-8 is no part of the first message.
        match text.strip_prefix('\u{feff}').filter(|_| line == 1) {
            Some(rest) => Ok(Some(rest.to_owned())),
            None => Ok(Some(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_text_does_no_harm_to_the_next() {
        let source = &b"\xef\xbb\xbfok\ncaf\xe9\n\n  more\r\nlast"[..];
        let mut lines = Lines { source, n_read: 0 };
        assert_eq!(lines.next().unwrap().as_deref(), Some("ok"));
        let error = lines.next().unwrap_err();
        let says = "line 2 of stdin is not UTF-8: byte 0xe9 behind 3 bytes of text";
        assert_eq!(error.to_string(), says);
        assert!(error.is_of_one_line());
        let rest: Vec<String> = std::iter::from_fn(|| lines.next().unwrap()).collect();
        assert_eq!(rest, ["", "  more\r", "last"]);
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_the_memory() {
        let endless = io::repeat(b'x').take(N_LINE_BYTES_MAX as u64 * 2).chain(&b"\nnext"[..]);
        let mut lines = Lines { source: io::BufReader::new(endless), n_read: 0 };
        assert!(matches!(lines.next(), Err(LineError::TooLong { line: 1 })));
        assert_eq!(lines.next().unwrap().as_deref(), Some("next"));
    }
}
