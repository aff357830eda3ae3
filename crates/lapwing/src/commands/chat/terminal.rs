//! Messages from a person, with line editing and history.

use std::path::PathBuf;

use anyhow::Context as _;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::printer::Printer;

/// What Ctrl-C at a prompt is answered with: who wants to leave is told how, who wanted to stop an
/// answer that had just ended keeps the conversation.
const HOW_TO_LEAVE: &str = "(Ctrl-D or /exit ends the chat)";

/// A border of a message of several lines.
const FENCE: &str = "\"\"\"";

/// A terminal that somebody types at.
pub(super) struct Terminal<'a> {
    editor: DefaultEditor,
    history: PathBuf,
    printer: &'a Printer,
}

/// What came of asking for a line.
enum Typed {
    Line(String),
    /// Ctrl-C: the line is dropped.
    Dropped,
    /// Ctrl-D.
    End,
}

impl<'a> Terminal<'a> {
    pub(super) fn open(history: PathBuf, printer: &'a Printer) -> anyhow::Result<Terminal<'a>> {
        let mut editor = DefaultEditor::new().context("cannot read from the terminal")?;
        // No history yet is no error.
        let _ = editor.load_history(&history);
        Ok(Terminal { editor, history, printer })
    }

    /// One message, which may be several lines; `None` when the user leaves.
    pub(super) fn message(&mut self) -> anyhow::Result<Option<String>> {
        loop {
            match self.lines()? {
                Typed::Line(text) => {
                    if !text.trim().is_empty() {
                        let _ = self.editor.add_history_entry(text.as_str());
                        self.save_history();
                    }
                    return Ok(Some(text));
                }
                Typed::Dropped => self.printer.note(HOW_TO_LEAVE),
                Typed::End => return Ok(None),
            }
        }
    }

    /// A line, with those that belong to it; what was begun when Ctrl-D comes is the message.
    fn lines(&mut self) -> anyhow::Result<Typed> {
        let mut text = match self.line("> ")? {
            Typed::Line(text) => text,
            nothing => return Ok(nothing),
        };
        if text.trim() == FENCE {
            text.clear();
            loop {
                match self.line(". ")? {
                    Typed::Line(line) if line.trim() == FENCE => break,
                    Typed::Line(line) => text = text + &line + "\n",
                    Typed::Dropped => return Ok(Typed::Dropped),
                    Typed::End => break,
                }
            }
        }
        while let Some(stripped) = text.strip_suffix('\\') {
            let begun = format!("{stripped}\n");
            match self.line(". ")? {
                Typed::Line(line) => text = begun + &line,
                Typed::Dropped => return Ok(Typed::Dropped),
                Typed::End => return Ok(Typed::Line(begun)),
            }
        }
        Ok(Typed::Line(text))
    }

    fn line(&mut self, prompt: &str) -> anyhow::Result<Typed> {
        match self.editor.readline(prompt) {
            Ok(line) => Ok(Typed::Line(line)),
            Err(ReadlineError::Interrupted) => Ok(Typed::Dropped),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) => Err(error).context("cannot read from the terminal"),
        }
    }

    /// A history that cannot be kept is no reason to disturb a conversation.
    fn save_history(&mut self) {
        if let Some(folder) = self.history.parent() {
            let _ = std::fs::create_dir_all(folder);
        }
        let _ = self.editor.save_history(&self.history);
    }
}
