//! One server: its connection, and the operations over it.
//!
//! A read passes the gate (breaker and limit), takes the current session, and sends its batch within its
//! budget. If there is no usable session, it waits for one within the rest of that budget. The outcome goes
//! to the breaker, and failures of the connection or the server to the supervisor.
//!
//! Operations:
//!
//! * `operations` runs reads and writes, over the session that `acquire` returns.
//! * `reads` and `round` send the reads of many callers in one round trip.
//! * `large` runs operations on large values, and `transfers` accounts for them. They have a connection of
//!   their own, which is a second [`Node`].
//!
//! The connection:
//!
//! * `supervisor` connects (`establish`) and publishes each `session` in the [`Link`].
//! * `heartbeat` checks the connection, advances the watermark of its change feed, and registers this
//!   process.
//! * `close` ends the connection for good, and `health` has the status.

mod acquire;
mod close;
pub(crate) mod establish;
mod health;
pub(crate) mod heartbeat;
mod large;
pub(crate) mod link;
mod operations;
pub(crate) mod reads;
mod round;
pub(crate) mod session;
pub(crate) mod supervisor;
pub(crate) mod transfers;

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use cached_core::{
    TierCause, TierError,
    tier::{Attachment, ChangeFeed},
};
use tokio::time::timeout;

use crate::{
    availability::{
        breaker::Breaker,
        gate::AdmissionGate,
        status::{Condition, RedisState},
    },
    connect::settings::Settings,
    node::{heartbeat::Member, link::Link, supervisor::Supervision},
    protocol::batch::Replies,
    tracking::push::PushRouter,
};

/// One server, with its connection and its background task.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) settings: Arc<Settings>,
    pub(crate) router: Arc<PushRouter>,
    pub(crate) member: Arc<Member>,
    pub(crate) link: Arc<Link>,
    supervision: Supervision,
    /// Node for large values, created for the first of them. It has its own breaker and gets no pushes.
    pub(crate) large: OnceLock<Box<Self>>,
}

/// Replies to a batch.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) replies: Replies,
    /// Change feed of the connection that was used.
    pub(crate) feed: Arc<ChangeFeed>,
}

impl Node {
    pub(crate) fn new(settings: Arc<Settings>, member: Member, router: PushRouter) -> Self {
        let Settings { read_timeout, retry_min, retry_max, max_in_flight, .. } = *settings;
        let breaker = Breaker::new(read_timeout, retry_min, retry_max, Instant::now());
        let link = Arc::new(Link::new(AdmissionGate::new(breaker, max_in_flight)));
        let (router, member) = (Arc::new(router), Arc::new(member));
        let supervision =
            Supervision::new(settings.clone(), link.clone(), Arc::clone(&router), member.clone());
        Self { settings, router, member, link, supervision, large: OnceLock::new() }
    }

    pub(crate) fn gate(&self) -> &AdmissionGate {
        &self.link.gate
    }

    pub(crate) fn condition(&self) -> &Condition {
        &self.link.condition
    }

    /// Attaches the cache.
    pub(crate) fn attach(&self, attachment: Attachment) {
        if self.router.attach(attachment) {
            // An existing connection was made without registering this process.
            self.link.replace_connection();
        }
    }

    /// Returns whether the server is worth asking.
    pub(crate) fn ready(&self) -> bool {
        let is_useful = !self.link.gate.is_open() && !self.condition().runs_no_scripts();
        let is_worth_asking = !self.link.is_down() && is_useful;
        // If the task has ended with its runtime, only an operation can restart it.
        !self.supervision.is_closed() && (is_worth_asking || !self.supervision.is_running())
    }

    /// Starts the background task on the current runtime, unless it runs.
    pub(crate) fn ensure_running(&self) -> Result<(), TierError> {
        self.supervision.ensure_running()
    }

    /// Connects, and waits for the outcome of the first attempt.
    pub(crate) async fn connected(&self) -> Result<(), TierCause> {
        self.ensure_running().map_err(|_| TierCause::NoRuntime)?;
        // Longer than the attempt itself may take.
        let time_limit = self.settings.connect_timeout.saturating_mul(2);
        let _ = timeout(time_limit, self.link.session()).await;
        match self.condition().state() {
            RedisState::Up | RedisState::Degraded => Ok(()),
            RedisState::Untried => Err(TierCause::Timeout),
            RedisState::Down => Err(self.condition().facts().cause().unwrap_or(TierCause::Lost)),
        }
    }

    /// Replaces the connection of this change feed, if it is current: its replies match no requests.
    pub(crate) fn report_broken(&self, feed: &ChangeFeed) {
        self.link.report_broken(feed);
        if let Some(large) = self.large.get() {
            large.link.report_broken(feed);
        }
    }
}
