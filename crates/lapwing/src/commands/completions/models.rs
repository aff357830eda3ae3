//! Names of models in completion scripts.
//!
//! clap's scripts know what is fixed; what is in the store they must ask for. Here the places in a
//! script where a model is expected get a call of `lapwing list`. Scripts for Elvish and PowerShell
//! complete no values at all, and stay as they are.

use std::fmt::Write as _;

use clap::ValueHint;
use clap_complete::Shell;

/// What a model is called in the help of an option.
const VALUE_NAMES: [&str; 3] = ["MODEL", "MODELS", "SRC"];
/// The commands whose words are names of models, and of what else they know.
const OF_NAMES: [&str; 2] = ["rm", PULL];

/// Prints the names in the store, one a line; a table's first line is its header. Of what shells hand
/// on, `--all` asks for what can be pulled as well.
const NAMES: &str = "lapwing --quiet list $* 2>/dev/null | awk 'NR > 1 { print $1 }'";
/// The same for fish.
const NAMES_OF_FISH: &str = "lapwing --quiet list $argv 2>/dev/null | awk 'NR > 1 { print $1 }'";
/// The command for what is not there yet.
const PULL: &str = "pull";

/// The places where a model is expected.
#[derive(Default)]
struct Places {
    /// Options as they are typed: `--model`, `-m`.
    options: Vec<String>,
    /// The ways to commands that take a model which is a file, too.
    of_files: Vec<Vec<String>>,
    /// Commands with a model as a word: the way to one, and the word's name.
    words: Vec<(Vec<String>, String)>,
}

