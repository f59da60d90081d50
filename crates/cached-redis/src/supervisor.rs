//! The task that connects, watches the connection and replaces it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use cached_core::TierError;
use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    backoff::Backoff,
    failure::Verdict,
    link::{Link, Session, State},
    settings::{PING_INTERVAL, Settings},
};

/// How many requests may queue for the connection before further ones wait, within their budgets.
const QUEUE: usize = 1024;

/// Keeps one supervisor running: on the runtime of the first operation, or, when that has ended or stands
/// still, on the runtime of a later one. Dropping it ends the task.
#[derive(Debug)]
pub(crate) struct Supervision {
    settings: Arc<Settings>,
    link: Arc<Link>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Supervision {
    pub(crate) fn new(settings: Arc<Settings>, link: Arc<Link>) -> Self {
        Self { settings, link, task: Mutex::new(None) }
    }

    /// Starts the supervisor on the current runtime unless it runs.
    ///
    /// Fails outside of a tokio runtime.
    pub(crate) fn ensure(&self) -> Result<(), TierError> {
        let runtime = Handle::try_current().map_err(|_| TierError::Unavailable)?;
        let mut task = self.task();
        if self.works(task.as_ref()) {
            return Ok(());
        }
        if let Some(old) = task.take() {
            old.abort();
        }
        let number = self.link.begin();
        let supervisor =
            Supervisor { settings: Arc::clone(&self.settings), link: Arc::clone(&self.link), number };
        *task = Some(runtime.spawn(supervisor.run()));
        Ok(())
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
    }
}

struct Supervisor {
    settings: Arc<Settings>,
    link: Arc<Link>,
    number: u64,
}

impl Supervisor {
    async fn run(self) {
        let mut backoff = Backoff::new(self.settings.retry_min, self.settings.retry_max);
        loop {
            self.link.give_sign();
            if let Some(session) = self.connect().await {
                let since = Instant::now();
                self.watch(session).await;
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

    /// Publishes the connection, and returns when it is broken.
    async fn watch(&self, mut session: Session) {
        self.publish(State::Up(session.clone()));
        loop {
            self.link.give_sign();
            match timeout(PING_INTERVAL, self.link.trouble(&session)).await {
                Ok(Verdict::Broken) => return,
                // Its server refuses: the next one may not. Until that is there, this one still serves.
                Ok(Verdict::Refusing) => {
                    if let Some(replacement) = self.connect().await {
                        session = replacement;
                        self.publish(State::Up(session.clone()));
                    }
                    self.link.give_sign();
                    sleep(self.settings.retry_max).await;
                }
                Ok(Verdict::Sound) | Err(_) => {}
            }
            self.link.give_sign();
            if !self.answers(&session).await {
                return;
            }
        }
    }

    /// A connection over which the server has answered.
    async fn connect(&self) -> Option<Session> {
        let limit = self.settings.connect_timeout;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(Some(self.settings.longest_answer()))
            .set_pipeline_buffer_size(QUEUE);
        let client = self.settings.endpoint.client();
        let attempt = async {
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.ok()?;
            // The system accepts connections for a process that stands still.
            ping(&mut connection).await.then(|| self.link.open(connection))
        };
        timeout(limit, attempt).await.ok().flatten()
    }

    async fn answers(&self, session: &Session) -> bool {
        let mut connection = session.connection.clone();
        timeout(self.settings.connect_timeout, ping(&mut connection)).await.unwrap_or(false)
    }

    fn publish(&self, state: State) {
        self.link.publish(self.number, state);
    }
}

/// Whether the server answers at all; an error that it sends is an answer.
async fn ping(connection: &mut MultiplexedConnection) -> bool {
    match redis::cmd("PING").exec_async(connection).await {
        Ok(()) => true,
        Err(error) => error.into_server_errors().is_some(),
    }
}
