//! A worker that answers many requests side by side, and the side of it that does.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write as _};
use std::marker::PhantomData;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::line::{self, Line, listen};
use super::process::Process;
use super::{KEPT_CHARS_MAX, LastWords, Loss, N_LINES_KEPT};

/// What a process that says nothing any more gets to end.
const END: Duration = Duration::from_secs(10);

/// How often the end of one that was dismissed is looked for.
const POLL: Duration = Duration::from_millis(20);

/// What is heard of a request.
#[derive(Debug, Clone)]
pub enum Heard<Answer> {
    /// Something before the answer.
    More(Answer),
    /// The answer; nothing comes after it.
    Last(Answer),
    /// The worker is gone; nothing comes after it.
    Lost(Arc<Lost>),
    /// What was said is not understood; nothing comes after it.
    Garbled(String),
}

/// How a worker was lost, and what it said last.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the process that holds the model was lost: {loss}")]
pub struct Lost {
    /// How.
    pub loss: Loss,
    /// What it printed.
    #[source]
    pub printed: Option<LastWords>,
}

/// Hears of a request; called by a thread of the worker's, so it must not wait.
pub type Hearer<Answer> = Box<dyn FnMut(Heard<Answer>) + Send>;

/// A worker that is asked by many. It ends when this and all its clones are gone.
pub struct Crowd<Request, Answer> {
    shared: Arc<Shared<Answer>>,
    talk: PhantomData<fn(&Request)>,
}

struct Shared<Answer> {
    process: Mutex<Process>,
    requests: Mutex<Option<Sender<String>>>,
    open: Mutex<Open<Answer>>,
    last_lines: Mutex<VecDeque<String>>,
    number: AtomicU64,
    /// Since when nothing was heard, and something should have been.
    silent_since: Mutex<Instant>,
}

/// What is asked and not answered.
enum Open<Answer> {
    Alive(HashMap<u64, Hearer<Answer>>),
    Lost(Arc<Lost>),
}

impl<Request, Answer> Clone for Crowd<Request, Answer> {
    fn clone(&self) -> Self {
        Crowd { shared: Arc::clone(&self.shared), talk: PhantomData }
    }
}

