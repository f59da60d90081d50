//! The plan of one heartbeat: its contents, derived from the schedule and the state of the connection.
//!
//! [`Plan::decide`] has no side effects. `duties` collects the facts of an [`Occasion`], `compose` turns the
//! plan into commands, and `replies` reads their replies by the same plan. Without a registry nothing is
//! registered, no barrier is read, and the tracking mode is not switched.

use std::time::{Duration, Instant};

use crate::{
    node::heartbeat::{registrar::Registering, schedule::Schedule, selected_mode::SelectedMode},
    tracking::attachment::Registry,
};

/// Contents of one heartbeat.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "the flags are independent")]
pub(super) struct Plan {
    pub(super) sent: Instant,
    pub(super) registry: Option<Registry>,
    pub(super) reads_clock: bool,
    pub(super) reads_barrier: bool,
    /// Reads the eviction count.
    pub(super) reads_evictions: bool,
    /// Acknowledges or reads barriers, and leaves all that is due at the interval of the watermark to another
    /// heartbeat.
    pub(super) is_acknowledgement_only: bool,
    /// Advances the watermark if all is well, which takes a self-test of the pushes.
    pub(super) advances_watermark: bool,
    /// Switches to the other tracking mode.
    pub(super) switches_mode: bool,
    pub(super) registers: bool,
    /// Includes everything that is due every few seconds.
    pub(super) is_full: bool,
}

/// Facts at the time of a heartbeat, from which its contents follow.
#[derive(Debug)]
pub(super) struct Occasion<'a> {
    pub(super) now: Instant,
    pub(super) schedule: &'a Schedule,
    pub(super) mode: &'a SelectedMode,
    pub(super) registering: Registering,
    pub(super) registration_interval: Duration,
    /// Interval at which the watermark advances.
    pub(super) interval: Duration,
    /// Set if the server pushes changes over the connection.
    pub(super) is_tracking: bool,
    /// Set if everything that is due every few seconds is due now.
    pub(super) is_full: bool,
    /// Set if another process waits for an acknowledgement.
    pub(super) has_barrier: bool,
}

impl Plan {
    /// Decides the contents of the heartbeat of a connection with a cache.
    pub(super) fn decide(occasion: &Occasion<'_>, registry: Option<Registry>) -> Self {
        let &Occasion { now, schedule, mode, is_tracking, is_full, has_barrier, .. } = occasion;
        let has_registry = registry.is_some();
        let registers = has_registry
            && match occasion.registering {
                Registering::Never => false,
                Registering::IfFull => is_full,
                Registering::AtOnce => true,
            };
        let reads_barrier = has_registry && (is_full || has_barrier || !is_tracking);
        let wants_switch = mode.wants_switch(schedule.is_calm(now));
        // A heartbeat that only acknowledges barriers need not advance the watermark if that was done just
        // now. It must not delay a request that waits for `NOLOOP`, though.
        let is_acknowledgement_only = !is_full
            && (has_barrier || registers)
            && !(wants_switch && mode.is_noloop_suspended())
            && !schedule.is_self_test_due(occasion.interval, now);
        let advances_watermark = is_tracking && !is_acknowledgement_only;
        Self {
            sent: now,
            registry,
            reads_clock: schedule.is_clock_reading_due(occasion.registration_interval, now),
            reads_barrier,
            reads_evictions: mode.tracking.is_noloop() && (advances_watermark || reads_barrier),
            is_acknowledgement_only,
            advances_watermark,
            switches_mode: advances_watermark && wants_switch && has_registry,
            registers,
            is_full,
        }
    }

