//! The duties of the next heartbeat: collects the facts from which `schedule`, `registrar` and `plan` decide.
//!
//! Link, router and member have the facts that other tasks change as well. A plan takes the flags of the
//! router, which are then reset.

use std::time::Instant;

use cached_core::planted;

use crate::{
    node::heartbeat::{
        Heartbeat,
        plan::{Occasion, Plan},
        registrar::Registering,
        schedule::QuietConditions,
    },
    tracking::{
        acks::AckDelay,
        attachment::{AttachedCache, Registry},
        self_test::Echo,
    },
};

impl Heartbeat {
    /// Returns whether there was no use for watermarks lately, and nothing has to be polled either.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        let conditions = QuietConditions {
            is_notified: self.router.attached().is_none() || self.session.is_tracking,
            can_run_scripts: !self.link.condition.runs_no_scripts(),
            is_breaker_open: self.link.gate.is_open(),
        };
        self.schedule.is_quiet(conditions, now)
    }

    /// Returns whether other processes wait for acknowledgements of this one.
    pub(super) fn may_acknowledge(&self, is_quiet: bool) -> bool {
        // A process that does not register acknowledges nothing, and the others ignore an expired
        // registration.
        self.may_register() && (!is_quiet || self.member.registry_number().is_some())
    }

    /// Returns whether a quiet process has a barrier to read or to acknowledge.
    pub(super) fn must_acknowledge(&self, now: Instant) -> bool {
        self.may_acknowledge(true)
            && (self.router.has_barrier() || self.registrar.is_due(self.ack_delay(), now))
    }

    pub(super) fn ack_delay(&self) -> Option<AckDelay> {
        let (is_tracking, previous_end) = (self.session.is_tracking, self.link.previous_end());
        self.router.attached().map(|attached| AckDelay { bound: attached.bound(), is_tracking, previous_end })
    }

    /// Decides the contents of a heartbeat.
    pub(super) fn plan(&mut self, attached: Option<&AttachedCache>, now: Instant) -> Plan {
        let plan = match attached {
            Some(attached) => self.plan_with_cache(attached, now),
            None => Plan::without_cache(now),
        };
        if !plan.is_acknowledgement_only {
            self.schedule.record_attempt(now);
        }
        plan
    }

    fn plan_with_cache(&mut self, attached: &AttachedCache, now: Instant) -> Plan {
        let registry = self.select_registry(attached);
        let registration_interval = attached.registration_interval();
        let has_barrier = self.router.take_barrier();
        // Taken in any case, or the next heartbeat would be full as well.
        let is_registry_lost = self.router.take_registry_loss();
        let is_full = self.schedule.is_full_due(registration_interval, now)
            || is_registry_lost
            || self.registrar.is_unregistered()
            || self.link.condition.runs_no_scripts();
        let occasion = Occasion {
            now,
            schedule: &self.schedule,
            mode: &self.mode,
            registering: self.registering(now),
            registration_interval,
            interval: self.router.interval(),
            is_tracking: self.session.is_tracking,
            is_full,
            has_barrier,
        };
        Plan::decide(&occasion, registry)
    }

    /// Returns the registry of this process.
    fn select_registry(&mut self, attached: &AttachedCache) -> Option<Registry> {
        let Some(slots) = &mut self.slots else { return Some(attached.registry.clone()) };
        let registry = slots.registry();
        if self.registrar.select(registry.as_ref().map(|registry| registry.number)) {
            self.echo = Echo::default();
            self.schedule.require_full();
        }
        registry
    }

    fn registering(&self, now: Instant) -> Registering {
        if !self.may_register() {
            Registering::Never
        } else if self.registrar.is_due(self.ack_delay(), now) {
            Registering::AtOnce
        } else {
            Registering::IfFull
        }
    }

    fn may_register(&self) -> bool {
        let may_serve_unpushed = !self.session.is_tracking && self.link.gate.is_open();
        self.registrar.may_register(self.member.is_deregistered(), may_serve_unpushed)
            && !planted!("member-not-registered")
    }
}
