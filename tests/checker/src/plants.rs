//! The planted bugs, with which the tests show that the checks find violations.
//!
//! A bug is in the code of the cache as `planted!("name")`, which is `false` without the feature.

use std::{fmt, time::Duration};

use redis_harness::Mode;

use crate::{
    check::Promise,
    faults::FaultMix,
    run::{Plan, Roles},
    worker::Mix,
};

/// A planted bug.
#[derive(Debug)]
pub(crate) struct Plant {
    pub(crate) name: &'static str,
    /// Place and effect of the bug.
    pub(crate) effect: &'static str,
    /// Promises of which the bug breaks at least one.
    pub(crate) breaks: &'static [Promise],
    /// Changes a plan to one in which the bug shows soon.
    pub(crate) adapt_plan: fn(&mut Plan),
}

impl Plant {
    fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        (self.adapt_plan)(&mut plan);
        plan
    }

    /// Returns the first bug in the list with the same plan. Without a bug, their runs are the same.
    fn first_with_same_plan(&self) -> &'static str {
        let plan = self.plan();
        PLANTS.iter().find(|plant| plant.plan() == plan).map_or("", |plant| plant.name)
    }
}

impl PartialEq for Plant {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// Prints the name, the promises, the first bug with the same plan, and the effect, in a line for programs.
impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let promises: Vec<_> = self.breaks.iter().map(|promise| promise.name()).collect();
        let (promises, plan) = (promises.join(","), self.first_with_same_plan());
        write!(f, "{:<30} {promises:<6} {plan:<30} {}", self.name, self.effect)
    }
}

/// Returns the bug with this name.
pub(crate) fn find(name: &str) -> Option<&'static Plant> {
    PLANTS.iter().find(|plant| plant.name == name)
}

use Promise::{Acknowledged, Answers, Bound, Confirmed, Deadline, Fence, OneLoad};

