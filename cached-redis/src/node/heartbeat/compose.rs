//! The commands of a heartbeat, in the order in which `replies` reads their replies.
//!
//! Two steps prepare more than a command. The self-test discards earlier pushes, so that only a later one
//! passes it. A registration that acknowledges a barrier first withdraws the outage grace of entries from
//! before the barrier, since they may be outdated.

use std::time::Instant;

use crate::{
    connect::settings::millis,
    node::heartbeat::{Heartbeat, plan::Plan, registrar::REGISTRY_LIFETIME},
    protocol::{batch::Batch, commands::number_command, scripts::REGISTER},
    tracking::{
        attachment::{AttachedCache, Registry},
        mode::Tracking,
        self_test::SelfTest,
    },
};

impl Heartbeat {
    /// Builds the batch of a heartbeat, and returns the self-test in it.
    pub(super) fn compose(
        &mut self,
        attached: Option<&AttachedCache>,
        plan: &Plan,
    ) -> (Batch, Option<SelfTest>) {
        let mut batch = Batch::new();
        if plan.reads_clock {
            batch.add(redis::cmd("TIME"));
        }
        if let Some(slots) = &self.slots {
            slots.add_query(&mut batch);
        }
        let self_test = match attached {
            Some(attached) => self.add_planned(attached, plan, &mut batch),
            None => {
                batch.add(redis::cmd("PING"));
                None
            }
        };
        (batch, self_test)
    }

    fn add_planned(&mut self, attached: &AttachedCache, plan: &Plan, batch: &mut Batch) -> Option<SelfTest> {
        if let Some(registry) = plan.registry.as_ref().filter(|_| plan.reads_barrier) {
            batch.add(number_command(&registry.barrier));
        }
        if plan.reads_evictions {
            Tracking::add_eviction_query(batch);
        }
        let registry = plan.registry.as_ref()?;
        let self_test = plan.advances_watermark.then(|| self.add_self_test(registry, plan, batch));
        if plan.switches_mode {
            self.mode.tracking.add_switch(batch);
        }
        if plan.registers {
            self.add_registration(attached, registry, plan.sent, batch);
        }
        self_test
    }

    fn add_self_test(&mut self, registry: &Registry, plan: &Plan, batch: &mut Batch) -> SelfTest {
        if self.listener.has_echoed() {
            // Another cause has changed the key, or all keys, so the server does not push the next change.
            self.echo.record_push();
        }
        self.listener.reset_echo();
        self.echo.add_self_test(batch, &self.mode.tracking, &registry.echo, plan.is_full, plan.sent)
    }

    fn add_registration(
        &mut self,
        attached: &AttachedCache,
        registry: &Registry,
        now: Instant,
        batch: &mut Batch,
    ) {
        let handled = self.registrar.acknowledge(self.ack_delay(), now);
        if handled > 0 {
            self.link.withdraw_grace();
        }
        let registration_lifetime = attached.registration_lifetime(self.settings.connect_timeout);
        let registry_lifetime = registration_lifetime.saturating_add(REGISTRY_LIFETIME);
        let registered = u8::from(self.member.registry_number() == Some(registry.number));
        let renews_registry = self.schedule.is_registry_renewal_due(now);
        if renews_registry {
            self.schedule.record_registry_renewal(now);
        }
        let args = (
            &self.member.id,
            millis(registration_lifetime),
            handled,
            registered,
            millis(registry_lifetime),
            u8::from(renews_registry),
        );
        batch.add_script(&REGISTER, &registry.members, args);
    }
}
