//! The only place that prints.
//!
//! Data goes to stdout, messages and progress to stderr. Data has no colours of ours, and what is
//! written between them on a terminal is dimmed: into a pipe data goes as it is, on a terminal its
//! control characters are shown and not obeyed, because a model may have written them. The same holds for messages and bars wherever they go, since they quote files;
//! their further lines are set in, so that no quoted text looks like a message of its own. Colours of
//! messages follow the terminal and `NO_COLOR`; progress bars appear on a terminal only. A reader
//! that closes the pipe is no error: [`PrintError::Closed`] travels up and the program ends with 0.

mod layout;
mod locations;
mod log;
mod progress;

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::MultiProgress;
use serde::Serialize;

pub use lapwing_files::disk::human_bytes;
pub use log::AsWarnings;
pub use progress::{Progress, Steps};

/// Whether messages keep the places in a library's source that it names.
static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Keep in messages what only somebody who knows a library's source can read.
pub fn be_verbose() {
    VERBOSE.store(true, Ordering::Relaxed);
}

/// Prints data, messages and progress. Cheap to share by reference. What writes data fails when
/// stdout is closed or full.
#[derive(Debug)]
pub struct Printer {
    quiet: bool,
    bars: MultiProgress,
}

impl Printer {
    /// A printer; `quiet` keeps messages and progress back, never data, warnings or errors.
    pub fn new(quiet: bool) -> Self {
        Self { quiet, bars: MultiProgress::new() }
    }

    /// Whether messages and progress are kept back.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether a person can be asked: stdin and stderr are a terminal.
    pub fn can_ask(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Write one line of data.
    pub fn line(&self, text: impl Display) -> Result<(), PrintError> {
        self.write(format!("{text}\n"))
    }

    /// Write data and flush: for answers that arrive in pieces.
    pub fn write(&self, text: impl Display) -> Result<(), PrintError> {
        let text = text.to_string();
        match io::stdout().is_terminal() {
            true => self.bytes(harmless(&text).as_bytes()),
            false => self.bytes(text.as_bytes()),
        }
    }

    /// Whether somebody watches what is no data: stdout is a terminal, and nothing is kept back.
    pub fn shows_asides(&self) -> bool {
        !self.quiet && io::stdout().is_terminal()
    }

    /// Write what is no data where data is watched, dimmed where there are colours.
    pub fn aside(&self, text: &str) -> Result<(), PrintError> {
        let text = harmless(text);
        match self.has_colours() {
            // Each piece ends what it begins, in case nothing follows.
            true => self.bytes(format!("\x1b[2m{text}\x1b[22m").as_bytes()),
            false => self.bytes(text.as_bytes()),
        }
    }

    /// Whether stdout takes colours.
    pub fn has_colours(&self) -> bool {
        anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
    }

    /// Write a text of ours with its colours, where stdout has them.
    pub fn styled(&self, text: impl Display) -> Result<(), PrintError> {
        let mut stdout = anstream::stdout().lock();
        write!(stdout, "{text}")?;
        stdout.flush()?;
        Ok(())
    }

    /// Write raw bytes: for files sent to stdout.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), PrintError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()?;
        Ok(())
    }

    /// Write `value` as indented JSON.
    pub fn json(&self, value: &impl Serialize) -> Result<(), PrintError> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| PrintError::Write(io::Error::other(error)))?;
        self.line(text)
    }

    /// Write a table with one header row, borderless, so that `cut` and `awk` can read it; on a
    /// terminal that is too narrow for it, in more lines.
    pub fn table(&self, header: &[&str], rows: &[Vec<String>]) -> Result<(), PrintError> {
        let lines = layout::table(header, rows, layout::stdout_width());
        lines.iter().try_for_each(|line| self.line(line))
    }

    /// Write names and values, one pair a line, the values below each other.
    pub fn facts(&self, facts: &[(&str, String)]) -> Result<(), PrintError> {
        let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in facts {
            self.hanging(&format!("{name:width$}  "), value)?;
        }
        Ok(())
    }

    /// Write a text behind `prefix`; on a narrow terminal its further lines begin below the first.
    pub fn hanging(&self, prefix: &str, text: &str) -> Result<(), PrintError> {
        let lines = layout::hanging(prefix, text, layout::stdout_width());
        lines.iter().try_for_each(|line| self.line(line))
    }

    /// Say what happens; kept back by `--quiet`.
    pub fn note(&self, text: impl Display) {
        if !self.quiet {
            self.message("", text);
        }
    }

    /// Show a text on stderr that anybody may have written; as [`Printer::write`] does on stdout.
    pub fn show(&self, text: &str) {
        match io::stderr().is_terminal() {
            true => self.to_stderr(&harmless(text)),
            false => self.to_stderr(text),
        }
    }

    /// Say what the user should know in any case.
    pub fn warning(&self, text: impl Display) {
        self.message("\x1b[1;33mwarning:\x1b[0m ", text);
    }

    /// Say why the command failed, then what can be done about it.
    pub fn error(&self, error: &anyhow::Error, hint: Option<&str>) {
        self.message("\x1b[1;31merror:\x1b[0m ", format_args!("{error:#}"));
        self.hint(hint);
    }

    /// Say what can be done after the user has ended the command, unless `--quiet`.
    pub fn advice(&self, hint: Option<&str>) {
        if !self.quiet {
            self.hint(hint);
        }
    }

    fn hint(&self, hint: Option<&str>) {
        if let Some(hint) = hint {
            self.message("\x1b[1;36mhint:\x1b[0m ", hint);
        }
    }

    /// Ask a yes-or-no question; anything but yes is no.
    pub fn confirm(&self, question: &str) -> bool {
        self.bars.suspend(|| {
            let mut stderr = anstream::stderr().lock();
            // A closed stderr means nobody reads the question: the answer stays no.
            if write!(stderr, "{} [y/N] ", set_in(question)).and_then(|()| stderr.flush()).is_err()
            {
                return false;
            }
            let mut answer = String::new();
            match io::stdin().read_line(&mut answer) {
                Ok(_) => matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"),
                Err(_) => false,
            }
        })
    }

    /// Show how far something with a known or unknown number of bytes has come.
    pub fn progress(&self, what: &str, n_bytes: Option<u64>) -> Progress<'_> {
        Progress::start(self, what, n_bytes)
    }

    /// Show how many of a number of steps are done.
    pub fn steps(&self, what: &str) -> Steps {
        Steps::start(self, what)
    }

    /// `text` quotes files that anybody may have written; `label` is ours.
    fn message(&self, label: &str, text: impl Display) {
        let text = text.to_string();
        let text = match VERBOSE.load(Ordering::Relaxed) {
            true => text,
            false => locations::left_out(&text),
        };
        self.to_stderr(&format!("{label}{}", set_in(&text)));
    }

    fn to_stderr(&self, text: &str) {
        self.bars.suspend(|| {
            // Nobody can be told when stderr is gone.
            let _ = writeln!(anstream::stderr().lock(), "{text}");
        });
    }
}

