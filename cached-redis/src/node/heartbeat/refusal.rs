//! Refusals of the server, as a heartbeat finds and reports them.
//!
//! A server that refuses because of its state, such as a replica, may have a successor. So the supervisor
//! looks for a better connection, and nothing is proven over this one.

use std::time::Instant;

use cached_core::TierCause;
use redis::{RedisError, RedisResult};

use crate::{
    connect::cause,
    node::heartbeat::Heartbeat,
    protocol::{
        batch::Replies,
        failure::{Failure, Verdict},
    },
};

impl Heartbeat {
    /// Records that nothing is proven, and that there may be a better server.
    pub(super) fn record_refusal(&self) {
        if self.session.is_tracking {
            self.session.feed.allow_grace(false);
        }
        // The server still answers reads. Their results are not proven, so they are served for the staleness
        // bound at most. The next heartbeat extends this, or registers.
        self.link.set_usable_until(Instant::now() + self.router.interval() + self.settings.connect_timeout);
        self.link.condition.update(|facts| {
            facts.refusing = true;
            facts.why.refusing = self.refusal.clone().or(Some(TierCause::ClusterDown));
        });
        self.link.report(&self.session, Verdict::Refusing);
    }

    /// Records whether the server answers, for a connection without a cache.
    pub(super) fn record_verdict(&self, verdict: Option<Verdict>) {
        let is_refusing = verdict == Some(Verdict::Refusing);
        // A good reply clears the state only on a new connection: the server may still refuse writes, and
        // only another connection leads to another server.
        if is_refusing || self.is_first {
            self.link.condition.update(|facts| {
                facts.refusing = is_refusing;
                facts.why.refusing.clone_from(&self.refusal);
            });
        }
    }
}

/// Returns the cause of the most important refusal: the first one that is due to the server's state, or else
/// the last one.
pub(super) fn most_important(replies: &Replies) -> Option<TierCause> {
    let refusals: Vec<_> = replies.refusals().collect();
    let of_state = refusals.iter().find(|refusal| Verdict::of(refusal) == Verdict::Refusing);
    // The last refusal is the one of the registration, if it was refused.
    of_state.or(refusals.last()).map(|refusal| cause::of_refusal(refusal))
}

/// Separates a reply from the verdict about its connection.
pub(super) fn verdict<T>(reply: RedisResult<T>) -> Result<T, Verdict> {
    reply.map_err(|error: RedisError| Failure::from(error).verdict)
}

/// Returns whether the server redirects the command to another one.
pub(super) fn is_redirected<T>(reply: Option<&RedisResult<T>>) -> bool {
    matches!(reply, Some(Err(error)) if error.redirect_node().is_some())
}
