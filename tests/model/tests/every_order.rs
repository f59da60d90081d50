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
        no_load_from_before_an_invalidation_is_kept
        no_load_from_before_a_clearing_is_kept
        a_dropped_leader_is_followed_by_another
        after_a_failed_load_each_follower_has_its_turn
        a_follower_that_has_its_turn_may_go_away
        a_load_that_panicked_is_tried_once_more
        a_follower_may_go_away_at_any_time
        loads_do_not_wait_in_a_circle;
    marks:
        what_was_read_before_a_word_does_not_stand_after_it
        a_load_hears_of_a_word_or_is_overtaken
        a_mark_that_is_dropped_leaves_the_next_one
        who_listens_before_he_looks_is_woken
        the_end_of_a_line_is_heard;
    pending:
        what_is_not_told_is_not_read;
    coherence:
        one_load_over_two_processes
        one_load_in_a_cache_alone
        an_invalidation_holds_where_it_was_made
        an_invalidation_holds_elsewhere
        who_calls_after_the_word_gets_the_new_value
        an_invalidation_ends_what_was_there
        a_value_that_was_set_stays
        an_invalidated_tag_holds
        an_invalidated_tag_of_a_value_holds
        a_failed_load_hangs_nobody
        what_could_not_be_told_is_told_in_the_end;
}

/// Each of these planted bugs is found by a model. A model that cannot fail proves nothing.
#[cfg(feature = "planted")]
#[test]
fn planted_bugs_are_found() {
    for (bug, test) in [
        ("own-entry-kept", "coherence::an_invalidation_holds_where_it_was_made"),
        ("register-after-read", "coherence::an_invalidation_holds_where_it_was_made"),
        ("unleased-fill", "coherence::an_invalidation_holds_elsewhere"),
        ("lease-ignored", "coherence::one_load_over_two_processes"),
        ("token-per-client", "coherence::an_invalidation_ends_what_was_there"),
        ("tag-generation-after-load", "coherence::an_invalidated_tag_holds"),
        ("tag-adopted-unasked", "coherence::an_invalidated_tag_of_a_value_holds"),
        ("no-replay", "coherence::what_could_not_be_told_is_told_in_the_end"),
        ("untold-name-read", "pending::what_is_not_told_is_not_read"),
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
