//! The task that connects, watches the connection and replaces it.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use cached_core::TierError;
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    backoff::Backoff,
    connect::{Connected, connect},
    echo::Echo,
    failure::Verdict,
    heartbeat::{End, Heartbeat, Member, Times},
    link::{Link, Session, State},
    readings::Readings,
    settings::Settings,
    watch::Watch,
};

/// Keeps one supervisor running: on the runtime of the first operation, or, when that has ended or stands
/// still, on the runtime of a later one. Dropping it ends the task.
#[derive(Debug)]
pub(crate) struct Supervision {
    settings: Arc<Settings>,
    link: Arc<Link>,
    watch: Arc<Watch>,
    member: Arc<Member>,
    task: Mutex<Option<JoinHandle<()>>>,
    /// It is over for ever.
    is_closed: AtomicBool,
}

impl Supervision {
    pub(crate) fn new(
        settings: Arc<Settings>,
        link: Arc<Link>,
        watch: Arc<Watch>,
        member: Arc<Member>,
    ) -> Self {
        Self { settings, link, watch, member, task: Mutex::new(None), is_closed: AtomicBool::new(false) }
    }

    /// Starts the supervisor on the current runtime unless it runs.
    ///
    /// Fails outside of a tokio runtime.
    pub(crate) fn ensure(&self) -> Result<(), TierError> {
        let runtime = Handle::try_current().map_err(|_| TierError::Unavailable)?;
        let mut task = self.task();
        if self.is_closed() {
            return Err(TierError::Unavailable);
        }
        if self.works(task.as_ref()) {
            return Ok(());
        }
        if let Some(old) = task.take() {
            old.abort();
        }
        let supervisor = Supervisor {
            settings: Arc::clone(&self.settings),
            link: Arc::clone(&self.link),
            watch: Arc::clone(&self.watch),
            member: Arc::clone(&self.member),
            number: self.link.begin(),
        };
        *task = Some(runtime.spawn(supervisor.run()));
        Ok(())
    }

    /// Ends it for ever. Returns when it has ended, unless its runtime stands still.
    pub(crate) async fn close(&self) {
        let task = {
            let mut task = self.task();
            self.is_closed.store(true, Ordering::Release);
            task.take()
        };
        if let Some(task) = task {
            task.abort();
            let _ = timeout(self.settings.connect_timeout, task).await;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Whether the supervisor has been started and still runs.
    pub(crate) fn is_running(&self) -> bool {
        self.works(self.task().as_ref())
    }

    fn works(&self, task: Option<&JoinHandle<()>>) -> bool {
        // A task also stops when nobody drives its runtime any more: then it does not end, but it is silent.
        task.is_some_and(|task| !task.is_finished() && self.link.silence() < self.settings.sign_of_life())
    }

    fn task(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Supervision {
    fn drop(&mut self) {
        if let Some(task) = self.task().take() {
            task.abort();
        }
        self.link.close();
    }
}

struct Supervisor {
    settings: Arc<Settings>,
    link: Arc<Link>,
    watch: Arc<Watch>,
    member: Arc<Member>,
    number: u64,
}

impl Supervisor {
    async fn run(self) {
        let mut backoff = Backoff::new(self.settings.retry_min, self.settings.retry_max);
        loop {
            self.link.give_sign();
            if let Some(heartbeat) = self.connect().await {
                let since = Instant::now();
                Box::pin(self.serve(heartbeat)).await;
                // A connection that lived is replaced at once. One that broke early counts as a failed attempt,
                // or a server that accepts and then hangs up would be hammered.
                if since.elapsed() > self.settings.retry_max {
                    backoff.reset();
                    self.publish(State::Down);
                    continue;
                }
            }
            self.publish(State::Down);
            self.link.give_sign();
            sleep(backoff.pause()).await;
        }
    }

    /// Publishes the connection and those that replace it, and returns when one is broken.
    async fn serve(&self, mut heartbeat: Heartbeat) {
        let mut rest = Duration::ZERO;
        loop {
            let session = heartbeat.session.clone();
            self.publish(State::Up(Arc::new(session.clone())));
            let ended = async { Err(heartbeat.keep().await) };
            let replaced = async { self.replacement(&session, rest).await.ok_or(End::Broken) };
            match Box::pin(first(ended, replaced)).await {
                Ok(replacement) => heartbeat = replacement,
                Err(End::Broken) => return,
                Err(End::Moved) => {
                    heartbeat.renew_line();
                    continue;
                }
            }
            // A server that refuses is not asked for another connection all the time.
            rest = self.settings.retry_max;
        }
    }

    /// After a rest, waits until the server refuses, and then for a better connection. Until that is there, the one
    /// with the server that refuses still serves. `None` if an operation found it broken.
    async fn replacement(&self, session: &Session, rest: Duration) -> Option<Heartbeat> {
        sleep(rest).await;
        loop {
            match self.link.trouble(session).await {
                Verdict::Broken => return None,
                Verdict::Refusing => {
                    let replacement = self.connect().await;
                    if replacement.is_some() {
                        return replacement;
                    }
                    sleep(self.settings.retry_max).await;
                }
                Verdict::Sound => {}
            }
        }
    }

    /// A connection over which the server has answered.
    async fn connect(&self) -> Option<Heartbeat> {
        let attempt = async {
            let Connected { connection, ear, tracking, territory } =
                connect(&self.settings, &self.watch).await?;
            let mut heartbeat = Heartbeat {
                settings: Arc::clone(&self.settings),
                link: Arc::clone(&self.link),
                watch: Arc::clone(&self.watch),
                member: Arc::clone(&self.member),
                session: self.link.open(connection, tracking.is_on()),
                ear,
                may_narrow: tracking.is_partial(),
                tracking,
                echo: Echo::default(),
                times: Times::new(Instant::now()),
                last_try: Instant::now(),
                readings: Readings::default(),
                is_blind: false,
                is_first: true,
                territory,
                post: None,
            };
            // The system accepts connections for a process that stands still.
            heartbeat.beat().await.ok().map(|()| heartbeat)
        };
        timeout(self.settings.connect_timeout, attempt).await.ok().flatten()
    }

    fn publish(&self, state: State) {
        if self.link.publish(self.number, state) {
            self.watch.restored();
        }
    }
}

/// When the task ends with its runtime, so does the connection.
impl Drop for Supervisor {
    fn drop(&mut self) {
        self.link.publish(self.number, State::Down);
    }
}

/// Runs both until one has ended.
async fn first<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(outcome),
        Poll::Pending => other.as_mut().poll(cx),
    })
    .await
}
