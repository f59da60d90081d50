//! The parent of the workers: starts them, sends each its questions, and collects their reports.

use std::{env, io, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::{
        Semaphore,
        mpsc::{UnboundedSender, unbounded_channel},
    },
    task::JoinSet,
};

use crate::{
    args::Args,
    stream::Stream,
    worker::{self, Done, Job, Line, Setup, Totals},
};

/// Results of all workers.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) done: Vec<Done>,
    pub(crate) totals: Totals,
    pub(crate) deaths: Vec<Death>,
}

/// A worker that ended before it had answered all its questions.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) worker: usize,
    pub(crate) exit_status: String,
    pub(crate) unanswered: usize,
}

impl Fleet {
    /// Runs the workers, and returns when every worker has ended.
    ///
    /// Calls `on_done` with the number of answered questions after each answer.
    pub(crate) async fn run(
        args: &Args,
        setup: &Setup,
        stream: &Stream,
        mut on_done: impl FnMut(usize),
    ) -> Result<Self, String> {
        let (answers, mut inbox) = unbounded_channel();
        let mut workers = JoinSet::new();
        for index in 0..args.workers {
            let jobs = stream.requests.iter().filter(|request| request.worker == index).map(|request| Job {
                user_id: request.key.user_id,
                note_id: request.key.note_id,
                question: stream.question(request.key).to_owned(),
            });
            let link = WorkerLink {
                worker: index,
                setup: setup.clone(),
                jobs: jobs.collect(),
                concurrency: args.concurrency,
                answers: answers.clone(),
            };
            let child = spawn().map_err(|error| format!("a worker cannot be started: {error}"))?;
            workers.spawn(link.run(child));
        }
        drop(answers);

        let mut fleet = Self { done: Vec::new(), totals: Totals::default(), deaths: Vec::new() };
        while let Some(done) = inbox.recv().await {
            fleet.done.push(done);
            on_done(fleet.done.len());
        }
        for end in workers.join_all().await {
            match end {
                Ok(totals) => fleet.totals += totals,
                Err(death) => fleet.deaths.push(death),
            }
        }
        fleet.deaths.sort_by_key(|death| death.worker);
        Ok(fleet)
    }
}

/// Starts this program again, as a worker.
fn spawn() -> io::Result<Child> {
    Command::new(env::current_exe()?)
        .arg(worker::ARGUMENT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// The parent's end of one worker: its settings, its questions, and the channel for its answers.
struct WorkerLink {
    worker: usize,
    setup: Setup,
    jobs: Vec<Job>,
    concurrency: u32,
    answers: UnboundedSender<Done>,
}

impl WorkerLink {
    async fn run(self, mut child: Child) -> Result<Totals, Death> {
        let slots = Semaphore::new(self.concurrency as usize);
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(stdin) = stdin {
                // An error means that the worker has died, which `listen` notices as well.
                let _ = self.feed(stdin, &slots).await;
            }
        };
        let ((), (answered, totals)) = tokio::join!(feed, self.listen(&mut child, &slots));
        let status = child.wait().await;
        match totals {
            Some(totals) if answered == self.jobs.len() => Ok(totals),
            _ => Err(Death {
                worker: self.worker,
                exit_status: status.map_or_else(|error| error.to_string(), |status| status.to_string()),
                unanswered: self.jobs.len() - answered,
            }),
        }
    }

    /// Sends the questions to the worker, and closes its input when all are answered.
    ///
    /// At most `concurrency` questions are unanswered at any time.
    async fn feed(&self, mut stdin: ChildStdin, slots: &Semaphore) -> io::Result<()> {
        stdin.write_all(&line(&self.setup)?).await?;
        for job in &self.jobs {
            let Ok(slot) = slots.acquire().await else { return Ok(()) };
            slot.forget();
            stdin.write_all(&line(job)?).await?;
        }
        let _all_answered = slots.acquire_many(self.concurrency).await;
        Ok(())
    }

    /// Reads the worker's output to its end, or to the first invalid line.
    ///
    /// Returns the number of answers, and the totals if the worker sent them.
    async fn listen(&self, child: &mut Child, slots: &Semaphore) -> (usize, Option<Totals>) {
        let (mut answered, mut totals) = (0, None);
        let mut lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        while let Some(lines) = &mut lines
            && let Ok(Some(line)) = lines.next_line().await
        {
            match serde_json::from_str(&line) {
                Ok(Line::Done(done)) => {
                    answered += 1;
                    slots.add_permits(1);
                    // An error means that the receiver is gone, so no answer is needed any more.
                    let _ = self.answers.send(done);
                }
                Ok(Line::End(end)) => totals = Some(end),
                Err(_) => break,
            }
        }
        slots.close();
        (answered, totals)
    }
}

fn line(value: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}
