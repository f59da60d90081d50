//! The task that connects to a server, supervises the connection and replaces it.
//!
//! [`Supervision`] is the handle; it keeps one [`Supervisor`] task running. The task repeats these steps:
//!
//! 1. Connect, with one heartbeat, within the connect timeout (`establish`, `heartbeat`). A failure is
//!    published as `Down`, and a backoff follows.
//! 2. Publish the session as `Up` in the [`Link`], and serve: run the heartbeat, and wait for a replacement.
//!    A replacement is sought when the server refuses, or when RESP2 is only a fallback for RESP3.
//! 3. If the connection breaks, start over, with a backoff if it broke early. If the server has lost slots,
//!    keep the connection but renew its change feed.
//!
//! Each supervisor has a number, and the [`Link`] accepts states from the newest one only. So a supervisor
//! that is replaced cannot overwrite the state of its successor.

use std::{
    future::{pending, poll_fn},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use cached_core::{TierCause, TierError};
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    availability::backoff::Backoff,
    connect::{query::Protocol, settings::Settings, stage::Stage},
    node::{
        establish::connect,
        heartbeat::{End, Heartbeat, Member},
        link::{Link, LinkState},
        session::Session,
    },
    protocol::failure::Verdict,
    tracking::push::PushRouter,
};

/// Age at which a RESP2 fallback connection tries RESP3 for the first time. The pause doubles up to
/// `MAX_RESP3_RETRY`, since a proxy in between may never support RESP3.
const MIN_RESP3_RETRY: Duration = Duration::from_secs(3);
const MAX_RESP3_RETRY: Duration = Duration::from_secs(60);

/// Handle that keeps one supervisor running. Dropping it ends the task.
///
/// The task runs on the runtime of the first operation. When that has ended or stands still, it runs on the
/// runtime of a later operation.
#[derive(Debug)]
pub(crate) struct Supervision {
    settings: Arc<Settings>,
    link: Arc<Link>,
    router: Arc<PushRouter>,
    member: Arc<Member>,
    task: Mutex<Option<JoinHandle<()>>>,
    /// Set when the supervisor must never run again.
    is_closed: AtomicBool,
}

impl Supervision {
    pub(crate) fn new(
        settings: Arc<Settings>,
        link: Arc<Link>,
        router: Arc<PushRouter>,
        member: Arc<Member>,
    ) -> Self {
        Self { settings, link, router, member, task: Mutex::new(None), is_closed: AtomicBool::new(false) }
    }

    /// Starts the supervisor on the current runtime unless it runs.
    ///
    /// Fails outside of a tokio runtime, and after [`close`](Self::close).
    pub(crate) fn ensure_running(&self) -> Result<(), TierError> {
        let runtime = Handle::try_current().map_err(|_| TierError::Unavailable)?;
        let mut task = self.task();
        if self.is_closed() {
            return Err(TierError::Unavailable);
        }
        if self.is_alive(task.as_ref()) {
            return Ok(());
        }
        if let Some(old) = task.take() {
            old.abort();
        }
        let supervisor = Supervisor {
            settings: Arc::clone(&self.settings),
            link: Arc::clone(&self.link),
            router: Arc::clone(&self.router),
            member: Arc::clone(&self.member),
            id: self.link.new_supervisor(),
        };
        *task = Some(runtime.spawn(supervisor.run()));
        // Observers are notified without a lock, since they may query the tier.
        drop(task);
        self.link.condition.notify();
        Ok(())
    }

