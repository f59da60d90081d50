//! The heartbeat of a connection: it shows that the server answers, proves that what was read still holds, and
//! registers this process with the others.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use cached_core::planted;
use redis::{RedisError, RedisResult, Value};
use tokio::time::timeout;

use crate::{
    batch::{Batch, Replies},
    echo,
    failure::{Failure, Verdict},
    link::{Link, Session},
    random,
    readings::{Delay, Readings},
    scripts::BEAT,
    settings::{Settings, millis},
    tracking::Tracking,
    watch::{Attached, Ear, Watch},
};

/// How long the register is kept when nobody is there any more.
pub(crate) const KEEP_MEMBERS: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long a connection that tells nothing serves until it is tried again whether it does.
const TRY_AGAIN: Duration = Duration::from_secs(3);

/// This process among those that share a namespace.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    /// Until when it stands in the register, by the clock of this process.
    registered_until: Mutex<Option<Instant>>,
}

impl Member {
    pub(crate) fn new() -> Self {
        let id = format!("{:016x}{:016x}", random::number(), random::number());
        Self { id, registered_until: Mutex::new(None) }
    }

    /// Whether it must stand in the register, unless that was lost.
    pub(crate) fn is_registered(&self) -> bool {
        self.registered_until().is_some_and(|until| Instant::now() < until)
    }

    fn registered_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.registered_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The heartbeat of one connection.
pub(crate) struct Heartbeat {
    pub(crate) settings: Arc<Settings>,
    pub(crate) link: Arc<Link>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) member: Arc<Member>,
    pub(crate) session: Session,
    pub(crate) ear: Arc<Ear>,
    pub(crate) tracking: Tracking,
    /// When it was last tried to have the server tell what changes.
    pub(crate) last_try: Instant,
    pub(crate) readings: Readings,
    /// Whether the server does not let us read the poke. Who cannot say what he has handled must not register.
    pub(crate) is_blind: bool,
    /// Whether nothing was asked over this connection yet.
    pub(crate) is_first: bool,
}

/// The connection does not work any more.
#[derive(Debug)]
pub(crate) struct Broken;

impl Heartbeat {
    /// Beats until the connection is broken.
    pub(crate) async fn keep(&mut self) -> Broken {
        loop {
            let began = Instant::now();
            self.link.give_sign();
            if let Err(broken) = self.beat().await {
                return broken;
            }
            let mut next = began + self.watch.interval();
            // Who does not register has nothing to say.
            if self.registers()
                && let Some(due) = self.delay().and_then(|delay| self.readings.due(delay))
            {
                next = next.min(due);
            }
            if let Some(due) = self.link.gate.probe_due() {
                next = next.min(due);
            }
            let pause = next.saturating_duration_since(Instant::now());
            // Whoever wants a heartbeat at once says so.
            let _ = timeout(pause, self.watch.pulse.notified()).await;
        }
    }

    /// One heartbeat; `Ok` if there was an answer, even if it is an error.
    pub(crate) async fn beat(&mut self) -> Result<(), Broken> {
        let sent = Instant::now();
        if planted!("proof-before-drain") {
            self.session.line.prove(sent);
        }
        let watch = Arc::clone(&self.watch);
        let attached = watch.attached();
        let registers = self.registers();
        let batch = match attached {
            Some(attached) => self.questions(attached, sent, registers),
            None => Batch::of(redis::cmd("PING")),
        };
        let answers = batch.send(&mut self.session.connection);
        let answers = timeout(self.settings.connect_timeout, answers).await;
        let mut replies = answers.map_err(|_| Broken)?.map_err(|_| Broken)?;
        if self.link.beaten(sent) {
            // What could not be told meanwhile is told now.
            self.watch.restored();
        }
        match attached {
            Some(attached) => self.conclude(attached, &mut replies, sent, registers).await?,
            None => self.note(verdict(replies.next::<Value>()).err()),
        }
        self.is_first = false;
        Ok(())
    }

    /// Whether this process registers. Over a connection that tells nothing it does not while Redis is not asked because it
    /// is slow: what was read before is served for the grace then, and its changes are not heard of, so that
    /// reading the poke does not mean to have handled it. As without a connection, its registration runs out.
    fn registers(&self) -> bool {
        let may_serve_unheard = !self.session.is_tracking && self.link.gate.is_open();
        !self.is_blind && !may_serve_unheard && !planted!("member-not-registered")
    }

    /// Notes whether the server answers, of a connection without a cache.
    fn note(&self, verdict: Option<Verdict>) {
        let is_refusing = verdict == Some(Verdict::Refusing);
        // It may refuse to write all the same, and only another connection leads to another server.
        if is_refusing || self.is_first {
            self.link.condition.update(|facts| facts.refusing = is_refusing);
        }
    }

