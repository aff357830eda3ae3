//! What a message of a conversation is: text for the model, or a command.

use lapwing_store::nearest;

/// The commands of a conversation, without those that are other words for one of these.
const COMMANDS: [&str; 5] = ["help", "system", "undo", "reset", "exit"];

/// One message, as it came.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) text: String,
    /// Whether it stood between fences, where nothing is a command.
    pub(super) is_fenced: bool,
}

impl Message {
    pub(super) fn unfenced(text: String) -> Message {
        Message { text, is_fenced: false }
    }

    pub(super) fn meant(&self) -> Line<'_> {
        match (self.is_fenced, self.text.trim_end()) {
            (true, "") => Line::Empty,
            (true, text) => Line::Message(text),
            (false, text) => Line::of(text),
        }
    }
}

/// One message, as it is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Nothing but space.
    Empty,
    Help,
    Exit,
    Undo,
    Reset,
    /// A new system message.
    System(&'a str),
    /// A word that is nearly a command, and that command.
    Misspelled(&'a str, &'static str),
    /// Text for the model: as it was typed, but for space at its end.
    Message(&'a str),
}

impl<'a> Line<'a> {
    /// Only what begins with a known command is one: `/tmp is full` is a message.
    fn of(typed: &'a str) -> Line<'a> {
        let message = typed.trim_end();
        let text = message.trim_start();
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        match word {
            "" => return Line::Empty,
            "/help" => return Line::Help,
            "/exit" | "/quit" | "/bye" => return Line::Exit,
            "/undo" => return Line::Undo,
            "/reset" => return Line::Reset,
            "/system" => return Line::System(rest.trim()),
            _ => {}
        }
        let begun = message.strip_prefix(word).and_then(|_| word.strip_prefix('/'));
        match begun.and_then(nearly_a_command) {
            Some(command) => Line::Misspelled(word, command),
            None => Line::Message(message),
        }
    }
}

/// The command that a mistyped `name` was meant to be.
fn nearly_a_command(name: &str) -> Option<&'static str> {
    let letters = |word: &str| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.sort_unstable();
        letters
    };
    let swapped = COMMANDS.into_iter().find(|command| letters(command) == letters(name));
    swapped.or_else(|| nearest(name, COMMANDS.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_commands_are_commands() {
        let check = |typed, expected| assert_eq!(Line::of(typed), expected, "{typed:?}");
        check("/help", Line::Help);
        check("  /help \r", Line::Help);
        check("/bye", Line::Exit);
        check("/reset", Line::Reset);
        check(" /undo ", Line::Undo);
        check("/system  be brief ", Line::System("be brief"));
        check("/system", Line::System(""));
        check("/system\tbe\nbrief", Line::System("be\nbrief"));
        check(" \t", Line::Empty);
        check("", Line::Empty);
    }

    #[test]
    fn nearly_a_command_is_told_and_a_path_is_a_message() {
        let check = |typed, expected| assert_eq!(Line::of(typed), expected, "{typed:?}");
        check("/rest", Line::Misspelled("/rest", "reset"));
        check("/hlep me", Line::Misspelled("/hlep", "help"));
        check("/exti", Line::Misspelled("/exti", "exit"));
        check("/udno", Line::Misspelled("/udno", "undo"));
        check("/sytem be brief", Line::Misspelled("/sytem", "system"));
        check("/Help", Line::Misspelled("/Help", "help"));
        for path in [
            "/tmp is full, what now?",
            "/tmp",
            "/home",
            "/etc",
            "/usr",
            "/dev",
            "/sys",
            "/bin",
            "/opt",
            "/etc/hosts",
            "/",
            "//",
            "/nonsense",
            "/Größe",
        ] {
            check(path, Line::Message(path));
        }
        // Space in front makes text of it.
        check(" /rest", Line::Message(" /rest"));
    }

    #[test]
    fn between_fences_nothing_is_a_command() {
        let check = |typed: &str, expected| {
            let message = Message { text: typed.to_owned(), is_fenced: true };
            assert_eq!(message.meant(), expected, "{typed:?}");
        };
        check("/exit is a word\n", Line::Message("/exit is a word"));
        check("/rest\n", Line::Message("/rest"));
        check("  /help\n", Line::Message("  /help"));
        check("\n \n", Line::Empty);
        assert_eq!(Message::unfenced("/exit is a word".to_owned()).meant(), Line::Exit);
    }

    #[test]
    fn a_message_keeps_its_indentation() {
        let check = |typed, expected| assert_eq!(Line::of(typed), Line::Message(expected));
        check("    x = 1", "    x = 1");
        check("\tif x:\n\t\ty()\n", "\tif x:\n\t\ty()");
        check("\n\n  a", "\n\n  a");
    }
}
