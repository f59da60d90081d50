//! The barrier behind `confirmed()`: waits until no process serves entries from before a change.
//!
//! 1. The calling process has evicted the entries that it changed.
//! 2. The task raises the barrier number in each registry (`RAISE_BARRIER`).
//! 3. The push of the number wakes the heartbeat of each member. It reads the number, and registers it as
//!    acknowledged once all earlier changes are handled (`tracking::acks`).
//! 4. The task polls the least number that any member with the right to serve has acknowledged (`LEAST_HANDLED`).
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

use cached_core::{
    TierError, planted,
    tier::{Budget, ChangeFeed},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    time::timeout,
};

use crate::{
    connect::settings::millis,
    node::heartbeat::REGISTRY_LIFETIME,
    protocol::{
        batch::{Batch, Replies},
        commands::{number_command, parse_number},
        scripts::{LEAST_HANDLED, RAISE_BARRIER},
    },
    tier::RedisTier,
    topology::Topology,
    tracking::attachment::Registry,
};

const MIN_POLL_INTERVAL: Duration = Duration::from_millis(2);
const MAX_POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Calls that wait in this process.
#[derive(Debug, Default)]
pub(crate) struct BarrierQueue {
    queue: Mutex<Queue>,
    /// Notified when a call arrives.
    call_arrived: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// Calls without a barrier so far.
    waiters: Vec<Waiter>,
    /// Last sign of life of the task; `None` if there is no task. A silent task is on a runtime that stands
    /// still.
    last_activity: Option<Instant>,
}

/// Silence after which the task counts as stopped. It never waits longer than a pause, or a reply to a write.
const TASK_TIMEOUT: Duration = Duration::from_secs(10);

impl Queue {
    fn has_task(&self) -> bool {
        self.last_activity.is_some_and(|last_activity| last_activity.elapsed() < TASK_TIMEOUT)
    }
}

type Waiter = oneshot::Sender<Result<(), TierError>>;

impl RedisTier {
    /// Waits until every registered process has handled all changes up to now, or may not serve any more.
    ///
    /// This process has evicted the entries that it changed before this call. Fails if a connection is
    /// replaced meanwhile.
    pub(crate) async fn confirm_all(&self) -> Result<(), TierError> {
        if self.topology.attached().is_none() {
            return Ok(());
        }
        let runtime = Handle::try_current().map_err(|_| TierError::Unavailable)?;
        loop {
            let (sender, answer) = oneshot::channel();
            if self.barrier_queue.enqueue(sender) {
                let (topology, queue) = (Arc::clone(&self.topology), Arc::clone(&self.barrier_queue));
                runtime.spawn(BarrierTask { topology, queue, has_ended: false }.run());
            }
            let mut answer = pin!(answer);
            loop {
                match timeout(TASK_TIMEOUT, answer.as_mut()).await {
                    Ok(Ok(answer)) => return answer,
                    Err(_) if self.barrier_queue.lock().has_task() => {}
                    // The task has ended with its runtime, or that runtime stands still.
                    Ok(Err(_)) | Err(_) => break,
                }
            }
        }
    }
}