    fn questions(&mut self, attached: &Attached, now: Instant, registers: bool) -> Batch {
        let mut get = redis::cmd("GET");
        get.arg(&attached.poke);
        let mut batch = Batch::of(get);
        if self.tracking.is_partial() {
            Tracking::ask(&mut batch);
        }
        if self.session.is_tracking {
            self.ear.forget();
            echo::ask(&mut batch, &self.tracking, &attached.echo);
        }
        if registers {
            let handled = self.delay().map_or(0, |delay| self.readings.handled(delay, now));
            if handled > 0 {
                self.link.withdraw_grace();
            }
            let reach = attached.reach(self.settings.connect_timeout);
            let keep = reach.saturating_add(KEEP_MEMBERS);
            let registered = u8::from(self.member.is_registered());
            let args = (&self.member.id, millis(reach), handled, registered, millis(keep));
            batch.add_script(&BEAT, &attached.members, args);
        }
        batch
    }

    async fn conclude(
        &mut self,
        attached: &Attached,
        replies: &mut Replies,
        sent: Instant,
        registers: bool,
    ) -> Result<(), Broken> {
        let poke = replies.next::<Option<Vec<u8>>>();
        // Before anything else changes what is tracked.
        let asked = self.tracking.clone();
        if self.tracking.has_missed(replies) {
            let widened = self.tracking.widen(&mut self.session.connection);
            let widened = timeout(self.settings.connect_timeout, widened).await;
            widened.map_err(|_| Broken)?.map_err(|_| Broken)?;
            // Only now: what the server evicted until then was not told either.
            self.watch.all_changed();
        }
        if self.session.is_tracking && echo::is_due(replies, &asked) && !self.ear.has_echoed() {
            // What was told since the last heartbeat was not heard. The next connection finds out whether it is any better.
            return Err(Broken);
        }
        let beat = if registers { verdict(replies.next::<i64>()) } else { Err(Verdict::Sound) };
        match verdict(poke) {
            Ok(poke) => self.readings.read(number(poke), Instant::now()),
            Err(Verdict::Broken) => return Err(Broken),
            Err(Verdict::Sound) => self.is_blind = true,
            // It speaks of the server's state, and so does the other answer.
            Err(Verdict::Refusing) => {
                self.refuse();
                return Ok(());
            }
        }
        match beat {
            Ok(_) => {
                let until = sent + attached.reach(self.settings.connect_timeout);
                *self.member.registered_until() = Some(until);
            }
            Err(Verdict::Broken) => return Err(Broken),
            Err(Verdict::Sound) => {}
            // A replica may be cut off from where others write.
            Err(Verdict::Refusing) => {
                self.refuse();
                return Ok(());
            }
        }
        let is_registered = beat.is_ok() && !self.is_blind;
        self.link.condition.update(|facts| {
            facts.refusing = false;
            facts.registered = Some(is_registered);
        });
        // A line that tells nothing proves nothing.
        if self.session.is_tracking {
            self.session.line.allow_grace(is_registered || planted!("member-not-registered"));
            self.session.line.prove(sent);
        } else if self.last_try.elapsed() >= TRY_AGAIN {
            self.try_again(attached).await?;
        }
        Ok(())
    }

    /// Whether the server tells now what changes; then a connection that is told everything from its beginning takes the place
    /// of this one.
    async fn try_again(&mut self, attached: &Attached) -> Result<(), Broken> {
        self.last_try = Instant::now();
        let started = Tracking::start(&mut self.session.connection, &self.ear, Some(&attached.echo));
        let tracking = timeout(self.settings.connect_timeout, started).await;
        if tracking.map_err(|_| Broken)?.map_err(|_| Broken)?.is_on() {
            self.link.report(&self.session, Verdict::Refusing);
        }
        Ok(())
    }

    /// Nothing is proven, and there may be a better server.
    fn refuse(&self) {
        if self.session.is_tracking {
            self.session.line.allow_grace(false);
        }
        self.link.condition.update(|facts| facts.refusing = true);
        self.link.report(&self.session, Verdict::Refusing);
    }

    fn delay(&self) -> Option<Delay> {
        let (is_tracking, last_end) = (self.session.is_tracking, self.link.last_end());
        self.watch.attached().map(|attached| Delay { bound: attached.bound(), is_tracking, last_end })
    }
}

fn verdict<T>(answer: RedisResult<T>) -> Result<T, Verdict> {
    answer.map_err(|error: RedisError| Failure::from(error).verdict)
}

/// What is no number was not written by any of us.
pub(crate) fn number(poke: Option<Vec<u8>>) -> u64 {
    poke.and_then(|poke| String::from_utf8(poke).ok()?.parse().ok()).unwrap_or(0)
}
