//! The models. Each prints to stderr how many executions it explored.

macro_rules! models {
    ($($part:ident: $($name:ident)+;)+) => {
        $(mod $part { $(#[test] fn $name() { model::scenario::$part::$name(); })+ })+
    };
}

models! {
    flight:
        two_callers_share_one_load
        three_callers_share_one_load
        invalidation_prevents_storing_older_load
        clear_prevents_storing_older_load
        follower_leads_after_dropped_leader
        followers_lead_in_turn_after_failed_load
        new_leader_may_be_dropped
        panicked_load_is_retried_once
        dropped_follower_leaves_nothing_behind
        circular_wait_of_loads_is_refused;
    epochs:
        entry_read_before_invalidation_is_invalid
        load_sees_invalidation_or_is_superseded
        dropped_epoch_keeps_the_next_one
        reader_that_listens_first_is_woken
        end_of_change_feed_wakes_waiter;
    outbox:
        undelivered_name_is_not_read;
    coherence:
        two_processes_share_one_load
        local_cache_loads_once
        invalidation_holds_in_loading_process
        invalidation_holds_in_other_process
        call_after_invalidation_gets_new_value
        invalidation_removes_cached_value
        set_value_is_not_overwritten_by_older_load
        an_invalidated_tag_holds
        invalidated_value_tag_holds
        failed_load_leaves_no_caller_hanging
        refused_invalidations_are_resent;
}

/// Each of these planted bugs is found by a model. A model that cannot fail proves nothing.
#[cfg(feature = "planted")]
#[test]
fn planted_bugs_are_found() {
    for (bug, test) in [
        ("own-entry-kept", "coherence::invalidation_holds_in_loading_process"),
        ("register-after-read", "coherence::invalidation_holds_in_loading_process"),
        ("unleased-fill", "coherence::invalidation_holds_in_other_process"),
        ("lease-ignored", "coherence::two_processes_share_one_load"),
        ("token-per-client", "coherence::invalidation_removes_cached_value"),
        ("tag-generation-after-load", "coherence::an_invalidated_tag_holds"),
        ("tag-adopted-unasked", "coherence::invalidated_value_tag_holds"),
        ("no-replay", "coherence::refused_invalidations_are_resent"),
        ("untold-name-read", "outbox::undelivered_name_is_not_read"),
    ] {
        let itself = std::env::current_exe().expect("a test has a path");
        let run = std::process::Command::new(itself)
            .args(["--exact", test])
            .env("CACHED_ASIDE_PLANT", bug)
            .env("RUST_BACKTRACE", "0")
            .output()
            .expect("it starts");
        assert!(!run.status.success(), "{test} does not find {bug}");
    }
}