/// All planted bugs.
pub(crate) const PLANTS: &[Plant] = &[
    Plant {
        name: "fill-without-lease-compare",
        effect: "redis, `fill`: a plain SET instead of the script that compares the lease",
        breaks: &[Fence],
        adapt_plan: slow_loads,
    },
    Plant {
        name: "token-per-client",
        effect: "core, where a token is drawn: once for each process instead of once for each load",
        breaks: &[Fence],
        adapt_plan: slow_loads,
    },
    Plant {
        name: "unleased-fill",
        effect: "core, the fill: a load whose lease was refused or lost takes one by force when it ends, and fills",
        breaks: &[Fence],
        adapt_plan: slow_loads,
    },
    Plant {
        name: "l1-fill-before-verdict",
        effect: "core, the landing: L1 is filled, and followers are served, before Redis has accepted the fill",
        breaks: &[Fence],
        adapt_plan: held_loads,
    },
    Plant {
        name: "followers-take-rejected-value",
        effect: "core, the landing: a flight whose fill was refused lands as if it was accepted",
        breaks: &[Fence],
        adapt_plan: held_loads_without_pushes,
    },
    Plant {
        name: "kept-beside-unasked",
        effect: "core, the landing: a load beside another one's lease is kept without asking Redis once more",
        breaks: &[Fence],
        adapt_plan: held_loads_beside,
    },
    Plant {
        name: "tag-generation-after-load",
        effect: "core, the load: generations of tags are read when the load has ended instead of before it",
        breaks: &[Fence],
        adapt_plan: tags,
    },
    Plant {
        name: "tag-adopted-unasked",
        effect: "core, the fill: a tag that is derived from the value is claimed although it was invalidated during the load",
        breaks: &[Fence],
        adapt_plan: tags,
    },
    Plant {
        name: "tag-seeded-constant",
        effect: "redis, script `seed`: a missing generation is always the same instead of random",
        breaks: &[Fence, Bound],
        adapt_plan: tags,
    },
    Plant {
        name: "pattern-not-swept",
        effect: "redis, `delete_matching`: removes nothing",
        breaks: &[Fence],
        adapt_plan: patterns,
    },
    Plant {
        name: "own-entry-kept",
        effect: "core, `invalidate`: the process that invalidates does not evict its own entry",
        breaks: &[Fence],
        adapt_plan: quiet,
    },
    Plant {
        name: "push-ignored",
        effect: "redis, the push sender: `changed` is not called",
        breaks: &[Bound],
        adapt_plan: quiet,
    },
    Plant {
        name: "flush-ignored",
        effect: "redis, the push sender: the push without keys (FLUSHALL) is ignored",
        breaks: &[Bound],
        adapt_plan: flushes,
    },
    Plant {
        name: "own-fill-untracked",
        effect: "redis, script `fill`: does not read the key again at its end, and NOLOOP ends the tracking",
        breaks: &[Bound],
        adapt_plan: quiet,
    },
    Plant {
        name: "register-after-read",
        effect: "core, the lookup in L2: the key is registered when the reply is there instead of before",
        breaks: &[Bound],
        adapt_plan: slow_connections,
    },
    Plant {
        name: "bound-of-function-ignored",
        effect: "core, the lookup in L1: a function's own bound is ignored",
        breaks: &[Bound],
        adapt_plan: slow_connections,
    },
    Plant {
        name: "proof-ignored",
        effect: "core, the lookup in L1: an entry is served however old the proof is",
        breaks: &[Bound],
        adapt_plan: silence,
    },
    Plant {
        name: "grace-unbounded",
        effect: "core, the lookup in L1: in an outage an entry is served however long that lasts",
        breaks: &[Bound],
        adapt_plan: silence,
    },
    Plant {
        name: "skip-reconnect",
        effect: "core, the lookup in L1: entries of a lost connection count as proven by the new one",
        breaks: &[Bound],
        adapt_plan: reconnects,
    },
    Plant {
        name: "proof-before-drain",
        effect: "redis, the heartbeat: the feed advances when it is sent, before its reply has brought the pushes",
        breaks: &[Bound],
        adapt_plan: silence_for_all,
    },
    Plant {
        name: "lease-not-renewed",
        effect: "core, the load: the lease is not renewed",
        breaks: &[OneLoad],
        adapt_plan: long_loads,
    },
    Plant {
        name: "lease-ignored",
        effect: "core, the miss: a caller that finds another's lease loads as well instead of waiting",
        breaks: &[OneLoad],
        adapt_plan: slow_loads,
    },
    Plant {
        name: "no-replay",
        effect: "core, the outbox: undelivered invalidations are dropped instead of replayed",
        breaks: &[Acknowledged],
        adapt_plan: undelivered,
    },
    Plant {
        name: "untold-name-read",
        effect: "core, after `NotPropagated`: the name is not distrusted, and L2 is read",
        breaks: &[Acknowledged],
        adapt_plan: undelivered_with_reads,
    },
    Plant {
        name: "not-propagated-as-ok",
        effect: "core, `invalidate`: an error of the tier is answered with `Ok`",
        breaks: &[Fence, Bound],
        adapt_plan: undelivered,
    },
    Plant {
        name: "confirm-without-waiting",
        effect: "redis, `confirm`: returns when the barrier was written",
        breaks: &[Confirmed],
        adapt_plan: confirmations,
    },
    Plant {
        name: "member-not-registered",
        effect: "redis, the heartbeat: does not register the process, so no confirmation waits for it",
        breaks: &[Confirmed],
        adapt_plan: confirmations,
    },
    Plant {
        name: "member-stays",
        effect: "redis, the end of a process: it stays in the register, and confirmations wait for it",
        breaks: &[Deadline],
        adapt_plan: orderly_exit,
    },
    Plant {
        name: "proof-in-another-mode",
        effect: "redis, the echo: the key is read without `NOLOOP`, so a server that pushes nothing under it is believed",
        breaks: &[Bound],
        adapt_plan: untracked_under_noloop,
    },
    Plant {
        name: "proof-by-command",
        effect: "redis, the echo: the key is read by a command, so a server that pushes nothing about keys that scripts read is believed",
        breaks: &[Bound],
        adapt_plan: untracked_in_scripts,
    },
    Plant {
        name: "mark-by-type",
        effect: "core, the text of a part: a string that reads as a number is marked as one unless its type is a known string",
        breaks: &[Fence],
        adapt_plan: tags,
    },
    Plant {
        name: "value-tag-unescaped",
        effect: "core, the tags of a value: their parts are not escaped, those of an invalidation are",
        breaks: &[Fence],
        adapt_plan: tags,
    },
    Plant {
        name: "tag-kept-for-load",
        effect: "core and redis: the generation of a tag is kept for as long as a lease, and not for as long as the value",
        breaks: &[OneLoad],
        adapt_plan: read_only,
    },
    Plant {
        name: "absence-written",
        effect: "core, the guard of a codec: `Some(None)` is passed on to JSON, which writes it as `null`",
        breaks: &[Answers],
        adapt_plan: quiet,
    },
    Plant {
        name: "version-not-in-key",
        effect: "core, the hash of a key: without the function and its version, which share flights and entries then",
        breaks: &[Answers],
        adapt_plan: two_versions,
    },
];