/// A thread, or why the system gives none: there may be as many as this user may have.
fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().spawn(work).map(drop)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<Request: Serialize, Answer: DeserializeOwned + Send + 'static> Crowd<Request, Answer> {
    /// Start a worker; `on_end` is called once it is lost or has ended.
    ///
    /// # Errors
    ///
    /// When there is no such process.
    pub fn start(
        command: Command,
        on_end: impl FnOnce(Arc<Lost>) + Send + 'static,
    ) -> io::Result<Self> {
        let (mut process, [output, errors]) = Process::spawn(command)?;
        let (sender, requests) = mpsc::channel::<String>();
        let pipe = process.take_requests();
        // A worker that does not read must not stop whoever asks.
        spawn(move || {
            let Some(mut pipe) = pipe else { return };
            for request in requests {
                if pipe.write_all(request.as_bytes()).is_err() {
                    return;
                }
            }
        })?;
        let shared = Arc::new(Shared {
            process: Mutex::new(process),
            requests: Mutex::new(Some(sender)),
            open: Mutex::new(Open::Alive(HashMap::new())),
            last_lines: Mutex::default(),
            number: AtomicU64::new(0),
            silent_since: Mutex::new(Instant::now()),
        });
        let of_errors = Arc::downgrade(&shared);
        spawn(move || {
            listen(errors, |line| of_errors.upgrade().is_some_and(|shared| shared.hear(line)));
        })?;
        let of_output = Arc::downgrade(&shared);
        spawn(move || {
            listen(output, |line| of_output.upgrade().is_some_and(|shared| shared.hear(line)));
            if let Some(shared) = of_output.upgrade() {
                on_end(shared.end());
            }
        })?;
        Ok(Crowd { shared, talk: PhantomData })
    }

    /// Ask; what comes of it goes to `hear`. Gives the request's number.
    pub fn ask(&self, request: &Request, mut hear: Hearer<Answer>) -> u64 {
        let number = self.shared.number.fetch_add(1, Ordering::Relaxed) + 1;
        match &mut *lock(&self.shared.open) {
            Open::Alive(open) => {
                if open.is_empty() {
                    *lock(&self.shared.silent_since) = Instant::now();
                }
                open.insert(number, hear);
            }
            Open::Lost(lost) => {
                hear(Heard::Lost(Arc::clone(lost)));
                return number;
            }
        }
        self.send(number, request);
        number
    }

    /// Say something to which nothing is answered.
    pub fn tell(&self, request: &Request) {
        self.send(0, request);
    }

    fn send(&self, number: u64, request: &Request) {
        if let Some(requests) = &*lock(&self.shared.requests) {
            // A worker that is gone is heard of elsewhere.
            let _ = requests.send(line::request(number, request));
        }
    }

    /// The number of its process.
    pub fn process_id(&self) -> u32 {
        lock(&self.shared.process).id()
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        lock(&self.shared.process).started
    }

    /// What it holds in memory; `None` where the system does not tell.
    pub fn resident_bytes(&self) -> Option<u64> {
        lock(&self.shared.process).resident_bytes()
    }

    /// Whether it has ended.
    pub fn is_lost(&self) -> bool {
        matches!(*lock(&self.shared.open), Open::Lost(_))
    }

    /// Let it end by itself: it is asked nothing more. One that does not end soon is ended; nobody
    /// waits for that here.
    pub fn dismiss(&self) {
        *lock(&self.shared.requests) = None;
        let shared = Arc::clone(&self.shared);
        let watched = spawn(move || {
            let deadline = Instant::now() + END;
            while !matches!(*lock(&shared.open), Open::Lost(_)) {
                if deadline <= Instant::now() {
                    return lock(&shared.process).kill();
                }
                std::thread::sleep(POLL);
            }
        });
        if let Err(error) = watched {
            tracing::warn!(%error, "nobody sees to it that a process ends");
        }
    }

    /// How long it has said nothing to anybody, while something was asked. As the clock goes that
    /// stands still while the machine sleeps.
    pub fn silence(&self) -> Duration {
        lock(&self.shared.silent_since).elapsed()
    }

    /// Wait no longer for one that has said nothing for `limit`: what is open is heard of as lost at
    /// once, and its process is ended, which nobody waits for here.
    pub fn give_up(&self, limit: Duration) {
        self.shared.lose(Loss::TimedOut { limit_s: limit.as_secs() });
        let shared = Arc::clone(&self.shared);
        if let Err(error) = spawn(move || lock(&shared.process).kill()) {
            tracing::warn!(%error, "nobody ends a process that hangs");
        }
    }

    /// End it now. What is open is heard of as lost.
    pub fn kill(&self) {
        lock(&self.shared.process).kill();
    }
}

impl<Answer: DeserializeOwned> Shared<Answer> {
    /// Take in a line; whether more are wanted.
    fn hear(&self, line: Line) -> bool {
        match line {
            Line::Said { number, is_last, json } => {
                *lock(&self.silent_since) = Instant::now();
                let Open::Alive(open) = &mut *lock(&self.open) else { return false };
                let hearer = match is_last {
                    true => open.remove(&number),
                    false => None,
                };
                let said = serde_json::from_str(&json);
                match (hearer, said) {
                    (Some(mut hear), Ok(answer)) => hear(Heard::Last(answer)),
                    (Some(mut hear), Err(error)) => hear(Heard::Garbled(error.to_string())),
                    (None, Ok(answer)) => {
                        if let Some(hear) = open.get_mut(&number) {
                            hear(Heard::More(answer));
                        }
                    }
                    (None, Err(error)) => {
                        if let Some(mut hear) = open.remove(&number) {
                            hear(Heard::Garbled(error.to_string()));
                        }
                    }
                }
            }
            Line::Other(text) if text.is_empty() => {}
            Line::Other(text) => {
                tracing::info!(line = text, "another process printed");
                let mut kept = lock(&self.last_lines);
                if kept.len() == N_LINES_KEPT {
                    kept.pop_front();
                }
                kept.push_back(text.chars().take(KEPT_CHARS_MAX).collect());
            }
        }
        true
    }

