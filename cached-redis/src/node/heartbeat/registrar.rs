//! The registrar: decides whether this process registers over a connection, and acknowledges barriers.
//!
//! It does no I/O: `replies` feeds it with replies, and `duties` asks it for decisions. Two invariants hold.
//! A process that cannot read the barrier number does not register, since the others would wait for it.
//! Barrier numbers of one registry are never acknowledged in another.

use std::time::{Duration, Instant};

use crate::tracking::acks::{AckDelay, BarrierAcks};

/// Lifetime of the registry after the last process has ended.
pub(crate) const REGISTRY_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Registrar of this process over one connection.
#[derive(Debug, Default)]
pub(super) struct Registrar {
    barrier_acks: BarrierAcks,
    /// Set if the server does not permit reading the barrier key. A process that cannot acknowledge barriers
    /// must not register.
    is_barrier_unreadable: bool,
    /// Set if the server rejected the last registration. Each heartbeat retries it, so that the process
    /// recovers soon after the server does.
    is_unregistered: bool,
    /// Number of the current registry, if the server is in a cluster.
    registry_number: Option<usize>,
}

/// Occasions on which a heartbeat registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registering {
    /// None: this process must not register.
    Never,
    /// A full heartbeat.
    IfFull,
    /// Any heartbeat, because another barrier number may be acknowledged.
    AtOnce,
}

impl Registrar {
    /// Selects a registry of the cluster, and returns whether it is another one than before.
    pub(super) fn select(&mut self, registry_number: Option<usize>) -> bool {
        let is_other = registry_number != self.registry_number;
        if is_other {
            // Barrier numbers of another registry do not apply here.
            (self.registry_number, self.barrier_acks) = (registry_number, BarrierAcks::default());
        }
        is_other
    }

    /// Forgets all barrier numbers, since they were read under another change feed.
    pub(super) fn forget_barriers(&mut self) {
        self.barrier_acks = BarrierAcks::default();
    }

    /// Records that the barrier key held `number` at `now`.
    pub(super) fn record_barrier(&mut self, number: u64, now: Instant) {
        self.is_barrier_unreadable = false;
        self.barrier_acks.record(number, now);
    }

    /// Records that the server has refused to read the barrier key.
    ///
    /// A server that redirects to another one does not forbid it.
    pub(super) fn record_barrier_refusal(&mut self, is_redirected: bool) {
        self.is_barrier_unreadable = !is_redirected;
    }

    pub(super) fn is_barrier_readable(&self) -> bool {
        !self.is_barrier_unreadable
    }

    /// Records the outcome of a registration.
    pub(super) fn record_outcome(&mut self, is_registered: bool) {
        self.is_unregistered = !is_registered;
    }

    /// Returns whether the last registration has failed.
    pub(super) fn is_unregistered(&self) -> bool {
        self.is_unregistered
    }

    /// Returns whether this process registers.
    ///
    /// It does not over an untracked connection while the breaker is open (`may_serve_unpushed`). Then
    /// earlier entries are served for the outage grace, and no pushes report their changes, so a barrier that
    /// was read is not handled. The registration expires as it does without a connection.
    pub(super) fn may_register(&self, is_deregistered: bool, may_serve_unpushed: bool) -> bool {
        !self.is_barrier_unreadable && !is_deregistered && !may_serve_unpushed
    }

    /// Returns the time at which another barrier number may be acknowledged, if there is one.
    ///
    /// A connection without a cache has no `delay`, and acknowledges nothing.
    pub(super) fn due(&self, delay: Option<AckDelay>) -> Option<Instant> {
        delay.and_then(|delay| self.barrier_acks.due(delay))
    }

    /// Returns whether another barrier number may be acknowledged.
    pub(super) fn is_due(&self, delay: Option<AckDelay>, now: Instant) -> bool {
        self.due(delay).is_some_and(|due| due <= now)
    }

    /// Returns the barrier number to acknowledge at `now`, or 0.
    pub(super) fn acknowledge(&mut self, delay: Option<AckDelay>, now: Instant) -> u64 {
        delay.map_or(0, |delay| self.barrier_acks.acknowledge(delay, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Option<AckDelay> =
        Some(AckDelay { bound: Duration::from_secs(1), is_tracking: true, previous_end: None });

    #[test]
    fn process_registers_unless_it_could_not_acknowledge() {
        let mut registrar = Registrar::default();
        assert!(registrar.may_register(false, false));
        assert!(!registrar.may_register(true, false) && !registrar.may_register(false, true));
        registrar.record_barrier_refusal(true);
        assert!(registrar.may_register(false, false), "another server has the registry");
        registrar.record_barrier_refusal(false);
        assert!(!registrar.may_register(false, false) && !registrar.is_barrier_readable());
        registrar.record_barrier(0, Instant::now());
        assert!(registrar.may_register(false, false), "the right was granted meanwhile");
    }

    #[test]
    fn barrier_of_another_registry_is_not_acknowledged() {
        let (mut registrar, now) = (Registrar::default(), Instant::now());
        assert!(registrar.select(Some(3)));
        registrar.record_barrier(7, now);
        assert!(!registrar.select(Some(3)) && registrar.is_due(DELAY, now));
        assert!(registrar.select(Some(4)) && !registrar.is_due(DELAY, now));
        assert_eq!(registrar.acknowledge(DELAY, now), 0);
    }

    #[test]
    fn nothing_is_acknowledged_without_a_cache() {
        let (mut registrar, now) = (Registrar::default(), Instant::now());
        registrar.record_barrier(7, now);
        assert_eq!((registrar.due(None), registrar.acknowledge(None, now)), (None, 0));
        assert_eq!((registrar.due(DELAY), registrar.acknowledge(DELAY, now)), (Some(now), 7));
    }
}
