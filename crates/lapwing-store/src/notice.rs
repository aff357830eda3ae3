//! What fetching has to say while it works, and what it asks: the two closures of whoever wants it.

use std::fmt;
use std::path::PathBuf;

/// Something to be told, printed or logged. Sizes are numbers: how they read is up to the listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Another process does the same work; this one waits for it.
    Waiting {
        /// Who that is.
        holder: String,
        /// What both want to do.
        work: Work,
    },
    /// Nothing has come from a server for some seconds.
    Silent {
        /// Its name.
        host: String,
    },
    /// What a repository is going to send.
    Repository {
        /// The repository.
        repo: String,
        /// The exact revision.
        commit: String,
        /// Files that make up the model.
        n_files: usize,
        /// Their sizes together.
        n_bytes: u64,
    },
    /// Files that are not downloaded, since Hugging Face's own tools have them in their cache: as
    /// far as they turn out to be the right ones.
    Cached {
        /// The repository's folder there.
        folder: PathBuf,
        /// How many there are.
        n_files: usize,
        /// Their sizes together.
        n_bytes: u64,
    },
    /// One of those files is downloaded after all.
    NotTaken {
        /// The file in the repository.
        path: String,
        /// What is wrong with the one in the cache.
        problem: String,
    },
    /// A file whose size could be checked, and nothing else.
    NoHash {
        /// The hub.
        endpoint: String,
        /// The file in the repository.
        path: String,
    },
    /// Work begins that has bytes to count. What had begun before goes on when this has ended.
    Begun {
        /// What begins.
        work: Work,
        /// How many bytes it has, where that is known.
        n_bytes: Option<u64>,
    },
    /// So much of the work that began last is done, in all.
    Advanced {
        /// Bytes that are done.
        n_done: u64,
    },
    /// As [`Notice::Advanced`], by an earlier run: it says nothing of the speed.
    Resumed {
        /// Bytes that are done.
        n_done: u64,
    },
    /// The work that began last is over, done or not.
    Ended,
}

/// A piece of work in words: `pulling qwen3-8b`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// What is done.
    pub activity: Activity,
    /// With which model, runtime or file.
    pub subject: String,
}

/// What can take long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// A model comes from a hub or an index.
    Pulling,
    /// A runtime comes from an index.
    Getting,
    /// Files are copied into the store.
    Copying,
    /// Files are linked into the store, and hashed for its record.
    Linking,
    /// A file comes out of an archive.
    Unpacking,
    /// A file is hashed.
    Verifying,
}

impl Work {
    pub(crate) fn new(activity: Activity, subject: impl fmt::Display) -> Self {
        Self { activity, subject: subject.to_string() }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let activity = match self.activity {
            Activity::Pulling => "pulling",
            Activity::Getting => "getting",
            Activity::Copying => "copying",
            Activity::Linking => "linking",
            Activity::Unpacking => "unpacking",
            Activity::Verifying => "verifying",
        };
        write!(formatter, "{activity} {}", self.subject)
    }
}

/// Whoever wants something fetched: it hears what happens, and may stop it.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// Hears every notice, in order.
    pub tell: &'a dyn Fn(Notice),
    /// Asked often; once it says yes the work ends with an error, and is not asked again.
    pub is_stopped: &'a dyn Fn() -> bool,
}

impl Caller<'_> {
    pub(crate) fn tell(&self, notice: Notice) {
        (self.tell)(notice);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        (self.is_stopped)()
    }
}

/// Nobody listens, and nobody stops it.
#[cfg(test)]
pub(crate) const NOBODY: Caller<'static> = Caller { tell: &|_| {}, is_stopped: &|| false };

/// How far a piece of work has come; ends it when dropped.
pub(crate) struct Progress<'a> {
    caller: Caller<'a>,
    n_done: u64,
}

impl<'a> Progress<'a> {
    pub(crate) fn begin(caller: Caller<'a>, work: Work, n_bytes: Option<u64>) -> Self {
        caller.tell(Notice::Begun { work, n_bytes });
        Self { caller, n_done: 0 }
    }

    /// `n_bytes` more are done.
    pub(crate) fn advance(&mut self, n_bytes: u64) {
        self.set(self.n_done.saturating_add(n_bytes));
    }

    /// `n_done` bytes are done in all.
    pub(crate) fn set(&mut self, n_done: u64) {
        self.n_done = n_done;
        self.caller.tell(Notice::Advanced { n_done });
    }

    /// `n_bytes` more were there before this run.
    pub(crate) fn resume_by(&mut self, n_bytes: u64) {
        self.n_done = self.n_done.saturating_add(n_bytes);
        self.caller.tell(Notice::Resumed { n_done: self.n_done });
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.caller.tell(Notice::Ended);
    }
}
