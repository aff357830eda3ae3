//! The process of a worker: its pipes, its memory and its end.

use std::io::{self, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::Loss;
use super::line::{Line, listen};

/// Lines that wait to be looked at; a worker that prints more waits.
const N_LINES_WAITING: usize = 1000;
/// What a process gets to end by itself.
const GRACE: Duration = Duration::from_secs(5);
/// What a process may take to end when it was killed.
const DEATH: Duration = Duration::from_secs(5);

/// What a process prints.
pub(super) type Output = Box<dyn io::Read + Send>;

fn no_pipe() -> io::Error {
    io::Error::other("the system gave no pipe")
}

/// A child that does not outlive its owner.
pub(super) struct Process {
    child: Child,
    /// `None` when it was told to end.
    requests: Option<ChildStdin>,
    pub(super) started: Instant,
    /// Looks at the memory; made when it is first asked for.
    system: Option<System>,
}

impl Process {
    /// Start it; gives what it prints, too.
    pub(super) fn start(command: Command) -> io::Result<(Process, Receiver<Line>)> {
        let (process, [output, errors]) = Process::spawn(command)?;
        let (sender, lines) = mpsc::sync_channel(N_LINES_WAITING);
        for pipe in [output, errors] {
            let sender = sender.clone();
            let pass_on = move || listen(pipe, |line| sender.send(line).is_ok());
            std::thread::Builder::new().spawn(pass_on)?;
        }
        Ok((process, lines))
    }

    /// Start it; gives the pipes that it prints to, too.
    pub(super) fn spawn(mut command: Command) -> io::Result<(Process, [Output; 2])> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let started = Instant::now();
        let mut child = command.spawn()?;
        let requests = child.stdin.take();
        let output: Output = Box::new(child.stdout.take().ok_or_else(no_pipe)?);
        let errors: Output = Box::new(child.stderr.take().ok_or_else(no_pipe)?);
        Ok((Process { child, requests, started, system: None }, [output, errors]))
    }

    /// Where requests go, for whoever writes them himself.
    pub(super) fn take_requests(&mut self) -> Option<ChildStdin> {
        self.requests.take()
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Write a request. One that does not read any more is about to end, which is seen then.
    pub(super) fn send(&mut self, request: &str) {
        if let Some(pipe) = &mut self.requests {
            let _ = pipe.write_all(request.as_bytes());
        }
    }

    /// How it was lost, if it has ended.
    pub(super) fn loss(&mut self) -> io::Result<Option<Loss>> {
        Ok(self.child.try_wait()?.map(Loss::of))
    }

    /// What it holds in memory; `None` where the system does not tell.
    pub(super) fn resident_bytes(&mut self) -> Option<u64> {
        if self.system.is_none() {
            self.system = System::new().ok();
        }
        let (system, pid) = (self.system.as_mut()?, Pid::from_u32(self.child.id()));
        let kind = ProcessRefreshKind::nothing().with_memory();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, kind);
        system.process(pid).map(sysinfo::Process::memory)
    }

    /// End it now.
    pub(super) fn kill(&mut self) {
        self.requests = None;
        // It may be gone already.
        let _ = self.child.kill();
        if !self.has_ended_within(DEATH) {
            // It hangs in a driver, where no signal reaches it.
            tracing::warn!(pid = self.child.id(), "a process that was killed does not end");
        }
    }

    fn has_ended_within(&mut self, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        while matches!(self.child.try_wait(), Ok(None)) {
            if deadline <= Instant::now() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Without requests it ends by itself, and what it holds is freed in order.
        self.requests = None;
        if !self.has_ended_within(GRACE) {
            self.kill();
        }
    }
}