/// Short run without faults. Most keys stay unchanged for a while.
fn quiet(plan: &mut Plan) {
    plan.operations = 50_000;
    plan.time_limit = Some(Duration::from_secs(6));
    plan.faults = FaultMix { calm: (100, 300), longest: 1_500, ..FaultMix::NONE };
    plan.settings.bound = 200;
    plan.settings.grace = 300;
    plan.mix.write = 20_000;
    plan.mix.seasons = [1, 1, 4];
}

/// Plan in which most loads are slow, and overlap the invalidations.
fn slow_loads(plan: &mut Plan) {
    quiet(plan);
    plan.tasks = 16;
    plan.mix.write = 30_000;
    plan.mix.slow = 500_000;
    plan.mix.very_slow = 150_000;
}

/// Plan in which all loads are longer than a lease, and always have callers that wait for them.
///
/// The time between two writes of a key is enough for more than one load. So most loads have no possible
/// cause but the end of a lease.
fn long_loads(plan: &mut Plan) {
    quiet(plan);
    plan.operations = u64::MAX;
    plan.roles = Some(Roles { writes: 10, reader_delay: 0 });
    (plan.rate, plan.tasks) = (4_000, 24);
    plan.mix = Mix { very_slow: 1_000_000, slow: 0, fail: 0, panic: 0, ..plan.mix };
    plan.faults = FaultMix::NONE;
}

fn tags(plan: &mut Plan) {
    slow_loads(plan);
    plan.mix.forms = [10, 80, 0, 0];
}

fn patterns(plan: &mut Plan) {
    slow_loads(plan);
    plan.mix.forms = [10, 0, 80, 0];
}

fn flushes(plan: &mut Plan) {
    quiet(plan);
    plan.mix.write = 4_000;
    plan.faults.flush = 1;
}

/// Plan in which replies and pushes arrive together.
fn slow_connections(plan: &mut Plan) {
    quiet(plan);
    plan.settings.bound = 100;
    plan.mix.write = 30_000;
    plan.faults = FaultMix { slow: 1, calm: (10, 50), ..plan.faults };
}

/// Plan in which one worker writes a key again and again, and loads of the other workers are held.
///
/// Half of these loads end after such a write was acknowledged, and before their processes are notified. A
/// call of the key begins just then.
fn held_loads(plan: &mut Plan) {
    quiet(plan);
    plan.operations = u64::MAX;
    plan.settings.bound = 100;
    plan.roles = Some(Roles { writes: 25, reader_delay: 8 });
    plan.only_key = Some(1);
    (plan.rate, plan.tasks, plan.burst) = (2_000, 16, 1);
    // The other half is stored, so that no caller waits for long.
    plan.mix = Mix { slow: 0, very_slow: 0, fail: 0, panic: 0, held: 500_000, ..plan.mix };
    plan.faults = FaultMix::NONE;
}

/// Plan like [`held_loads`], but the server pushes no changes.
///
/// Otherwise the push comes before the reply to the fill, and makes the followers start over.
fn held_loads_without_pushes(plan: &mut Plan) {
    held_loads(plan);
    plan.roles = Some(Roles { writes: 25, reader_delay: 0 });
    plan.default_mode = Mode::DropPushes;
}

/// Plan like [`held_loads`], with a key that each process loads for itself.
///
/// So most loads run beside the lease of another load.
fn held_loads_beside(plan: &mut Plan) {
    held_loads(plan);
    plan.only_key = Some(5);
}

/// Plan in which connections go silent for longer than the grace.
fn silence(plan: &mut Plan) {
    quiet(plan);
    plan.mix.write = 6_000;
    plan.faults = FaultMix { swallow: 2, refuse: 1, redis_freeze: 1, longest: 1_500, ..plan.faults };
}