/// What a message says: [`harmless`], and lines behind the first do not begin where messages do.
fn set_in(text: &str) -> String {
    harmless(text.trim_end().replace("\r\n", "\n").as_str()).replace('\n', "\n  ")
}

/// [`harmless`] in one line: for bars.
fn on_one_line(text: &str) -> String {
    harmless(text).replace('\n', "␊")
}

/// Characters that change the order in which a terminal shows others, and line ends beside `\n`.
fn is_layout(symbol: char) -> bool {
    matches!(symbol, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// Whether a terminal obeys a character instead of showing it; tabs and line ends are meant so.
pub(crate) fn is_obeyed(symbol: char) -> bool {
    symbol.is_control() && !matches!(symbol, '\n' | '\t') || is_layout(symbol)
}

/// A text without characters that a terminal obeys, but for tabs and line ends: `␛` shows where an
/// escape was.
fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().map(|symbol| match symbol {
        '\n' | '\t' => symbol,
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(symbol)).unwrap_or(' '),
        '\x7f' => '\u{2421}',
        '\u{2028}' | '\u{2029}' => '\u{2424}',
        '\u{80}'..='\u{9f}' => char::REPLACEMENT_CHARACTER,
        _ if is_layout(symbol) => char::REPLACEMENT_CHARACTER,
        _ => symbol,
    });
    Cow::Owned(shown.collect())
}

/// Why data could not be written to stdout.
#[derive(Debug, thiserror::Error)]
pub enum PrintError {
    /// The reader went away; the program ends quietly.
    #[error("stdout is closed")]
    Closed,
    /// Anything else, such as a full disk behind a redirection.
    #[error("cannot write to stdout")]
    Write(#[source] io::Error),
}

impl From<io::Error> for PrintError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Write(error),
        }
    }
}

/// Sizes of models for people: `98.4 MB`, or `a link to 98.4 MB` where the store holds no more than
/// that: a removal frees the rest.
pub fn told_size(size_bytes: u64, linked_bytes: u64) -> String {
    match size_bytes.saturating_sub(linked_bytes) {
        _ if linked_bytes == 0 => human_bytes(size_bytes),
        0 => format!("a link to {}", human_bytes(linked_bytes)),
        own => format!("{} and links to {}", human_bytes(own), human_bytes(linked_bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_writes_is_shown_and_not_obeyed() {
        let check = |text: &str, expected: &str| assert_eq!(harmless(text), expected);
        check("a\tb\né", "a\tb\né");
        check("\x1b]52;c;aGk=\x07 \x1b[31mred", "␛]52;c;aGk=␇ ␛[31mred");
        check("b\rc\x08d\0\x7f", "b␍c␈d␀␡");
        check("\u{9b}31m \u{90}", "\u{fffd}31m \u{fffd}");
        // What shows `gpj.exe` as `exe.jpg`, and what breaks lines.
        check("a\u{202e}gpj.exe\u{202c}", "a\u{fffd}gpj.exe\u{fffd}");
        check("\u{202a}\u{202b}\u{202d}", "\u{fffd}\u{fffd}\u{fffd}");
        check("\u{2066}\u{2067}\u{2068}\u{2069}", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
        check("a\u{2028}error: a lie\u{2029}", "a␤error: a lie␤");
        // Marks of direction and joiners are part of how Hebrew, Arabic and emoji are written.
        check("\u{200f}שלום\u{200e} 👨\u{200d}👩", "\u{200f}שלום\u{200e} 👨\u{200d}👩");
    }

    #[test]
    fn a_quoted_text_is_no_message_of_its_own() {
        let check = |text: &str, expected: &str| assert_eq!(set_in(text), expected);
        check("one line", "one line");
        check("no JSON: \x1b[2Jbye\r\nerror: a lie\n", "no JSON: ␛[2Jbye\n  error: a lie");
        check("a\rerror: a lie", "a␍error: a lie");
        assert_eq!(on_one_line("a\nb\x1b"), "a␊b␛");
    }

    #[test]
    fn a_broken_pipe_is_told_apart() {
        let closed = PrintError::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(closed, PrintError::Closed));
        let full = PrintError::from(io::Error::from(io::ErrorKind::StorageFull));
        assert!(matches!(full, PrintError::Write(_)));
    }
}
