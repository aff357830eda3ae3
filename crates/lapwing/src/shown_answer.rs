//! An answer as it is shown while it comes.
//!
//! Content is written as it is, and a call as a line of JSON. Thoughts are no part of the answer: a
//! terminal shows them, dimmed, and a pipe does not get them.

use lapwing_text::{ReplyEvent, ToolCall};

use crate::printer::{PrintError, Printer};

/// Writes the parts of one answer.
pub struct ShownAnswer<'a> {
    printer: &'a Printer,
    /// What was written last.
    last: Last,
    call: ToolCall,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Thought,
    Content {
        ends_line: bool,
    },
    /// A whole line.
    Call,
}

impl<'a> ShownAnswer<'a> {
    /// An answer that has not begun.
    pub fn new(printer: &'a Printer) -> Self {
        Self { printer, last: Last::Nothing, call: ToolCall::default() }
    }

    /// Write what became certain.
    pub fn write(&mut self, parts: &[ReplyEvent]) -> Result<(), PrintError> {
        parts.iter().try_for_each(|part| match part {
            ReplyEvent::Content(text) => self.content(text),
            ReplyEvent::Reasoning(text) => self.thought(text),
            ReplyEvent::CallStart { name, .. } => {
                self.call = ToolCall { name: name.clone(), arguments: String::new() };
                Ok(())
            }
            ReplyEvent::CallArguments { delta, .. } => {
                self.call.arguments.push_str(delta);
                Ok(())
            }
            ReplyEvent::CallEnd { .. } => self.call(),
        })
    }

    /// End the line, if the answer did not.
    pub fn end_line(&mut self) -> Result<(), PrintError> {
        match self.last {
            Last::Call | Last::Content { ends_line: true } => Ok(()),
            _ => self.printer.line(""),
        }
    }

    /// End the answer: a line behind its content.
    pub fn end_answer(&mut self) -> Result<(), PrintError> {
        match self.last {
            Last::Call => Ok(()),
            _ => self.printer.line(""),
        }
    }

    fn content(&mut self, text: &str) -> Result<(), PrintError> {
        if self.last == Last::Thought {
            self.printer.aside("\n\n")?;
        }
        self.last = Last::Content { ends_line: text.ends_with('\n') };
        self.printer.write(text)
    }

    fn thought(&mut self, text: &str) -> Result<(), PrintError> {
        if !self.printer.shows_asides() {
            return Ok(());
        }
        if self.last != Last::Thought {
            if self.last == (Last::Content { ends_line: false }) {
                self.printer.aside("\n")?;
            }
            if !self.printer.has_colours() {
                self.printer.aside("thinking: ")?;
            }
        }
        self.last = Last::Thought;
        self.printer.aside(text)
    }

    fn call(&mut self) -> Result<(), PrintError> {
        if self.last == Last::Thought {
            self.printer.aside("\n\n")?;
        } else if self.last == (Last::Content { ends_line: false }) {
            self.printer.line("")?;
        }
        self.last = Last::Call;
        self.printer.line(self.call.as_json())
    }
}
