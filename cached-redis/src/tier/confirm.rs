//! The barrier behind `confirmed()`: waits until no process serves entries from before a change.
//!
//! 1. The calling process has evicted the entries that it changed.
//! 2. The task raises the barrier number in each registry (`POKE`).
//! 3. The push of the number wakes the heartbeat of each member. It reads the number, and registers it as
//!    acknowledged once all earlier changes are handled (`tracking::acks`).
//! 4. The task polls the least number that any member with the right to serve has acknowledged (`SLOWEST`).
//!    The calls return when that reaches the number. A member that does not answer loses the right when its
//!    registration expires.
//!
//! One task of a process serves all calls: those that begin before it raises the number share the number. If
//! Redis loses the number, it is raised again. If Redis loses the registry, members may be missing from it,
//! so the barrier waits until none of them may serve.

use std::{
    pin::pin,
    slice,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cached_core::{Budget, ChangeFeed, TierError, planted};
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    time::timeout,
};

use crate::{
    connect::settings::millis,
    node::heartbeat::{KEEP_MEMBERS, number, number_at},
    protocol::{
        batch::{Batch, Replies},
        scripts::{POKE, SLOWEST},
    },
    tier::RedisTier,
    topology::Topology,
    tracking::attachment::Registry,
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// Calls that wait in this process.
#[derive(Debug, Default)]
pub(crate) struct BarrierQueue {
    queue: Mutex<Queue>,
    /// Notified when a call arrives.
    came: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// Calls without a barrier so far.
    waiting: Vec<Waiting>,
    /// Last sign of life of the task; `None` if there is no task. A silent task is on a runtime that stands
    /// still.
    sign: Option<Instant>,
}

/// Silence after which the task counts as stopped. It never waits longer than a pause, or a reply to a write.
const SILENT: Duration = Duration::from_secs(10);

impl Queue {
    fn is_served(&self) -> bool {
        self.sign.is_some_and(|sign| sign.elapsed() < SILENT)
    }
}

type Waiting = oneshot::Sender<Result<(), TierError>>;

impl RedisTier {
    /// Waits until every registered process has handled all changes up to now, or may not serve any more.
    ///
    /// This process has evicted the entries that it changed before this call. Fails if a connection is
    /// replaced meanwhile.
    pub(crate) async fn confirm_all(&self) -> Result<(), TierError> {
        if self.way.attached().is_none() {
            return Ok(());
        }
        let runtime = Handle::try_current().map_err(|_| TierError::Unavailable)?;
        loop {
            let (sender, answer) = oneshot::channel();
            if self.confirms.enqueue(sender) {
                let (way, confirms) = (Arc::clone(&self.way), Arc::clone(&self.confirms));
                runtime.spawn(BarrierTask { way, confirms, is_over: false }.run());
            }
            let mut answer = pin!(answer);
            loop {
                match timeout(SILENT, answer.as_mut()).await {
                    Ok(Ok(answer)) => return answer,
                    Err(_) if self.confirms.queue().is_served() => {}
                    // The task has ended with its runtime, or that runtime stands still.
                    Ok(Err(_)) | Err(_) => break,
                }
            }
        }
    }
}

impl BarrierQueue {
    /// Adds a call, and returns whether a task must be spawned for it.
    fn enqueue(&self, waiting: Waiting) -> bool {
        let mut queue = self.queue();
        queue.waiting.push(waiting);
        let is_served = queue.is_served();
        if !is_served {
            queue.sign = Some(Instant::now());
        }
        drop(queue);
        if is_served {
            self.came.notify_one();
        }
        !is_served
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that raises barriers and polls the acknowledgements.
struct BarrierTask {
    way: Arc<Topology>,
    confirms: Arc<BarrierQueue>,
    is_over: bool,
}

/// Calls that wait for the same barrier.
struct BarrierRound {
    waiting: Vec<Waiting>,
    /// Change feed of the connections over which the barrier was raised.
    line: Arc<ChangeFeed>,
    /// Registries in which some process has not acknowledged the number yet, with the number.
    open: Vec<(Registry, u64)>,
}

impl BarrierRound {
    fn end(self, outcome: &Result<(), TierError>) {
        for waiting in self.waiting {
            // A caller that gave up has dropped its receiver.
            let _ = waiting.send(outcome.clone());
        }
    }

    /// Removes the callers that gave up, and returns whether any is left.
    fn is_wanted(&mut self) -> bool {
        self.waiting.retain(|waiting| !waiting.is_closed());
        !self.waiting.is_empty()
    }
}

/// State of a registry.
struct RegistryState {
    /// Current barrier number. No process can acknowledge a greater one.
    poke: u64,
    /// Least number acknowledged by a process that may still serve.
    slowest: u64,
}

impl BarrierTask {
    async fn run(mut self) {
        let mut rounds = Vec::new();
        let mut pause = SHORTEST_PAUSE;
        loop {
            let waiting = {
                let mut queue = self.confirms.queue();
                queue.sign = Some(Instant::now());
                std::mem::take(&mut queue.waiting)
            };
            if !waiting.is_empty() {
                pause = SHORTEST_PAUSE;
                rounds.extend(self.begin(waiting).await);
            }
            rounds.retain_mut(BarrierRound::is_wanted);
            if rounds.is_empty() && self.ends() {
                return;
            }
            if !rounds.is_empty() {
                // No process can acknowledge sooner.
                let _ = timeout(pause, self.confirms.came.notified()).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                rounds = self.look(rounds).await;
            }
        }
    }

    /// Returns whether no call came meanwhile, so that the task ends. A later call spawns another task.
    fn ends(&mut self) -> bool {
        let mut queue = self.confirms.queue();
        self.is_over = queue.waiting.is_empty();
        if self.is_over {
            queue.sign = None;
        }
        self.is_over
    }

    /// Raises a barrier for all of these calls.
    async fn begin(&self, waiting: Vec<Waiting>) -> Option<BarrierRound> {
        let posts = match self.posts().await {
            Ok(posts) => posts,
            Err(error) => {
                let line = ChangeFeed::silent();
                BarrierRound { waiting, line, open: Vec::new() }.end(&Err(error));
                return None;
            }
        };
        let (outcome, line, open) = match self.poke(&posts).await {
            Ok((pokes, line)) => (Ok(()), line, posts.into_iter().zip(pokes).collect()),
            Err(error) => (Err(error), ChangeFeed::silent(), Vec::new()),
        };
        let round = BarrierRound { waiting, line, open };
        if outcome.is_err() || round.open.is_empty() || planted!("confirm-without-waiting") {
            round.end(&outcome);
            return None;
        }
        Some(round)
    }

    /// Returns the registries that processes are registered in, usually one for each server of a cluster.
    async fn posts(&self) -> Result<Vec<Registry>, TierError> {
        let posts = self.way.posts();
        if posts.len() == 1 {
            return Ok(posts);
        }
        let mut batch = Batch::new();
        for post in &posts {
            batch.add(redis::cmd("EXISTS").arg(&post.members).clone());
        }
        // A registry that must contain this process is included even if it does not exist: then it was lost.
        let is_own = |post: &Registry| self.way.member_at(post.number).is_some();
        let read = |mut replies: Replies| {
            let all =
                posts.iter().map(|post| Ok((replies.next::<bool>()? || is_own(post)).then(|| post.clone())));
            all.collect::<redis::RedisResult<Vec<_>>>()
        };
        let (posts, _) = self.way.understand(self.way.change(&batch, Budget::Own).await?, read)?;
        Ok(posts.into_iter().flatten().collect())
    }

    /// Raises the barrier number in each registry, and returns the new numbers.
    async fn poke(&self, posts: &[Registry]) -> Result<(Vec<u64>, Arc<ChangeFeed>), TierError> {
        let keep = millis(self.reach().saturating_add(KEEP_MEMBERS));
        let mut batch = Batch::new();
        for post in posts {
            batch.add_script(&POKE, &post.poke, keep);
        }
        let answers = self.way.change(&batch, Budget::Own).await?;
        self.way.understand(answers, |mut replies| posts.iter().map(|_| replies.next()).collect())
    }

    /// Polls once for all rounds, and returns those that are not over.
    async fn look(&self, rounds: Vec<BarrierRound>) -> Vec<BarrierRound> {
        let mut posts: Vec<Registry> = Vec::new();
        for (post, _) in rounds.iter().flat_map(|round| &round.open) {
            if !posts.iter().any(|known| known.number == post.number) {
                posts.push(post.clone());
            }
        }
        let (said, now) = match self.ask(&posts).await {
            Ok(said) => said,
            Err(error) => {
                for round in rounds {
                    round.end(&Err(error.clone()));
                }
                return Vec::new();
            }
        };
        let mut left = Vec::new();
        for mut round in rounds {
            let all = if round.line.covers(&now) {
                self.settle(&mut round.open, &posts, &said).await
            } else {
                Err(TierError::Unavailable)
            };
            match all {
                Ok(()) if !round.open.is_empty() => left.push(round),
                outcome => round.end(&outcome),
            }
        }
        left
    }

    /// Removes the registries in which every process has acknowledged the number.
    async fn settle(
        &self,
        open: &mut Vec<(Registry, u64)>,
        posts: &[Registry],
        said: &[RegistryState],
    ) -> Result<(), TierError> {
        for (post, poke) in open.iter_mut() {
            let place = posts.iter().position(|asked| asked.number == post.number);
            let Some(said) = place.and_then(|place| said.get(place)) else { continue };
            if said.poke < *poke {
                // The number was lost with all data of Redis, so a process that has not read it never will.
                let (again, _) = self.poke(slice::from_ref(post)).await?;
                *poke = again.first().copied().unwrap_or(*poke);
            } else if said.slowest >= *poke {
                *poke = 0;
            }
        }
        open.retain(|(_, poke)| *poke != 0);
        Ok(())
    }

    async fn ask(&self, posts: &[Registry]) -> Result<(Vec<RegistryState>, Arc<ChangeFeed>), TierError> {
        let reach = millis(self.reach());
        let mut batch = Batch::new();
        for post in posts {
            batch.add(number_at(&post.poke));
            // If this member is missing, the registry was lost. Its next heartbeat records since when.
            let expected = self.way.member_at(post.number).unwrap_or_default();
            let own = self.way.own_begin();
            batch.add_script(&SLOWEST, &post.members, (own, expected, reach));
        }
        let read = |mut replies: Replies| {
            let said = posts.iter().map(|_| {
                let poke = number(replies.next()?);
                let slowest = replies.next::<String>()?.parse().unwrap_or_default();
                Ok(RegistryState { poke, slowest })
            });
            said.collect()
        };
        self.way.understand(self.way.change(&batch, Budget::Own).await?, read)
    }

    fn reach(&self) -> Duration {
        let settings = self.way.settings();
        self.way
            .attached()
            .map_or(settings.connect_timeout, |attached| attached.reach(settings.connect_timeout))
    }
}

/// Drops the waiting calls of a task that ended early, so that each of them starts over.
impl Drop for BarrierTask {
    fn drop(&mut self) {
        if !self.is_over {
            let mut queue = self.confirms.queue();
            queue.sign = None;
            queue.waiting.clear();
        }
    }
}