    /// Its output has ended: wait for the rest of it, and tell everybody.
    fn end(&self) -> Arc<Lost> {
        let deadline = Instant::now() + END;
        let loss = loop {
            match lock(&self.process).loss() {
                Ok(Some(loss)) => break loss,
                Ok(None) if Instant::now() < deadline => {}
                _ => {
                    lock(&self.process).kill();
                    break Loss::TimedOut { limit_s: END.as_secs() };
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        self.lose(loss)
    }

    /// Tell everybody that it is lost, unless they know.
    fn lose(&self, loss: Loss) -> Arc<Lost> {
        let printed = LastWords::of(lock(&self.last_lines).iter().cloned().collect());
        let lost = Arc::new(Lost { loss, printed });
        let was = match &mut *lock(&self.open) {
            Open::Lost(known) => return Arc::clone(known),
            open => std::mem::replace(open, Open::Lost(Arc::clone(&lost))),
        };
        *lock(&self.requests) = None;
        if let Open::Alive(open) = was {
            open.into_values().for_each(|mut hear| hear(Heard::Lost(Arc::clone(&lost))));
        }
        lost
    }
}

/// What a worker that answers side by side is asked, in order, until nobody asks any more; who is
/// still busy some seconds after that is ended with the process.
pub struct Requests<Request> {
    lines: mpsc::Receiver<String>,
    talk: PhantomData<fn() -> Request>,
}

impl<Request: DeserializeOwned> Requests<Request> {
    /// What comes on `input`.
    pub fn of(input: impl Read + Send + 'static) -> Requests<Request> {
        let (sender, lines) = mpsc::channel();
        super::serve::read_on(input, sender, super::serve::abort_after_grace);
        Requests { lines, talk: PhantomData }
    }

    /// The next request with its number, waited for; `None` at the end.
    ///
    /// # Errors
    ///
    /// When it is not understood.
    pub fn next(&self) -> Option<Result<(u64, Request), serde_json::Error>> {
        self.lines.recv().ok().map(|line| line::parse_request(&line))
    }

    /// The next request if one is there; `Err(None)` at the end.
    ///
    /// # Errors
    ///
    /// When it is not understood, or nobody asks any more.
    pub fn try_next(&self) -> Result<Option<(u64, Request)>, Option<serde_json::Error>> {
        match self.lines.try_recv() {
            Ok(line) => line::parse_request(&line).map(Some).map_err(Some),
            Err(mpsc::TryRecvError::Empty) => Ok(None),
            Err(mpsc::TryRecvError::Disconnected) => Err(None),
        }
    }
}

/// Say something to a request.
///
/// # Errors
///
/// When nobody reads it.
pub fn say(
    output: &mut dyn io::Write,
    number: u64,
    is_last: bool,
    said: &impl Serialize,
) -> io::Result<()> {
    output.write_all(line::said(number, is_last, said).as_bytes())?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn heard(crowd: &Crowd<u32, u32>, request: u32) -> mpsc::Receiver<Heard<u32>> {
        let (sender, receiver) = mpsc::channel();
        crowd.ask(&request, Box::new(move |heard| drop(sender.send(heard))));
        receiver
    }

    #[cfg(unix)]
    #[test]
    fn answers_come_to_whoever_asked_in_any_order() {
        let script = "read a; read b; \
            echo lapwing-worker more 2 7; echo lapwing-worker last 2 8; echo noise; \
            echo lapwing-worker last 1 9; read c; exit 3";
        let (ended, end) = mpsc::channel();
        let crowd = Crowd::start(shell(script), move |lost| drop(ended.send(lost))).unwrap();
        let (first, second) = (heard(&crowd, 1), heard(&crowd, 2));
        assert!(matches!(second.recv().unwrap(), Heard::More(7)));
        assert!(matches!(second.recv().unwrap(), Heard::Last(8)));
        assert!(matches!(first.recv().unwrap(), Heard::Last(9)));
        let third = heard(&crowd, 3);
        let lost = end.recv().unwrap();
        assert_eq!(lost.loss.to_string(), "it ended: exit code 3");
        assert_eq!(lost.printed.as_ref().unwrap().0, ["noise"]);
        assert!(matches!(third.recv().unwrap(), Heard::Lost(_)));
        // Whoever comes too late hears the same.
        assert!(matches!(heard(&crowd, 4).recv().unwrap(), Heard::Lost(_)));
        assert!(crowd.is_lost());
    }

    #[cfg(unix)]
    #[test]
    fn who_is_killed_or_dismissed_ends() {
        let (ended, end) = mpsc::channel();
        let ends = || {
            let ended = ended.clone();
            move |lost| drop(ended.send(lost))
        };
        let crowd: Crowd<u32, u32> = Crowd::start(shell("exec sleep 100"), ends()).unwrap();
        let open = heard(&crowd, 1);
        crowd.kill();
        assert!(matches!(open.recv().unwrap(), Heard::Lost(_)));
        assert!(end.recv().unwrap().loss.to_string().contains("signal 9"));
        let crowd: Crowd<u32, u32> = Crowd::start(shell("cat >/dev/null; exit 5"), ends()).unwrap();
        crowd.dismiss();
        assert!(end.recv().unwrap().loss.to_string().contains("exit code 5"));
    }
}
