//! What goes over the pipes.
//!
//! A request is `NUMBER JSON`. What is said to it is a line `MARK more NUMBER JSON`, any number of
//! times, and then `MARK last NUMBER JSON`. Libraries print to the same pipe, with or without an
//! end of line and in any encoding: what is said begins on a line of its own, and whatever has no
//! mark is noise.

use std::io::{self, BufRead, BufReader, Read};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// No library prints this.
const MARK: &str = "lapwing-worker";
/// A longer line of noise is split.
const NOISE_BYTES_MAX: u64 = 1 << 16;
/// A longer line is nothing that was said.
const SAID_BYTES_MAX: u64 = 1 << 30;

/// A line that a worker printed.
pub(super) enum Line {
    /// Something to a request.
    Said { number: u64, is_last: bool, json: String },
    /// Anything else, without white space around it.
    Other(String),
}

/// A request with the end of its line.
pub(super) fn request(number: u64, request: &impl Serialize) -> String {
    let json = serde_json::to_string(request).expect("requests have only string keys");
    format!("{number} {json}\n")
}

/// The number of a request and what it asks for.
pub(super) fn parse_request<Request: DeserializeOwned>(
    line: &str,
) -> Result<(u64, Request), serde_json::Error> {
    let (number, json) = line.split_once(' ').unwrap_or(("", line));
    Ok((number.parse().unwrap_or(0), serde_json::from_str(json)?))
}

/// Something that is said to a request, with the end of its line and of the one before, which
/// somebody else may have begun.
pub(super) fn said(number: u64, is_last: bool, said: &impl Serialize) -> String {
    let json = serde_json::to_string(said).expect("answers have only string keys");
    let word = if is_last { "last" } else { "more" };
    format!("\n{MARK} {word} {number} {json}\n")
}

/// Pass on what a worker prints until it ends, or `hear` wants no more.
pub(super) fn listen(output: impl Read, mut hear: impl FnMut(Line) -> bool) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while let Ok(1..) = next_line(&mut output, &mut line) {
        if !hear(parse(&line)) {
            return;
        }
    }
}

/// The next line, or a part of one that is too long; its bytes, 0 at the end.
fn next_line(output: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    line.clear();
    output.take(NOISE_BYTES_MAX).read_until(b'\n', line)?;
    if !line.ends_with(b"\n") && mark_in(line).is_some() {
        output.take(SAID_BYTES_MAX).read_until(b'\n', line)?;
    }
    Ok(line.len())
}

fn parse(line: &[u8]) -> Line {
    let other = || Line::Other(String::from_utf8_lossy(line).trim().to_owned());
    parse_said(line).unwrap_or_else(other)
}

fn parse_said(line: &[u8]) -> Option<Line> {
    let after = &line[mark_in(line)? + MARK.len()..];
    let mut words = std::str::from_utf8(after).ok()?.trim().splitn(3, ' ');
    let is_last = match words.next()? {
        "last" => true,
        "more" => false,
        _ => return None,
    };
    let number = words.next()?.parse().ok()?;
    Some(Line::Said { number, is_last, json: words.next()?.to_owned() })
}

fn mark_in(line: &[u8]) -> Option<usize> {
    line.windows(MARK.len()).position(|bytes| bytes == MARK.as_bytes())
}