    /// Ends the task for good, at once. The future waits for its end, which comes unless the runtime stands
    /// still.
    pub(crate) fn close(&self) -> impl Future<Output = ()> + Send + use<> {
        let task = {
            let mut task = self.task();
            self.is_closed.store(true, Ordering::Release);
            task.take()
        };
        if let Some(task) = &task {
            task.abort();
        }
        let limit = self.settings.connect_timeout;
        async move {
            if let Some(task) = task {
                let _ = timeout(limit, task).await;
            }
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Returns whether the supervisor has been started and still runs.
    pub(crate) fn is_running(&self) -> bool {
        self.is_alive(self.task().as_ref())
    }

    fn is_alive(&self, task: Option<&JoinHandle<()>>) -> bool {
        // If its runtime is not driven any more, the task does not finish; it only gives no signs of life.
        task.is_some_and(|task| {
            !task.is_finished() && self.link.time_since_liveness() < self.settings.liveness_timeout()
        })
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
    router: Arc<PushRouter>,
    member: Arc<Member>,
    id: u64,
}

impl Supervisor {
    async fn run(self) {
        let mut backoff = Backoff::new(self.settings.retry_min, self.settings.retry_max);
        loop {
            self.link.record_liveness();
            let cause = match self.connect(self.settings.protocol).await {
                Ok(heartbeat) => {
                    let since = Instant::now();
                    Box::pin(self.serve(heartbeat)).await;
                    // A connection that lived is replaced at once. One that broke early counts as a failed
                    // attempt, or a server that accepts and then hangs up would be flooded with attempts.
                    if since.elapsed() > self.settings.retry_max {
                        backoff.reset();
                        self.publish(self.state_between_sessions());
                        continue;
                    }
                    TierCause::Lost
                }
                Err(cause) => cause,
            };
            self.publish(LinkState::Down(cause));
            self.link.record_liveness();
            sleep(backoff.pause()).await;
        }
    }

    /// Publishes the connection and its replacements, and returns when one is broken.
    async fn serve(&self, mut heartbeat: Heartbeat) {
        let mut backoff = Duration::ZERO;
        loop {
            let (session, is_resp2_fallback) = (heartbeat.session.clone(), heartbeat.is_resp2_fallback);
            self.publish(LinkState::Up(Arc::new(session.clone())));
            let ended = async { Err(heartbeat.run().await) };
            let replaced = async { self.replacement(&session, backoff).await.ok_or(End::Broken) };
            let upgraded = async { Ok(self.resp3_upgrade(is_resp2_fallback).await) };
            match Box::pin(race(ended, race(replaced, upgraded))).await {
                Ok(replacement) => heartbeat = replacement,
                Err(End::Broken) => return,
                Err(End::Moved) => {
                    heartbeat.renew_feed();
                    continue;
                }
            }
            // Limits how often a refusing server is asked for another connection.
            backoff = self.settings.retry_max;
        }
    }

    /// Waits for `backoff` and until the server refuses, and then returns a better connection.
    ///
    /// Until that exists, the refusing connection still serves. Returns `None` if an operation found it
    /// broken.
    async fn replacement(&self, session: &Session, backoff: Duration) -> Option<Heartbeat> {
        sleep(backoff).await;
        loop {
            match self.link.wait_for_problem(session).await {
                Verdict::Broken => return None,
                Verdict::Refusing => {
                    if let Ok(replacement) = self.connect(self.settings.protocol).await {
                        return Some(replacement);
                    }
                    sleep(self.settings.retry_max).await;
                }
                Verdict::Sound => {}
            }
        }
    }

    /// Returns a RESP3 connection that replaces a RESP2 fallback.
    ///
    /// The server's refusal of RESP3 may have been temporary, and a proxy may be replaced.
    async fn resp3_upgrade(&self, is_resp2_fallback: bool) -> Heartbeat {
        if !is_resp2_fallback {
            return pending().await;
        }
        let mut pause = MIN_RESP3_RETRY;
        loop {
            sleep(pause).await;
            if let Ok(heartbeat) = self.connect(Protocol::Resp3).await {
                return heartbeat;
            }
            pause = (pause * 2).min(MAX_RESP3_RETRY);
        }
    }

    /// Opens a connection, and returns it after its first heartbeat.
    async fn connect(&self, protocol: Protocol) -> Result<Heartbeat, TierCause> {
        let stage = Stage::new();
        let attempt = async {
            let connected = connect(&self.settings, &self.router, protocol, &stage).await?;
            let mut heartbeat = Heartbeat::new(
                Arc::clone(&self.settings),
                Arc::clone(&self.link),
                Arc::clone(&self.router),
                Arc::clone(&self.member),
                connected,
            );
            // The heartbeat is needed because the system accepts connections even for a process that stands
            // still. A peer that hung up on the RESP3 greeting, and hangs up again, does not even support
            // RESP2.
            let lost_cause = if heartbeat.is_resp2_fallback { TierCause::HungUp } else { TierCause::Lost };
            heartbeat.beat().await.map_err(|_| lost_cause)?;
            Ok(heartbeat)
        };
        timeout(self.settings.connect_timeout, attempt).await.unwrap_or_else(|_| Err(stage.cause()))
    }

    /// Returns the state that operations see between a connection and its immediate replacement.
    fn state_between_sessions(&self) -> LinkState {
        if self.settings.has_substitute { LinkState::Connecting } else { LinkState::Down(TierCause::Lost) }
    }

    fn publish(&self, state: LinkState) {
        if self.link.publish(self.id, state) {
            self.router.notify_restored();
        }
    }
}

/// Ends the connection when the task ends with its runtime.
impl Drop for Supervisor {
    fn drop(&mut self) {
        self.link.publish(self.id, LinkState::Down(TierCause::NoRuntime));
    }
}

/// Runs both futures until one has completed.
async fn race<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(outcome),
        Poll::Pending => other.as_mut().poll(cx),
    })
    .await
}
