//! A program that came to harm, in words.

use std::fmt;
use std::path::PathBuf;

use lapwing_files::{Allowance, Identity};

use crate::allowance;
use crate::trial::{Failure, How, Stage};
use crate::worker::Loss;

use super::doing::{Doing, Opened};

/// The process that did the work came to harm.
#[derive(Debug, thiserror::Error)]
pub struct Lost {
    /// What ended it: the name of a signal, or an exit code.
    pub harm: String,
    /// The stage, and what the system says.
    pub failure: Failure,
    /// What it did; `None` where that is not known.
    pub doing: Option<Doing>,
    /// What a container lets the process have of memory, where that may be why.
    pub allowed: Option<String>,
    /// Files of the model that are no longer what they were when it was opened, and how.
    pub changed: Vec<String>,
}

impl Lost {
    /// A process that ended so.
    pub fn new(harm: String, loss: Loss, doing: Option<Doing>) -> Lost {
        let models = doing.iter().flat_map(|doing| &doing.models);
        let changed = models.flat_map(|opened| &opened.files).filter_map(changed).collect();
        let stage = doing.as_ref().map_or(Stage::Start, |doing| doing.stage);
        // What it printed the user has seen.
        let failure = Failure { stage, how: How::Lost(loss), last_lines: Vec::new() };
        let allowed = match harm.as_str() {
            "SIGKILL" => allowance::told(&Allowance::of_this_process()),
            _ => None,
        };
        Lost { harm, failure, doing, changed, allowed }
    }
}

fn changed((path, before): &(PathBuf, Identity)) -> Option<String> {
    let name = path.display();
    match Identity::at(path) {
        Ok(now) => before.change_to(&now).map(|change| format!("{name}: {change}")),
        Err(error) => Some(format!("{name}: {error}")),
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lost { harm, failure, doing, changed, allowed } = self;
        write!(f, "{harm} ended the work")?;
        if let Some(doing) = doing {
            for (Opened { path, with, .. }, word) in doing.models.iter().zip(["on", "and"]) {
                write!(f, " {word} {}", path.display())?;
                with.as_ref().map_or(Ok(()), |with| write!(f, " with {with}"))?;
            }
            match doing.n_tokens {
                0 => {}
                n => write!(f, ", behind token {n} of an answer")?,
            }
        }
        write!(f, ": {failure}")?;
        allowed.as_ref().map_or(Ok(()), |allowed| write!(f, "; a container allows {allowed}"))?;
        if !changed.is_empty() {
            write!(f, "; changed since it was opened: {}", changed.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_told_with_all_that_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.bin");
        std::fs::write(&file, [7; 100]).unwrap();
        let doing = Doing {
            stage: Stage::Run,
            models: vec![Opened {
                path: "/m".into(),
                with: Some("openvino 2026.4.1 on cpu".to_owned()),
                files: vec![(file.clone(), Identity::at(&file).unwrap())],
            }],
            exit_code: 0,
            n_tokens: 5,
        };
        std::fs::write(&file, [7; 10]).unwrap();
        let loss = || Loss::Ended { status: "bus error (signal 7)".to_owned(), signal: Some(7) };
        let told = Lost::new("SIGBUS".to_owned(), loss(), Some(doing)).to_string();
        let expected = format!(
            "SIGBUS ended the work on /m with openvino 2026.4.1 on cpu, behind token 5 of an \
             answer: the process ended while running the model: bus error (signal 7); changed \
             since it was opened: {}: it had 100 bytes and has 10",
            file.display()
        );
        assert_eq!(told, expected);
        let told = Lost::new("SIGBUS".to_owned(), loss(), None).to_string();
        let expected =
            "SIGBUS ended the work: the process ended while starting: bus error (signal 7)";
        assert_eq!(told, expected);
    }
}
