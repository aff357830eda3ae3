//! The side of a worker that answers.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::line;

/// What a worker gets to stop by itself when nobody asks any more: longer than whoever asked waits
/// for that, if he is alive.
const GRACE: Duration = Duration::from_secs(10);

/// Why no more is answered.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another version of this program asks.
    #[error("cannot understand the request")]
    Request(#[source] serde_json::Error),
    /// Nobody reads what is said.
    #[error("cannot answer")]
    Output(#[source] io::Error),
}

/// Whoever asks, while a request is answered.
pub struct Asker<'a, Answer> {
    number: u64,
    output: &'a mut dyn Write,
    is_gone: &'a AtomicBool,
    talk: PhantomData<fn(Answer)>,
}

impl<Answer: Serialize> Asker<'_, Answer> {
    /// Say something before the answer.
    ///
    /// # Errors
    ///
    /// When nobody reads it.
    pub fn say(&mut self, said: &Answer) -> Result<(), ServeError> {
        self.write(false, said)
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Relaxed)
    }

    fn write(&mut self, is_last: bool, said: &Answer) -> Result<(), ServeError> {
        let line = line::said(self.number, is_last, said);
        let written = self.output.write_all(line.as_bytes()).and_then(|()| self.output.flush());
        written.map_err(ServeError::Output)
    }
}

/// Answer the requests of `input` until there are no more. Who is still busy some seconds after
/// that is ended with the process: nobody waits for a compilation of minutes.
///
/// # Errors
///
/// When a request cannot be understood, or nobody reads the answers.
pub fn serve<Request: DeserializeOwned, Answer: Serialize>(
    input: impl Read + Send + 'static,
    output: &mut dyn Write,
    answer: impl FnMut(Request, &mut Asker<'_, Answer>) -> Result<Answer, ServeError>,
) -> Result<(), ServeError> {
    serve_until(input, output, answer, abort_after_grace)
}

/// End this process some seconds after nobody asks any more.
pub(super) fn abort_after_grace() {
    std::thread::sleep(GRACE);
    // Nothing is cleaned up while a plugin computes: that may never end.
    std::process::abort()
}

/// Pass requests on until they end, in a thread of its own.
pub(super) fn read_on(
    input: impl Read + Send + 'static,
    sender: Sender<String>,
    at_the_end: impl FnOnce() + Send + 'static,
) {
    std::thread::spawn(move || {
        pass_on(input, sender);
        at_the_end();
    });
}

fn serve_until<Request: DeserializeOwned, Answer: Serialize>(
    input: impl Read + Send + 'static,
    output: &mut dyn Write,
    mut answer: impl FnMut(Request, &mut Asker<'_, Answer>) -> Result<Answer, ServeError>,
    at_the_end: impl FnOnce() + Send + 'static,
) -> Result<(), ServeError> {
    let (sender, requests) = mpsc::channel();
    let is_gone = Arc::new(AtomicBool::new(false));
    let of_reader = Arc::clone(&is_gone);
    read_on(input, sender, move || {
        of_reader.store(true, Ordering::Relaxed);
        at_the_end();
    });
    for line in requests {
        let (number, request) = line::parse_request(&line).map_err(ServeError::Request)?;
        let mut asker = Asker { number, output, is_gone: &is_gone, talk: PhantomData };
        let last = answer(request, &mut asker)?;
        asker.write(true, &last)?;
    }
    Ok(())
}

/// Pass requests on until they end. The sender is gone when this returns.
fn pass_on(input: impl Read, sender: Sender<String>) {
    // An error is an end, too.
    for line in BufReader::new(input).lines().map_while(Result::ok) {
        if sender.send(line).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_answered_in_order_until_they_end() {
        let mut output = Vec::new();
        let (sender, ended) = mpsc::channel();
        let answer = |request: u32, asker: &mut Asker<'_, String>| {
            asker.say(&format!("thinking of {request}"))?;
            Ok(format!("{}", request * 2))
        };
        let at_the_end = move || sender.send(()).expect("the test waits");
        serve_until(&b"1 20\n2 30\n"[..], &mut output, answer, at_the_end).unwrap();
        ended.recv().unwrap();
        let printed = String::from_utf8(output).unwrap();
        let lines: Vec<&str> = printed.lines().filter(|line| !line.is_empty()).collect();
        let expected = [
            "lapwing-worker more 1 \"thinking of 20\"",
            "lapwing-worker last 1 \"40\"",
            "lapwing-worker more 2 \"thinking of 30\"",
            "lapwing-worker last 2 \"60\"",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_cannot_be_understood_is_an_end() {
        let mut output = Vec::new();
        let answer = |_: u32, _: &mut Asker<'_, u32>| Ok(0);
        let found = serve_until(&b"1 {\"open\":{}}\n"[..], &mut output, answer, || {});
        assert!(matches!(found, Err(ServeError::Request(_))), "{found:?}");
        assert!(output.is_empty());
    }

    #[test]
    fn who_is_busy_hears_that_nobody_waits() {
        let answer = |_: u32, asker: &mut Asker<'_, u32>| {
            while !asker.is_gone() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(1)
        };
        let mut output = Vec::new();
        serve_until(&b"1 1\n"[..], &mut output, answer, || {}).unwrap();
        assert!(!output.is_empty(), "it was answered all the same");
    }
}
