//! What environment and settings file say of options: read as the flags of the same names.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, Command};
use toml::{Table, Value};

use super::ResolveSettingsError;

/// Environment and settings file, in this order.
#[derive(Clone, Copy)]
pub(super) struct Layers<'a> {
    /// Never an empty value: those count as unset, as shells make them easy to write.
    pub(super) lookup: &'a dyn Fn(&str) -> Option<OsString>,
    /// The settings file.
    pub(super) path: &'a Path,
    /// What it says of options.
    pub(super) table: &'a Table,
    /// The table of the file that these stand in, and the word behind `LAPWING_` in their variables.
    pub(super) section: Option<&'a str>,
}

impl Layers<'_> {
    /// What they say of one group of options.
    pub(super) fn group<T: Args>(&self) -> Result<T, ResolveSettingsError> {
        let command = command::<T>();
        let mut flags = Vec::new();
        for key in keys::<T>() {
            let Some((origin, texts)) = self.texts(&key) else { continue };
            let flag = |text| format!("--{}={text}", key.replace('_', "-"));
            let of_key: Vec<String> = texts.iter().map(flag).collect();
            if let Err(error) = command.clone().try_get_matches_from(&of_key) {
                let problem = problem(&error, &texts.join(", "));
                return Err(ResolveSettingsError::Value { origin, problem });
            }
            flags.extend(of_key);
        }
        let matches = command.try_get_matches_from(flags);
        Ok(T::from_arg_matches(&matches.expect("each was read")).expect("each was read"))
    }

    /// Where something is said of one option, and a word for each time that its flag would be given.
    fn texts(&self, key: &str) -> Option<(String, Vec<String>)> {
        let variable = variable(self.section, key);
        if let Some(text) = (self.lookup)(&variable) {
            let text = text.to_string_lossy().into_owned();
            return Some((format!("environment variable {variable}"), vec![text]));
        }
        let texts = words(self.table.get(key)?);
        let key = full_key(self.section, key);
        Some((format!("key `{key}` of {}", self.path.display()), texts))
    }
}

/// The variable of an option.
pub(super) fn variable(section: Option<&str>, key: &str) -> String {
    format!("LAPWING_{}", full_key(section, key).replace('.', "_").to_ascii_uppercase())
}

/// A key with the table that it stands in.
pub(super) fn full_key(section: Option<&str>, key: &str) -> String {
    section.map_or_else(|| key.to_owned(), |section| format!("{section}.{key}"))
}

/// The names of a group of options in the settings file.
pub(super) fn keys<T: Args>() -> Vec<String> {
    let command = command::<T>();
    command.get_arguments().map(|argument| argument.get_id().to_string()).collect()
}

fn command<T: Args>() -> Command {
    T::augment_args(Command::new("settings").no_binary_name(true))
}

/// A value as the words of a command line.
fn words(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(values) => values.iter().flat_map(words).collect(),
        Value::Table(table) => {
            let pairs =
                |(key, value)| words(value).into_iter().map(move |word| format!("{key}={word}"));
            table.iter().flat_map(pairs).collect()
        }
        other => vec![other.to_string()],
    }
}

/// What is wrong with `text`, in the words of the option's own parser.
fn problem(error: &clap::Error, text: &str) -> String {
    let problem = match (std::error::Error::source(error), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(names))) => {
            format!("expected {}", names.join(", "))
        }
        (None, _) => "expected one value".to_owned(),
    };
    let quoted = [format!("{text:?}"), format!("`{text}`"), format!("found {text}")];
    match quoted.iter().any(|found| problem.contains(found)) {
        true => problem,
        false => format!("{problem}, found \"{text}\""),
    }
}