    /// Creates the plan of a connection without a cache, which nothing depends on.
    pub(super) fn without_cache(sent: Instant) -> Self {
        Self {
            sent,
            registry: None,
            reads_clock: true,
            reads_barrier: false,
            reads_evictions: false,
            is_acknowledgement_only: false,
            advances_watermark: false,
            switches_mode: false,
            registers: false,
            is_full: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracking::mode::Tracking;

    const SECOND: Duration = Duration::from_secs(1);

    fn registry() -> Registry {
        let key = || "key".to_owned();
        Registry { number: 0, members: key(), barrier: key(), echo: key() }
    }

    /// Returns the schedule of a connection with a self-test at `now`, and a request.
    fn just_tested(now: Instant) -> Schedule {
        let mut schedule = Schedule::new(now);
        schedule.record_self_test(now);
        schedule.record_clock_reading(now);
        schedule
    }

    fn occasion<'a>(now: Instant, schedule: &'a Schedule, mode: &'a SelectedMode) -> Occasion<'a> {
        Occasion {
            now,
            schedule,
            mode,
            registering: Registering::IfFull,
            registration_interval: 5 * SECOND,
            interval: SECOND,
            is_tracking: true,
            is_full: false,
            has_barrier: false,
        }
    }

    #[test]
    fn full_heartbeat_registers_and_advances_the_watermark() {
        let now = Instant::now();
        let (schedule, mode) = (Schedule::new(now), SelectedMode::new(Tracking::All));
        let plan =
            Plan::decide(&Occasion { is_full: true, ..occasion(now, &schedule, &mode) }, Some(registry()));
        assert!(plan.registers && plan.reads_barrier && plan.advances_watermark && plan.reads_clock);
        assert!(!plan.reads_evictions && !plan.switches_mode, "`NOLOOP` may not be used");
        let never =
            Occasion { is_full: true, registering: Registering::Never, ..occasion(now, &schedule, &mode) };
        assert!(!Plan::decide(&never, Some(registry())).registers);
    }

    #[test]
    fn acknowledgement_does_not_advance_the_watermark_soon_after_a_self_test() {
        let now = Instant::now();
        let (schedule, mode) = (just_tested(now), SelectedMode::new(Tracking::All));
        let at = |now| Occasion {
            registering: Registering::AtOnce,
            has_barrier: true,
            ..occasion(now, &schedule, &mode)
        };
        let plan = Plan::decide(&at(now + SECOND / 2), Some(registry()));
        assert!(plan.registers && plan.reads_barrier && plan.is_acknowledgement_only);
        assert!(!plan.advances_watermark && !plan.reads_clock);
        let plan = Plan::decide(&at(now + SECOND), Some(registry()));
        assert!(plan.registers && plan.advances_watermark && !plan.is_acknowledgement_only);
    }

    #[test]
    fn request_that_waits_for_noloop_is_not_delayed_by_an_acknowledgement() {
        let now = Instant::now();
        let mut mode = SelectedMode::new(Tracking::Others("0".to_owned()));
        let mut schedule = just_tested(now);
        let later = now + 10 * SECOND;
        let plan = Plan::decide(&occasion(later, &schedule, &mode), Some(registry()));
        assert!(plan.switches_mode && plan.reads_evictions, "a calm process drops `NOLOOP`");
        mode.tracking = Tracking::All;
        assert!(!Plan::decide(&occasion(later, &schedule, &mode), Some(registry())).switches_mode);
        schedule.record_request(later);
        schedule.record_self_test(later);
        let barrier = Occasion { has_barrier: true, ..occasion(later, &schedule, &mode) };
        let plan = Plan::decide(&barrier, Some(registry()));
        assert!(plan.switches_mode && plan.advances_watermark && !plan.is_acknowledgement_only);
        mode.forbid_noloop();
        let barrier = Occasion { has_barrier: true, ..occasion(later, &schedule, &mode) };
        assert!(Plan::decide(&barrier, Some(registry())).is_acknowledgement_only);
    }

    #[test]
    fn untracked_connection_polls_barriers_and_proves_nothing() {
        let now = Instant::now();
        let (schedule, mode) = (just_tested(now), SelectedMode::new(Tracking::Off));
        let untracked = Occasion { is_tracking: false, ..occasion(now + SECOND, &schedule, &mode) };
        let plan = Plan::decide(&untracked, Some(registry()));
        assert!(plan.reads_barrier && !plan.advances_watermark && !plan.is_acknowledgement_only);
    }

    #[test]
    fn nothing_is_registered_without_a_registry() {
        let now = Instant::now();
        let (schedule, mode) = (Schedule::new(now), SelectedMode::new(Tracking::Others("0".to_owned())));
        let full = Occasion {
            is_full: true,
            registering: Registering::AtOnce,
            ..occasion(now + 10 * SECOND, &schedule, &mode)
        };
        let plan = Plan::decide(&full, None);
        assert!(!plan.registers && !plan.reads_barrier && !plan.switches_mode);
        assert!(plan.advances_watermark && plan.reads_evictions);
    }
}
