//! Waiting until nobody serves what was changed.
//!
//! One task of a process asks for all that wait: those that begin before it changes the poke share the poke, and what the slowest
//! member has handled answers all of them.

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
    topology::Way,
    tracking::attachment::Post,
};

const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The calls that wait in this process.
#[derive(Debug, Default)]
pub(crate) struct Confirms {
    queue: Mutex<Queue>,
    /// A call came.
    came: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// Those for whom nothing was asked yet.
    waiting: Vec<Waiting>,
    /// When the task that asks has last shown that it goes on; `None` if there is none. One that is silent is on a runtime that
    /// stands still.
    sign: Option<Instant>,
}

/// A task that was silent for so long does not go on: it waits for no longer than a pause, or the answer to a write.
const SILENT: Duration = Duration::from_secs(10);

impl Queue {
    fn is_served(&self) -> bool {
        self.sign.is_some_and(|sign| sign.elapsed() < SILENT)
    }
}

type Waiting = oneshot::Sender<Result<(), TierError>>;

impl RedisTier {
    /// Asks every process that is registered whether it has handled all changes up to now, and waits until each has
    /// said so or may not serve any more. This process has evicted what it changed before it asks. The connections
    /// must last.
    pub(crate) async fn confirm_all(&self) -> Result<(), TierError> {
        if self.way.attached().is_none() {
            return Ok(());
        }
        let runtime = Handle::try_current().map_err(|_| TierError::Unavailable)?;
        loop {
            let (sender, answer) = oneshot::channel();
            if self.confirms.enqueue(sender) {
                let (way, confirms) = (Arc::clone(&self.way), Arc::clone(&self.confirms));
                runtime.spawn(Asker { way, confirms, is_over: false }.run());
            }
            let mut answer = pin!(answer);
            loop {
                match timeout(SILENT, answer.as_mut()).await {
                    Ok(Ok(answer)) => return answer,
                    Err(_) if self.confirms.queue().is_served() => {}
                    // It has ended with its runtime, or that stands still.
                    Ok(Err(_)) | Err(_) => break,
                }
            }
        }
    }
}

impl Confirms {
    /// Whether a task has to be begun.
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

/// The task that asks.
struct Asker {
    way: Arc<Way>,
    confirms: Arc<Confirms>,
    is_over: bool,
}

/// The calls that wait for the same pokes.
struct Round {
    waiting: Vec<Waiting>,
    /// Over which the pokes were changed.
    line: Arc<ChangeFeed>,
    /// Where some process has not said the number yet.
    open: Vec<(Post, u64)>,
}

impl Round {
    fn end(self, outcome: &Result<(), TierError>) {
        for waiting in self.waiting {
            // A caller that went away has dropped its end.
            let _ = waiting.send(outcome.clone());
        }
    }

