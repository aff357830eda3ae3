//! Where a worker says things.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use lapwing_host::worker::crowd;

use crate::message::Said;

/// Where a worker says things.
pub(crate) struct Mouth<W>(Mutex<W>);

impl<W: Write> Mouth<W> {
    pub(crate) fn of(output: W) -> Mouth<W> {
        Mouth(Mutex::new(output))
    }

    pub(crate) fn say(&self, number: u64, is_last: bool, said: &Said) {
        let mut output = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody reads any more: the requests end, too.
        let _ = crowd::say(&mut *output, number, is_last, said);
    }
}

/// For tests: what is said, a line at a time.
#[cfg(test)]
pub(crate) struct Lines(pub(crate) std::sync::mpsc::Sender<String>);

#[cfg(test)]
impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