/// Plan in which all connections go silent at once, and then another program writes and deletes all keys.
///
/// The workers only read, so all of them have the keys in memory by then. There is no grace. A watermark that
/// advances too early is ahead by the rest of a heartbeat interval at most. So the bound, which determines
/// the interval, is long, and each worker is at another point of its interval.
fn silence_for_all(plan: &mut Plan) {
    quiet(plan);
    plan.operations = u64::MAX;
    plan.time_limit = Some(Duration::from_secs(8));
    plan.settings.bound = 1_000;
    plan.settings.grace = 0;
    plan.rate = 4_000;
    plan.mix = plan.mix.reading();
    plan.faults = FaultMix { silence: 1, calm: (500, 900), longest: 1_500, ..FaultMix::NONE };
}

fn reconnects(plan: &mut Plan) {
    quiet(plan);
    plan.mix.write = 6_000;
    plan.faults = FaultMix { reset: 1, refuse: 2, longest: 500, calm: (500, 900), ..plan.faults };
}

/// Plan in which workers are cut off and write.
fn undelivered(plan: &mut Plan) {
    quiet(plan);
    plan.faults = FaultMix { refuse: 1, swallow: 1, longest: 800, ..plan.faults };
}

/// Plan like [`undelivered`], but the workers can read.
fn undelivered_with_reads(plan: &mut Plan) {
    quiet(plan);
    plan.faults = FaultMix { deny_delete: 1, longest: 800, ..plan.faults };
}

fn confirmations(plan: &mut Plan) {
    quiet(plan);
    plan.mix.confirmed = 500_000;
    plan.mix.write = 8_000;
    plan.faults = FaultMix { very_slow: 2, swallow: 1, calm: (50, 100), ..plan.faults };
}

/// Plan in which one worker ends in order and is replaced, while others ask for confirmations.
///
/// The grace is long: a process that did not deregister may serve for longer than a confirmation may take,
/// even if the machine is late now and then.
fn orderly_exit(plan: &mut Plan) {
    quiet(plan);
    plan.operations = u64::MAX;
    plan.time_limit = Some(Duration::from_millis(5_800));
    plan.settings.grace = 8_000;
    plan.rate = 4_000;
    plan.mix.confirmed = 1_000_000;
    plan.mix.write = 4_000;
    plan.faults = FaultMix { worker_leave: 1, calm: (3_000, 3_400), ..FaultMix::NONE };
}

/// Plan in which the server pushes no changes while `NOLOOP` is on.
fn untracked_under_noloop(plan: &mut Plan) {
    quiet(plan);
    plan.default_mode = Mode::UntrackedUnderNoLoop;
    plan.faults = FaultMix::NONE;
}

/// Plan in which the server pushes no changes of keys that scripts read.
fn untracked_in_scripts(plan: &mut Plan) {
    untracked_under_noloop(plan);
    plan.default_mode = Mode::UntrackedInScripts;
}

/// Plan in which everything is loaded once, and no other load has a cause.
fn read_only(plan: &mut Plan) {
    quiet(plan);
    plan.operations = u64::MAX;
    plan.rate = 4_000;
    plan.mix = Mix { fail: 0, panic: 0, ..plan.mix.reading() };
    plan.faults = FaultMix::NONE;
}

/// Plan with only the key that belongs to two versions of a function.
fn two_versions(plan: &mut Plan) {
    quiet(plan);
    (plan.keys, plan.only_key) = (12, Some(9));
    plan.rate = 4_000;
    plan.faults = FaultMix::NONE;
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique_and_each_breaks_something() {
        let names: HashSet<_> = PLANTS.iter().map(|plant| plant.name).collect();
        assert_eq!(names.len(), PLANTS.len());
        assert!(PLANTS.iter().all(|plant| !plant.breaks.is_empty()));
        assert_eq!(find("no-replay").map(|plant| plant.name), Some("no-replay"));
        assert!(find("nothing").is_none());
    }

    #[test]
    fn shared_plan_is_named_after_first_bug() {
        let first = |name| find(name).map(Plant::first_with_same_plan);
        assert_eq!(first("fill-without-lease-compare"), Some("fill-without-lease-compare"));
        assert_eq!(first("token-per-client"), Some("fill-without-lease-compare"));
        assert_eq!(first("l1-fill-before-verdict"), Some("l1-fill-before-verdict"));
        assert_ne!(first("followers-take-rejected-value"), first("l1-fill-before-verdict"));
    }
}
