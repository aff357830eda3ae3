//! Names of models in completion scripts.
//!
//! clap's scripts know what is fixed; what is in the store they must ask for. Here the places in a
//! script where a model is expected get a call of `lapwing list`. Scripts for Elvish and PowerShell
//! complete no values at all, and stay as they are.

use std::fmt::Write as _;

use clap_complete::Shell;

/// What a model is called in the help of an option.
const VALUE_NAMES: [&str; 2] = ["MODEL", "MODELS"];

/// Prints the names in the store, one a line; a table's first line is its header.
const NAMES: &str = "lapwing --quiet list 2>/dev/null | awk 'NR > 1 { print $1 }'";

/// The places where a model is expected.
struct Places {
    /// Options as they are typed: `--model`, `-m`.
    options: Vec<String>,
    /// Commands with a model as a word: the way to one, and the word's name.
    words: Vec<(Vec<String>, String)>,
}

/// `script` of `shell` for `command`, which also completes the names of models.
pub(super) fn completed(script: &str, shell: Shell, command: &clap::Command) -> String {
    let mut places = Places { options: Vec::new(), words: Vec::new() };
    places.find(command, &[]);
    match shell {
        Shell::Bash => places.in_bash(script),
        Shell::Zsh => places.in_zsh(script),
        Shell::Fish => places.in_fish(script),
        _ => script.to_owned(),
    }
}

impl Places {
    fn find(&mut self, command: &clap::Command, way: &[String]) {
        let is_model = |argument: &&clap::Arg| {
            let names = argument.get_value_names().unwrap_or_default();
            names.iter().any(|name| VALUE_NAMES.contains(&name.as_str()))
        };
        for argument in command.get_arguments().filter(is_model) {
            if argument.is_positional() {
                self.words.push((way.to_vec(), argument.get_id().to_string()));
            }
            let long = argument.get_long().map(|long| format!("--{long}"));
            let short = argument.get_short().map(|short| format!("-{short}"));
            self.options.extend(long.into_iter().chain(short));
        }
        for child in command.get_subcommands() {
            self.find(child, &[way, &[child.get_name().to_owned()]].concat());
        }
    }

    fn in_bash(&self, script: &str) -> String {
        let mut completed = format!("_lapwing_models() {{\n    {NAMES}\n}}\n\n");
        let of_words: Vec<String> = self
            .words
            .iter()
            .map(|(way, _)| {
                let steps = way.iter().map(|step| format!("__subcmd__{step}"));
                format!("lapwing{})", steps.collect::<String>())
            })
            .collect();
        let mut label = "";
        for line in script.lines() {
            let code = line.trim();
            if code.ends_with(')') && !code.contains('=') {
                label = code;
            }
            let is_option = label
                .strip_suffix(')')
                .is_some_and(|label| self.options.iter().any(|option| option == label));
            let indent = &line[..line.len() - line.trim_start().len()];
            let _ = match code {
                "COMPREPLY=($(compgen -f \"${cur}\"))" if is_option => writeln!(
                    completed,
                    "{indent}COMPREPLY=($(compgen -W \"$(_lapwing_models)\" -- \"${{cur}}\") \
                     $(compgen -d -- \"${{cur}}\"))"
                ),
                _ if code.starts_with("opts=\"") && of_words.iter().any(|word| word == label) => {
                    let opts = line.strip_suffix('"').unwrap_or(line);
                    writeln!(completed, "{opts} $(_lapwing_models)\"")
                }
                _ => writeln!(completed, "{line}"),
            };
        }
        completed
    }

    fn in_zsh(&self, script: &str) -> String {
        let function = format!(
            "_lapwing_models() {{\n    local -a names\n    names=(${{(f)\"$({NAMES})\"}})\n    \
             compadd -a names\n    _files -/\n}}\n"
        );
        let is_word = |line: &str| {
            let word = line.trim_start_matches(['\'', '*', ':']);
            self.words.iter().any(|(_, name)| word.starts_with(&format!("{name} -- ")))
        };
        let mut completed = String::new();
        for (line_idx, line) in script.lines().enumerate() {
            let is_model =
                line.contains(":MODEL:_default'") || (line.contains(":_default'") && is_word(line));
            let _ = match is_model {
                true => writeln!(completed, "{}", line.replace(":_default'", ":_lapwing_models'")),
                false => writeln!(completed, "{line}"),
            };
            // What `compdef` reads comes first.
            if line_idx == 0 {
                completed.push_str(&function);
            }
        }
        completed
    }

    fn in_fish(&self, script: &str) -> String {
        let mut completed = format!("function __lapwing_models\n    {NAMES}\nend\n\n");
        let longs: Vec<String> = self
            .options
            .iter()
            .filter_map(|option| Some(format!(" -l {} ", option.strip_prefix("--")?)))
            .collect();
        for line in script.lines() {
            let is_option = longs.iter().any(|long| line.contains(long)) && line.ends_with(" -r");
            let names = if is_option { " -a \"(__lapwing_models)\"" } else { "" };
            let _ = writeln!(completed, "{line}{names}");
        }
        for (way, _) in &self.words {
            let seen: Vec<String> = way
                .iter()
                .enumerate()
                .map(|(idx, step)| match idx {
                    0 => format!("__fish_lapwing_using_subcommand {step}"),
                    _ => format!("__fish_seen_subcommand_from {step}"),
                })
                .collect();
            let seen = seen.join("; and ");
            let _ =
                writeln!(completed, "complete -c lapwing -n \"{seen}\" -a \"(__lapwing_models)\"");
        }
        completed
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn script(shell: Shell) -> (String, String) {
        let mut script = Vec::new();
        let mut command = Cli::command();
        clap_complete::generate(shell, &mut command, "lapwing", &mut script);
        let script = String::from_utf8(script).unwrap();
        (completed(&script, shell, &Cli::command()), script)
    }

    /// How many lines `completed` has that call for names of models.
    fn n_places(shell: Shell) -> usize {
        let (completed, script) = script(shell);
        assert!(script.lines().count() < completed.lines().count(), "{shell}");
        completed.lines().filter(|line| line.contains("_lapwing_models")).count() - 1
    }

    #[test]
    fn every_option_and_word_for_a_model_asks_for_names() {
        let mut places = Places { options: Vec::new(), words: Vec::new() };
        places.find(&Cli::command(), &[]);
        assert!(places.options.iter().any(|option| option == "--model"));
        assert!(places.words.iter().any(|(way, _)| way == &["cache", "warm"]));
        let (n_options, n_words) = (places.options.len(), places.words.len());
        assert!(10 < n_options && 1 < n_words, "{n_options} {n_words}");
        assert_eq!(n_places(Shell::Zsh), n_options + n_words);
        assert_eq!(n_places(Shell::Bash), n_options + n_words);
        let n_longs = places.options.iter().filter(|option| option.starts_with("--")).count();
        assert_eq!(n_places(Shell::Fish), n_longs + n_words);
    }

    #[test]
    fn other_shells_stay_as_they_are() {
        for shell in [Shell::Elvish, Shell::PowerShell] {
            let (completed, script) = script(shell);
            assert_eq!(completed, script);
        }
    }
}