impl BarrierQueue {
    /// Adds a call, and returns whether a task must be spawned for it.
    fn enqueue(&self, waiter: Waiter) -> bool {
        let mut queue = self.lock();
        queue.waiters.push(waiter);
        let has_task = queue.has_task();
        if !has_task {
            queue.last_activity = Some(Instant::now());
        }
        drop(queue);
        if has_task {
            self.call_arrived.notify_one();
        }
        !has_task
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that raises barriers and polls the acknowledgements.
struct BarrierTask {
    topology: Arc<Topology>,
    queue: Arc<BarrierQueue>,
    has_ended: bool,
}

/// Calls that wait for the same barrier.
struct BarrierRound {
    waiters: Vec<Waiter>,
    /// Change feed of the connections over which the barrier was raised.
    feed: Arc<ChangeFeed>,
    /// Registries in which some process has not acknowledged the number yet, with the number.
    pending: Vec<(Registry, u64)>,
}

impl BarrierRound {
    fn finish(self, outcome: &Result<(), TierError>) {
        for waiter in self.waiters {
            // A caller that gave up has dropped its receiver.
            let _ = waiter.send(outcome.clone());
        }
    }

    /// Removes the callers that gave up, and returns whether any is left.
    fn has_waiters(&mut self) -> bool {
        self.waiters.retain(|waiter| !waiter.is_closed());
        !self.waiters.is_empty()
    }
}

/// State of a registry.
struct RegistryState {
    /// Current barrier number. No process can acknowledge a greater one.
    barrier: u64,
    /// Least number acknowledged by a process that may still serve.
    lowest_acknowledged: u64,
}

impl BarrierTask {
    async fn run(mut self) {
        let mut rounds = Vec::new();
        let mut pause = MIN_POLL_INTERVAL;
        loop {
            let waiters = {
                let mut queue = self.queue.lock();
                queue.last_activity = Some(Instant::now());
                std::mem::take(&mut queue.waiters)
            };
            if !waiters.is_empty() {
                pause = MIN_POLL_INTERVAL;
                rounds.extend(self.start_round(waiters).await);
            }
            rounds.retain_mut(BarrierRound::has_waiters);
            if rounds.is_empty() && self.end_if_idle() {
                return;
            }
            if !rounds.is_empty() {
                // No process can acknowledge sooner.
                let _ = timeout(pause, self.queue.call_arrived.notified()).await;
                pause = (pause * 2).min(MAX_POLL_INTERVAL);
                rounds = self.poll(rounds).await;
            }
        }
    }

    /// Returns whether no call came meanwhile, so that the task ends. A later call spawns another task.
    fn end_if_idle(&mut self) -> bool {
        let mut queue = self.queue.lock();
        self.has_ended = queue.waiters.is_empty();
        if self.has_ended {
            queue.last_activity = None;
        }
        self.has_ended
    }

    /// Raises a barrier for all of these calls.
    async fn start_round(&self, waiters: Vec<Waiter>) -> Option<BarrierRound> {
        let registries = match self.registries().await {
            Ok(registries) => registries,
            Err(error) => {
                let feed = ChangeFeed::none();
                BarrierRound { waiters, feed, pending: Vec::new() }.finish(&Err(error));
                return None;
            }
        };
        let (outcome, feed, pending) = match self.raise_barriers(&registries).await {
            Ok((barriers, feed)) => (Ok(()), feed, registries.into_iter().zip(barriers).collect()),
            Err(error) => (Err(error), ChangeFeed::none(), Vec::new()),
        };
        let round = BarrierRound { waiters, feed, pending };
        if outcome.is_err() || round.pending.is_empty() || planted!("confirm-without-waiting") {
            round.finish(&outcome);
            return None;
        }
        Some(round)
    }

    /// Returns the registries that processes are registered in, usually one for each server of a cluster.
    async fn registries(&self) -> Result<Vec<Registry>, TierError> {
        let registries = self.topology.registries();
        if registries.len() == 1 {
            return Ok(registries);
        }
        let mut batch = Batch::new();
        for registry in &registries {
            batch.add(redis::cmd("EXISTS").arg(&registry.members).clone());
        }
        // A registry that must contain this process is included even if it does not exist: then it was lost.
        let is_own = |registry: &Registry| self.topology.member_at(registry.number).is_some();
        let read = |mut replies: Replies| {
            let all = registries
                .iter()
                .map(|registry| Ok((replies.next::<bool>()? || is_own(registry)).then(|| registry.clone())));
            all.collect::<redis::RedisResult<Vec<_>>>()
        };
        let (registries, _) = self.topology.decode(self.topology.write(&batch, Budget::Own).await?, read)?;
        Ok(registries.into_iter().flatten().collect())
    }

    /// Raises the barrier number in each registry, and returns the new numbers.
    async fn raise_barriers(
        &self,
        registries: &[Registry],
    ) -> Result<(Vec<u64>, Arc<ChangeFeed>), TierError> {
        let keep = millis(self.registration_lifetime().saturating_add(REGISTRY_LIFETIME));
        let mut batch = Batch::new();
        for registry in registries {
            batch.add_script(&RAISE_BARRIER, &registry.barrier, keep);
        }
        let answers = self.topology.write(&batch, Budget::Own).await?;
        self.topology.decode(answers, |mut replies| registries.iter().map(|_| replies.next()).collect())
    }

    /// Polls once for all rounds, and returns those that are not over.
    async fn poll(&self, rounds: Vec<BarrierRound>) -> Vec<BarrierRound> {
        let mut registries: Vec<Registry> = Vec::new();
        for (registry, _) in rounds.iter().flat_map(|round| &round.pending) {
            if !registries.iter().any(|known| known.number == registry.number) {
                registries.push(registry.clone());
            }
        }
        let (states, now) = match self.read_states(&registries).await {
            Ok(states) => states,
            Err(error) => {
                for round in rounds {
                    round.finish(&Err(error.clone()));
                }
                return Vec::new();
            }
        };
        let mut unfinished = Vec::new();
        for mut round in rounds {
            let all = if round.feed.covers(&now) {
                self.remove_acknowledged(&mut round.pending, &registries, &states).await
            } else {
                Err(TierError::Unavailable)
            };
            match all {
                Ok(()) if !round.pending.is_empty() => unfinished.push(round),
                outcome => round.finish(&outcome),
            }
        }
        unfinished
    }

    /// Removes the registries in which every process has acknowledged the number.
    async fn remove_acknowledged(
        &self,
        pending: &mut Vec<(Registry, u64)>,
        registries: &[Registry],
        states: &[RegistryState],
    ) -> Result<(), TierError> {
        for (registry, barrier) in pending.iter_mut() {
            let position = registries.iter().position(|other| other.number == registry.number);
            let Some(state) = position.and_then(|position| states.get(position)) else { continue };
            if state.barrier < *barrier {
                // The number was lost with all data of Redis, so a process that has not read it never will.
                let (raised, _) = self.raise_barriers(slice::from_ref(registry)).await?;
                *barrier = raised.first().copied().unwrap_or(*barrier);
            } else if state.lowest_acknowledged >= *barrier {
                *barrier = 0;
            }
        }
        pending.retain(|(_, barrier)| *barrier != 0);
        Ok(())
    }

    async fn read_states(
        &self,
        registries: &[Registry],
    ) -> Result<(Vec<RegistryState>, Arc<ChangeFeed>), TierError> {
        let lifetime = millis(self.registration_lifetime());
        let mut batch = Batch::new();
        for registry in registries {
            batch.add(number_command(&registry.barrier));
            // If this member is missing, the registry was lost. Its next heartbeat records since when.
            let expected = self.topology.member_at(registry.number).unwrap_or_default();
            let own_prefix = self.topology.member_prefix();
            batch.add_script(&LEAST_HANDLED, &registry.members, (own_prefix, expected, lifetime));
        }
        let read = |mut replies: Replies| {
            let states = registries.iter().map(|_| {
                let barrier = parse_number(replies.next()?);
                let lowest_acknowledged = replies.next::<String>()?.parse().unwrap_or_default();
                Ok(RegistryState { barrier, lowest_acknowledged })
            });
            states.collect()
        };
        self.topology.decode(self.topology.write(&batch, Budget::Own).await?, read)
    }

    fn registration_lifetime(&self) -> Duration {
        let settings = self.topology.settings();
        self.topology.attached().map_or(settings.connect_timeout, |attached| {
            attached.registration_lifetime(settings.connect_timeout)
        })
    }
}

/// Drops the waiting calls of a task that ended early, so that each of them starts over.
impl Drop for BarrierTask {
    fn drop(&mut self) {
        if !self.has_ended {
            let mut queue = self.queue.lock();
            queue.last_activity = None;
            queue.waiters.clear();
        }
    }
}