    /// Forgets the callers that went away; whether any is left.
    fn is_wanted(&mut self) -> bool {
        self.waiting.retain(|waiting| !waiting.is_closed());
        !self.waiting.is_empty()
    }
}

/// What a post says.
struct Said {
    /// No process can say a greater number.
    poke: u64,
    /// What the slowest process that may serve has handled.
    slowest: u64,
}

impl Asker {
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
            rounds.retain_mut(Round::is_wanted);
            if rounds.is_empty() && self.ends() {
                return;
            }
            if !rounds.is_empty() {
                // No process has answered before that.
                let _ = timeout(pause, self.confirms.came.notified()).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                rounds = self.look(rounds).await;
            }
        }
    }

    /// Whether no call came meanwhile. One that comes later begins another task.
    fn ends(&mut self) -> bool {
        let mut queue = self.confirms.queue();
        self.is_over = queue.waiting.is_empty();
        if self.is_over {
            queue.sign = None;
        }
        self.is_over
    }

    /// Changes the pokes for all of these.
    async fn begin(&self, waiting: Vec<Waiting>) -> Option<Round> {
        let posts = match self.posts().await {
            Ok(posts) => posts,
            Err(error) => {
                let line = ChangeFeed::silent();
                Round { waiting, line, open: Vec::new() }.end(&Err(error));
                return None;
            }
        };
        let (outcome, line, open) = match self.poke(&posts).await {
            Ok((pokes, line)) => (Ok(()), line, posts.into_iter().zip(pokes).collect()),
            Err(error) => (Err(error), ChangeFeed::silent(), Vec::new()),
        };
        let round = Round { waiting, line, open };
        if outcome.is_err() || round.open.is_empty() || planted!("confirm-without-waiting") {
            round.end(&outcome);
            return None;
        }
        Some(round)
    }

    /// Where processes are registered. In a cluster that is one of the posts for each server, as a rule.
    async fn posts(&self) -> Result<Vec<Post>, TierError> {
        let posts = self.way.posts();
        if posts.len() == 1 {
            return Ok(posts);
        }
        let mut batch = Batch::new();
        for post in &posts {
            batch.add(redis::cmd("EXISTS").arg(&post.members).clone());
        }
        // One that should be there is asked for, whether it is there or not: then it was lost.
        let is_own = |post: &Post| self.way.member_at(post.number).is_some();
        let read = |mut replies: Replies| {
            let all =
                posts.iter().map(|post| Ok((replies.next::<bool>()? || is_own(post)).then(|| post.clone())));
            all.collect::<redis::RedisResult<Vec<_>>>()
        };
        let (posts, _) = self.way.understand(self.way.change(&batch, Budget::Own).await?, read)?;
        Ok(posts.into_iter().flatten().collect())
    }

    /// Asks every process to say what it has handled; returns the numbers that they will say.
    async fn poke(&self, posts: &[Post]) -> Result<(Vec<u64>, Arc<ChangeFeed>), TierError> {
        let keep = millis(self.reach().saturating_add(KEEP_MEMBERS));
        let mut batch = Batch::new();
        for post in posts {
            batch.add_script(&POKE, &post.poke, keep);
        }
        let answers = self.way.change(&batch, Budget::Own).await?;
        self.way.understand(answers, |mut replies| posts.iter().map(|_| replies.next()).collect())
    }

    /// Looks once for all rounds, and returns those that are not over.
    async fn look(&self, rounds: Vec<Round>) -> Vec<Round> {
        let mut posts: Vec<Post> = Vec::new();
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

    /// Takes out what every process has said.
    async fn settle(
        &self,
        open: &mut Vec<(Post, u64)>,
        posts: &[Post],
        said: &[Said],
    ) -> Result<(), TierError> {
        for (post, poke) in open.iter_mut() {
            let place = posts.iter().position(|asked| asked.number == post.number);
            let Some(said) = place.and_then(|place| said.get(place)) else { continue };
            if said.poke < *poke {
                // It was lost with all that Redis had, so a process that has not read it yet never will.
                let (again, _) = self.poke(slice::from_ref(post)).await?;
                *poke = again.first().copied().unwrap_or(*poke);
            } else if said.slowest >= *poke {
                *poke = 0;
            }
        }
        open.retain(|(_, poke)| *poke != 0);
        Ok(())
    }

    async fn ask(&self, posts: &[Post]) -> Result<(Vec<Said>, Arc<ChangeFeed>), TierError> {
        let reach = millis(self.reach());
        let mut batch = Batch::new();
        for post in posts {
            batch.add(number_at(&post.poke));
            // If it is not there, the register was lost, and its next heartbeat says since when.
            let expected = self.way.member_at(post.number).unwrap_or_default();
            let own = self.way.own_begin();
            batch.add_script(&SLOWEST, &post.members, (own, expected, reach));
        }
        let read = |mut replies: Replies| {
            let said = posts.iter().map(|_| {
                let poke = number(replies.next()?);
                let slowest = replies.next::<String>()?.parse().unwrap_or_default();
                Ok(Said { poke, slowest })
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

/// A call that waits for a task that ended asks again.
impl Drop for Asker {
    fn drop(&mut self) {
        if !self.is_over {
            let mut queue = self.confirms.queue();
            queue.sign = None;
            queue.waiting.clear();
        }
    }
}
