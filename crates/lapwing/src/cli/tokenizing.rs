//! Arguments of `lapwing tokenize`.

use clap::{Args, ValueHint};

use super::generation::PromptIds;
use super::prompting::{PromptArgs, Words};
use crate::exit::UsageError;

/// Arguments of `lapwing tokenize`.
#[derive(Debug, Clone, Args)]
pub struct TokenizeArgs {
    /// A folder with a tokenizer, such as a model folder, a GGUF file, or a name from `lapwing list`
    #[arg(value_name = "MODEL", required_unless_present = "model", value_hint = ValueHint::AnyPath)]
    pub first: Option<String>,
    /// The prompt; without one it is read from stdin
    #[arg(value_name = "TEXT", group = "prompt_source")]
    pub second: Option<String>,
    /// The model, as an option
    #[arg(short, long, value_hint = ValueHint::AnyPath)]
    pub model: Option<String>,
    /// Token ids such as 1,2,3: print their text
    #[arg(long, value_name = "IDS", group = "prompt_source")]
    #[arg(conflicts_with_all = ["raw", "system", "template_var", "thinking", "reasoning_effort", "tools"])]
    pub ids: Option<PromptIds>,
    /// Print one JSON object: ids, pieces, the prompt and counts
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub prompt: PromptArgs,
}

impl TokenizeArgs {
    /// The model, and the text if it was given as a word: `MODEL TEXT`, or `--model MODEL TEXT`.
    pub fn model_and_text(&self) -> Result<(&str, Option<&str>), UsageError> {
        let Self { first, second, model, prompt, ids, .. } = self;
        let has_source = prompt.has_source() || ids.is_some();
        let usage = "`lapwing tokenize MODEL TEXT`";
        Words { first, second, model, has_source, usage }.model_and_text()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::{Cli, Command};

    #[test]
    fn model_and_text_as_words_or_with_the_option() {
        let check = |words: &[&str], expected: Option<(&str, Option<&str>)>| {
            let line = ["lapwing", "tokenize"].iter().chain(words);
            let Ok(Cli { command: Command::Tokenize(args), .. }) = Cli::try_parse_from(line) else {
                assert_eq!(expected, None, "{words:?}");
                return;
            };
            assert_eq!(args.model_and_text().ok(), expected, "{words:?}");
        };
        check(&["m", "hi"], Some(("m", Some("hi"))));
        check(&["m"], Some(("m", None)));
        check(&["-m", "m"], Some(("m", None)));
        check(&["-m", "m", "hi"], Some(("m", Some("hi"))));
        check(&["m", "-p", "hi"], Some(("m", None)));
        check(&["m", "--ids", "1,2"], Some(("m", None)));
        check(&["-m", "m", "hi", "you"], None);
        check(&["-m", "m", "hi", "-p", "you"], None);
        check(&["m", "hi", "-p", "you"], None);
        check(&["m", "hi", "--ids", "1"], None);
        check(&["m", "--ids", "1", "--thinking", "on"], None);
        check(&["m", "hi", "--raw", "--tools", "f"], None);
        check(&[], None);
    }
}
