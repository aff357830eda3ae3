//! Threads that stay, and run one function together.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::board::N_PHASES_MAX;
use crate::meeting::{Meeting, Padded, spin_until};
use crate::member::{LeftAlone, Member, Phase};
use crate::placement::Placement;

/// How long a member stays awake behind a run: a step of a model follows the one before within some
/// tens of microseconds, and waking a thread takes as long.
const AWAKE: Duration = Duration::from_micros(200);

/// A team of threads. The caller of a run is its first member; the others are threads that wait
/// for the next run, soon asleep.
#[derive(Debug)]
pub struct Team {
    id: u64,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// How many phases there were in all.
    n_phases: u64,
}

/// What the threads see.
#[derive(Debug)]
struct Shared {
    n_members: usize,
    /// The number of the run; another one is a run to join.
    run: Padded<AtomicU64>,
    /// How many threads are through with the run.
    n_done: Padded<AtomicUsize>,
    job: Mutex<Option<Job>>,
    meeting: Meeting,
    asleep: Box<[Padded<AtomicBool>]>,
    /// What the first member that panicked had to say.
    panic: Mutex<Option<String>>,
}

/// A function for the time of a run.
#[derive(Clone, Copy)]
struct Job {
    work: *const (dyn Fn(&mut Member<'_>) + Sync),
    phases: *const [Phase],
    team_id: u64,
    first_phase: u64,
}

// SAFETY: both pointers are of what may be shared, and are followed during the run alone.
unsafe impl Send for Job {}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("first_phase", &self.first_phase).finish_non_exhaustive()
    }
}

/// A run that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A member panicked.
    #[error("a thread of the team panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
}

impl Team {
    /// A team of as many members, the caller of its runs included, that keeps to a placement.
    ///
    /// # Errors
    ///
    /// When the system gives no more threads.
    ///
    /// # Panics
    ///
    /// When there would be no member.
    pub fn new(n_members: usize, placement: &Placement) -> std::io::Result<Self> {
        static N_TEAMS: AtomicU64 = AtomicU64::new(0);
        assert!(n_members > 0, "a team has a member");
        let shared = Arc::new(Shared {
            n_members,
            run: Padded::default(),
            n_done: Padded::default(),
            job: Mutex::new(None),
            meeting: Meeting::new(n_members),
            asleep: (0..n_members).map(|_| Padded::default()).collect(),
            panic: Mutex::new(None),
        });
        let id = N_TEAMS.fetch_add(1, Ordering::Relaxed);
        let mut team = Self { id, shared, threads: Vec::new(), n_phases: 0 };
        for idx in 1..n_members {
            let (shared, placement) = (Arc::clone(&team.shared), placement.clone());
            let thread = std::thread::Builder::new().name(format!("team-{idx}"));
            team.threads.push(thread.spawn(move || {
                placement.keep();
                shared.wait_and_work(idx);
            })?);
        }
        Ok(team)
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// How many members the team has, its caller included.
    pub fn n_members(&self) -> usize {
        self.shared.n_members
    }

    /// Let all members do `work`, phase by phase, and wait for them.
    ///
    /// # Errors
    ///
    /// When a member panicked, or ended before the last phase.
    pub fn run(
        &mut self,
        phases: &[Phase],
        work: impl Fn(&mut Member<'_>) + Sync,
    ) -> Result<(), RunError> {
        if phases.is_empty() {
            return Ok(());
        }
        let work: *const (dyn Fn(&mut Member<'_>) + Sync + '_) = &work;
        // SAFETY: only the lifetime is another. The job is taken away below, when every thread has
        // said that it is through with it.
        let work: *const (dyn Fn(&mut Member<'_>) + Sync + 'static) =
            unsafe { std::mem::transmute(work) };
        let job = Job { work, phases, team_id: self.id, first_phase: self.n_phases };
        self.n_phases += phases.len() as u64;
        // Years from now.
        assert!(self.n_phases < N_PHASES_MAX, "a team is good for {N_PHASES_MAX} phases");

        let shared = &*self.shared;
        shared.meeting.reset();
        shared.n_done.0.store(0, Ordering::Relaxed);
        *lock(&shared.job) = Some(job);
        // The order of this store and the look at who sleeps is the reverse of a thread's.
        shared.run.0.fetch_add(1, Ordering::SeqCst);
        for (idx, thread) in (1..).zip(&self.threads) {
            if shared.asleep[idx].0.load(Ordering::SeqCst) {
                thread.thread().unpark();
            }
        }
        shared.work(0, job);
        spin_until(|| shared.n_done.0.load(Ordering::Acquire) == self.threads.len());
        *lock(&shared.job) = None;
        match lock(&shared.panic).take() {
            Some(message) => Err(RunError::Panicked { message }),
            None => Ok(()),
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        // A run without a job: the end.
        self.shared.run.0.fetch_add(1, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // What a member's panic said went to its run.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The life of a thread.
    fn wait_and_work(&self, idx: usize) {
        let mut run = 0;
        loop {
            self.wait_for_run_after(run, idx);
            run += 1;
            let Some(job) = *lock(&self.job) else { return };
            self.work(idx, job);
            self.n_done.0.fetch_add(1, Ordering::Release);
        }
    }

    fn wait_for_run_after(&self, run: u64, idx: usize) {
        let is_there = || self.run.0.load(Ordering::SeqCst) != run;
        let began = Instant::now();
        while began.elapsed() < AWAKE {
            for _ in 0..64 {
                if is_there() {
                    return;
                }
                std::hint::spin_loop();
            }
        }
        let asleep = &self.asleep[idx].0;
        asleep.store(true, Ordering::SeqCst);
        while !is_there() {
            std::thread::park();
        }
        asleep.store(false, Ordering::SeqCst);
    }

    /// One member's work in a run. Whatever happens, it returns.
    fn work(&self, idx: usize, job: Job) {
        // SAFETY: the run waits for all members, so its function is still there.
        let work = unsafe { &*job.work };
        // SAFETY: as are its phases.
        let phases = unsafe { &*job.phases };
        let mut member =
            Member::new(idx, self.n_members, job.team_id, job.first_phase, phases, &self.meeting);
        let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut member)));
        let message = match outcome {
            Ok(()) if member.is_in_last_phase() => return,
            Ok(()) => "a member's work ended before the last phase".to_owned(),
            Err(payload) if payload.is::<LeftAlone>() => return,
            Err(payload) => message(&*payload),
        };
        lock(&self.panic).get_or_insert(message);
        self.meeting.break_up();
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

/// What these locks guard is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
