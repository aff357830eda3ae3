//! One thing that was looked at on this machine: how it stands, and what to do about it.

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It works.
    Fine,
    /// Something optional is not there.
    Absent,
    /// It is there and does not work.
    Broken,
}

impl Standing {
    /// As tables and JSON name it.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Fine => "ok",
            Standing::Absent => "absent",
            Standing::Broken => "broken",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Its name.
    pub what: &'static str,
    /// How it stands.
    pub standing: Standing,
    /// What was found.
    pub found: String,
    /// What the user can do; empty when nothing needs doing.
    pub cure: String,
}

impl Fact {
    /// Something that works.
    pub fn fine(what: &'static str, found: impl Into<String>) -> Fact {
        Fact { what, standing: Standing::Fine, found: found.into(), cure: String::new() }
    }

    /// Something optional that is not there.
    pub fn absent(what: &'static str, found: impl Into<String>, cure: impl Into<String>) -> Fact {
        Fact { what, standing: Standing::Absent, found: found.into(), cure: cure.into() }
    }

    /// Something that is there and does not work.
    pub fn broken(what: &'static str, found: impl Into<String>, cure: impl Into<String>) -> Fact {
        Fact { what, standing: Standing::Broken, found: found.into(), cure: cure.into() }
    }
}
