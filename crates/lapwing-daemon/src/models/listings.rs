//! What there is in the store and what libraries offer, as a worker reads it: this process opens no
//! model's file.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lapwing_host::worker::crowd::Crowd;
use lapwing_serving::message::{Ask, Listing, Said};
use tokio::sync::Mutex;

use super::Models;
use crate::answers::Answers;
use crate::options::{InForce, Options};
use crate::refusal::Refusal;

/// A process that only looks, at folders or at devices, and says nothing for so long hangs. All who ask
/// wait for the same one.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// The store's content, read anew when its folders changed.
pub(super) struct Listings {
    options: Arc<InForce>,
    read: Mutex<Option<Read>>,
}

struct Read {
    stamp: Stamp,
    list: Arc<Vec<Listing>>,
}

/// When the folder of models and each of those in it changed last.
type Stamp = Vec<Option<SystemTime>>;

impl Listings {
    pub(super) fn new(options: Arc<InForce>) -> Listings {
        Listings { options, read: Mutex::const_new(None) }
    }

    pub(super) async fn get(&self) -> Result<Arc<Vec<Listing>>, Refusal> {
        // Whoever comes meanwhile waits for the same.
        let mut read = self.read.lock().await;
        let options = self.options.now();
        let stamp = stamp(&options.models);
        if let Some(read) = read.as_ref().filter(|read| read.stamp == stamp) {
            return Ok(Arc::clone(&read.list));
        }
        match ask_once(&options, &Ask::List).await? {
            Said::Listed(list) => {
                let list = Arc::new(list);
                *read = Some(Read { stamp, list: Arc::clone(&list) });
                Ok(list)
            }
            _ => Err(Refusal::internal("the store's process is of another version")),
        }
    }
}

impl Models {
    /// The SHA-256 and the bytes of the files of a model.
    pub(crate) async fn hash(
        &self,
        model: &str,
        variant: Option<String>,
    ) -> Result<(String, u64), Refusal> {
        let ask = Ask::Hash { model: model.to_owned(), variant };
        match ask_once(&self.options.now(), &ask).await? {
            Said::Hashed { sha256, n_bytes } => Ok((sha256, n_bytes)),
            _ => Err(Refusal::internal("the process that reads is of another version")),
        }
    }
}

/// What a worker says that is asked nothing else.
pub(super) async fn ask_once(options: &Options, ask: &Ask) -> Result<Said, Refusal> {
    let command = options.worker.command();
    let command = command.map_err(|error| Refusal::internal(error.to_string()))?;
    let crowd: Crowd<Ask, Said> = Crowd::start(command, |_| ())
        .map_err(|error| Refusal::internal(format!("cannot start a process: {error}")))?;
    let said = Answers::of(&crowd, ask, None).with_silence(SILENCE_MAX).last().await;
    crowd.dismiss();
    said
}

fn stamp(folder: &Path) -> Stamp {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|of| of.modified()).ok();
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut stamp: Stamp = entries.map(|entry| changed(&entry.path())).collect();
    stamp.sort();
    stamp.push(changed(folder));
    stamp
}