/// `script` of `shell` for `command`, which also completes the names of models.
pub(super) fn completed(script: &str, shell: Shell, command: &clap::Command) -> String {
    let mut places = Places::default();
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
            let is_word_of = |command: &&str| way.last().is_some_and(|last| last == command);
            names.iter().any(|name| VALUE_NAMES.contains(&name.as_str()))
                || argument.is_positional() && OF_NAMES.iter().any(is_word_of)
        };
        for argument in command.get_arguments().filter(is_model) {
            if argument.is_positional() {
                self.words.push((way.to_vec(), argument.get_id().to_string()));
            }
            if argument.get_value_hint() == ValueHint::AnyPath {
                self.of_files.push(way.to_vec());
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
        let label_of = |way: &Vec<String>| {
            let steps = way.iter().map(|step| format!("__subcmd__{step}"));
            format!("lapwing{})", steps.collect::<String>())
        };
        let of_words: Vec<String> = self.words.iter().map(|(way, _)| label_of(way)).collect();
        let of_files: Vec<String> = self.of_files.iter().map(label_of).collect();
        let (mut command, mut label) = ("", "");
        for line in script.lines() {
            let code = line.trim();
            if code.ends_with(')') && !code.contains('=') {
                label = code;
                command = if code.starts_with("lapwing") { code } else { command };
            }
            let kind = if of_files.iter().any(|each| each == command) { "-f" } else { "-d" };
            let is_option = label
                .strip_suffix(')')
                .is_some_and(|label| self.options.iter().any(|option| option == label));
            let indent = &line[..line.len() - line.trim_start().len()];
            let _ = match code {
                "COMPREPLY=($(compgen -f \"${cur}\"))" if is_option => writeln!(
                    completed,
                    "{indent}COMPREPLY=($(compgen -W \"$(_lapwing_models)\" -- \"${{cur}}\") \
                     $(compgen {kind} -- \"${{cur}}\"))"
                ),
                _ if code.starts_with("opts=\"") && of_words.iter().any(|word| word == label) => {
                    let opts = line.strip_suffix('"').unwrap_or(line);
                    let all = if label.ends_with("__pull)") { " --all" } else { "" };
                    writeln!(completed, "{opts} $(_lapwing_models{all})\"")
                }
                _ => writeln!(completed, "{line}"),
            };
        }
        completed
    }

    fn in_zsh(&self, script: &str) -> String {
        let function = format!(
            "_lapwing_models() {{\n    local -a names\n    names=(${{(f)\"$({NAMES})\"}})\n    \
             compadd -a names\n}}\n\
             _lapwing_model_folders() {{\n    _lapwing_models\n    _files -/\n}}\n\
             _lapwing_models_to_pull() {{\n    _lapwing_models --all\n    _files\n}}\n\
             _lapwing_model_files() {{\n    _lapwing_models\n    _files\n}}\n"
        );
        let is_word = |line: &str| {
            let word = line.trim_start_matches(['\'', '*', ':']);
            self.words.iter().any(|(_, name)| word.starts_with(&format!("{name} -- ")))
        };
        let mut completed = String::new();
        let mut label = "";
        for (line_idx, line) in script.lines().enumerate() {
            label = if line.starts_with('(') { line } else { label };
            let of_folders = match label == format!("({PULL})") {
                true => "_lapwing_models_to_pull",
                false => "_lapwing_model_folders",
            };
            let kinds = [("_default", of_folders), ("_files", "_lapwing_model_files")];
            let asked = kinds.into_iter().find_map(|(kind, asks)| {
                let kind = format!(":{kind}'");
                let is_option =
                    VALUE_NAMES.iter().any(|name| line.contains(&format!(":{name}{kind}")));
                let is_model = is_option || (line.contains(&kind) && is_word(line));
                is_model.then(|| line.replace(&kind, &format!(":{asks}'")))
            });
            let _ = writeln!(completed, "{}", asked.as_deref().unwrap_or(line));
            // What `compdef` reads comes first.
            if line_idx == 0 {
                completed.push_str(&function);
            }
        }
        completed
    }

    fn in_fish(&self, script: &str) -> String {
        let mut completed = format!("function __lapwing_models\n    {NAMES_OF_FISH}\nend\n\n");
        let longs: Vec<String> = self
            .options
            .iter()
            .filter_map(|option| Some(format!(" -l {} ", option.strip_prefix("--")?)))
            .collect();
        for line in script.lines() {
            let is_option = longs.iter().any(|long| line.contains(long))
                && (line.ends_with(" -r") || line.ends_with(" -r -F"));
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
            let all = if way.last().is_some_and(|last| last == PULL) { " --all" } else { "" };
            let _ = writeln!(
                completed,
                "complete -c lapwing -n \"{seen}\" -a \"(__lapwing_models{all})\""
            );
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
        let call = match shell {
            Shell::Zsh => ":_lapwing_model",
            Shell::Bash => "$(_lapwing_models",
            _ => "(__lapwing_models",
        };
        completed.lines().filter(|line| line.contains(call)).count()
    }

    #[test]
    fn every_option_and_word_for_a_model_asks_for_names() {
        let mut places = Places::default();
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
    fn commands_that_take_files_are_offered_files_and_others_folders() {
        let part = |text: &str, from: &str, to: &str| {
            let start = text.find(from).unwrap_or_else(|| panic!("no {from:?}"));
            let end = text[start..].find(to).map_or(text.len(), |end| start + end);
            text[start..end].to_owned()
        };
        let (zsh, _) = script(Shell::Zsh);
        let (bash, _) = script(Shell::Bash);
        let check = |command: &str, takes_files: bool| {
            let of_command = part(&zsh, &format!("({command})\n"), "\n;;\n");
            let found = ["_lapwing_model_files'", "_lapwing_model_folders'"]
                .map(|asks| of_command.contains(asks));
            assert_eq!(found, [takes_files, !takes_files], "zsh {command}");
            let label = format!("        lapwing__subcmd__{command})\n");
            let of_command = part(&bash, &label, "\n        lapwing__");
            let found = of_command.contains("compgen -f -- \"${cur}\"");
            let has_option = of_command.contains("--model)");
            assert_eq!(found, takes_files && has_option, "bash {command}");
        };
        for command in ["inspect", "tokenize", "export"] {
            check(command, true);
        }
        let calibrate = part(&zsh, "(calibrate)\n", "\n;;\n");
        assert!(calibrate.contains("SRC:_lapwing_model_files'"), "{calibrate}");
        for command in ["run", "chat", "bench"] {
            check(command, false);
        }
    }

    #[test]
    fn commands_that_take_names_are_offered_names_and_devices_are_words() {
        let mut places = Places::default();
        places.find(&Cli::command(), &[]);
        for command in ["rm", "pull", "export", "inspect"] {
            let is_way = |(way, _): &(Vec<String>, String)| way == &[command];
            assert!(places.words.iter().any(is_way), "{command}");
        }
        let asks =
            ["$(_lapwing_models --all)", "_lapwing_models_to_pull'", "(__lapwing_models --all)"];
        for (shell, asks) in [Shell::Bash, Shell::Zsh, Shell::Fish].into_iter().zip(asks) {
            let (completed, _) = script(shell);
            assert_eq!(completed.matches(asks).count(), 1, "{shell}: what can be pulled");
        }
        let command = crate::commands::completions::shown(&Cli::command());
        let mut bash = Vec::new();
        clap_complete::generate(Shell::Bash, &mut command.clone(), "lapwing", &mut bash);
        let bash = String::from_utf8(bash).unwrap();
        assert!(bash.contains("compgen -W \"auto cpu gpu npu\""), "devices are offered");
    }

    #[test]
    fn other_shells_stay_as_they_are() {
        for shell in [Shell::Elvish, Shell::PowerShell] {
            let (completed, script) = script(shell);
            assert_eq!(completed, script);
        }
    }
}
