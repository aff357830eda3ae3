//! Messages from a person, with line editing and history.

use std::path::PathBuf;

use anyhow::Context as _;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::line::Message;
use crate::interrupt;
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

/// What came of asking for a line or a message.
enum Typed<T> {
    Text(T),
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
    pub(super) fn message(&mut self) -> anyhow::Result<Option<Message>> {
        loop {
            match self.lines()? {
                Typed::Text(message) => {
                    if !message.text.trim().is_empty() {
                        let _ = self.editor.add_history_entry(message.text.as_str());
                        self.save_history();
                    }
                    return Ok(Some(message));
                }
                Typed::Dropped => self.printer.note(HOW_TO_LEAVE),
                Typed::End => return Ok(None),
            }
        }
    }

    /// A line, with those that belong to it; what was begun when Ctrl-D comes is the message.
    fn lines(&mut self) -> anyhow::Result<Typed<Message>> {
        let mut text = match self.line("> ")? {
            Typed::Text(text) if text.trim() == FENCE => return self.fenced(),
            Typed::Text(text) => text,
            Typed::Dropped => return Ok(Typed::Dropped),
            Typed::End => return Ok(Typed::End),
        };
        while let Some(stripped) = text.strip_suffix('\\') {
            let begun = format!("{stripped}\n");
            match self.line(". ")? {
                Typed::Text(line) => text = begun + &line,
                Typed::Dropped => return Ok(Typed::Dropped),
                Typed::End => return Ok(Typed::Text(Message::unfenced(begun))),
            }
        }
        Ok(Typed::Text(Message::unfenced(text)))
    }

    /// The lines up to the second fence.
    fn fenced(&mut self) -> anyhow::Result<Typed<Message>> {
        let mut text = String::new();
        loop {
            match self.line(". ")? {
                Typed::Text(line) if line.trim() == FENCE => break,
                Typed::Text(line) => text = text + &line + "\n",
                Typed::Dropped => return Ok(Typed::Dropped),
                Typed::End => break,
            }
        }
        Ok(Typed::Text(Message { text, is_fenced: true }))
    }

    fn line(&mut self, prompt: &str) -> anyhow::Result<Typed<String>> {
        match interrupt::while_typing(|| self.editor.readline(prompt)) {
            Ok(line) => Ok(Typed::Text(line)),
            // Of a key that means the line, or of a signal that makes the program end.
            Err(ReadlineError::Interrupted) => {
                interrupt::forget();
                interrupt::check()?;
                Ok(Typed::Dropped)
            }
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
