//! The orchestrator's handle of a worker process.

use std::{
    env,
    io::{Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::{
    clock::now,
    history::{Event, EventKind, LENGTH, Milestone, decode},
    worker::{Job, LEAVE},
};

/// Longest time for a worker to exit after a request.
const PATIENCE: Duration = Duration::from_secs(5);

/// Subcommand that runs this program as a worker.
pub(crate) const SUBCOMMAND: &str = "worker";

/// Worker process. A drop kills and reaps it.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    reader: Option<JoinHandle<Vec<Event>>>,
    milestones: Arc<AtomicU8>,
}

/// Worker process that has ended.
#[derive(Debug)]
pub(crate) struct EndedWorker {
    /// Events that the worker logged.
    pub(super) events: Vec<Event>,
    /// Time at which it was killed, if it was.
    pub(super) killed: Option<u64>,
}

impl Worker {
    /// Starts a worker. Each operation that it logs is counted in `count`.
    pub(super) fn start(job: &Job, plant: Option<&str>, count: Arc<AtomicU64>) -> Self {
        let program = env::current_exe().expect("finding this program's own file");
        let job_text = serde_json::to_string(job).expect("a job is numbers and text");
        let mut command = Command::new(program);
        command.args([SUBCOMMAND, &job_text]).stdin(Stdio::piped()).stdout(Stdio::piped());
        for name in ["REDIS_URL", "CACHED_ASIDE", "CACHED_ASIDE_NAMESPACE", "CACHED_ASIDE_PLANT"] {
            command.env_remove(name);
        }
        command.envs(plant.map(|plant| ("CACHED_ASIDE_PLANT", plant)));
        let mut child = command.spawn().expect("starting a worker");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("it is piped");
        let milestones = Arc::new(AtomicU8::new(0));
        let (process, seen) = (job.process, milestones.clone());
        let reader = Some(thread::spawn(move || collect(process, stdout, &count, &seen)));
        Self { child, stdin, reader, milestones }
    }

    /// Returns whether the worker has logged `milestone`.
    pub(super) fn has_reached(&self, milestone: Milestone) -> bool {
        self.milestones.load(Ordering::Acquire) & (1 << milestone as u8) != 0
    }

    /// Sends a command to the worker. A worker that has exited does not get it.
    pub(super) fn send_command(&mut self, command: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = writeln!(stdin, "{command}");
        }
    }

    /// Freezes the process. Returns when it has stopped.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        waitpid(Some(Pid::from_child(&self.child)), WaitOptions::UNTRACED)
            .expect("waiting for a worker to stand still");
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signalling a worker");
    }

    /// Kills the process.
    pub(crate) fn kill(mut self) -> EndedWorker {
        let killed = Some(now());
        let _ = self.child.kill();
        EndedWorker { events: self.take_events(), killed }
    }

    /// Makes the worker close its cache and exit.
    pub(crate) fn leave(mut self) -> EndedWorker {
        self.send_command(LEAVE);
        self.wait_or_kill()
    }

    /// Makes the worker exit: it does when its stdin is closed.
    pub(super) fn end(mut self) -> EndedWorker {
        self.stdin = None;
        self.wait_or_kill()
    }

    /// Waits until the process exits, and kills it after [`PATIENCE`].
    fn wait_or_kill(mut self) -> EndedWorker {
        let deadline = Instant::now() + PATIENCE;
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                return self.kill();
            }
            thread::sleep(Duration::from_millis(2));
        }
        EndedWorker { events: self.take_events(), killed: None }
    }

    fn take_events(&mut self) -> Vec<Event> {
        self.reader.take().and_then(|reader| reader.join().ok()).unwrap_or_default()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.reader.is_some() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Reads events until the end of the worker. The last record of a killed worker may be cut short, and is
/// lost.
fn collect(process: u16, mut stdout: ChildStdout, count: &AtomicU64, milestones: &AtomicU8) -> Vec<Event> {
    let mut events = Vec::new();
    let mut buffer = vec![0; LENGTH * 1024];
    let mut filled = 0;
    loop {
        match stdout.read(&mut buffer[filled..]) {
            Ok(0) | Err(_) => return events,
            Ok(length) => filled += length,
        }
        let (records, rest) = buffer[..filled].as_chunks::<LENGTH>();
        let before = events.len();
        for event in records.iter().filter_map(|record| decode(process, record)) {
            if let EventKind::Milestone(milestone) = event.kind {
                milestones.fetch_or(1 << milestone as u8, Ordering::Release);
            }
            events.push(event);
        }
        let operations = events[before..].iter().filter(|event| is_operation(event)).count();
        count.fetch_add(operations as u64, Ordering::Relaxed);
        let (whole, rest) = (records.len() * LENGTH, rest.len());
        buffer.copy_within(whole..whole + rest, 0);
        filled = rest;
    }
}

fn is_operation(event: &Event) -> bool {
    !matches!(event.kind, EventKind::Load(_) | EventKind::Stall | EventKind::Milestone(_))
}
