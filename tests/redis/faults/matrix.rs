//! The rows of the matrix, in the order of the table.
//!
//! To add a row, write its function, which returns the measurements of an
//! [`Episode`](crate::episode::Episode), and name both here.

use std::{future::Future, sync::LazyLock, thread::available_parallelism};

use crate::{
    access, broken, channel, clocks, cluster, emptied, fleet, frozen, gone, loads, many, poison, refusing,
    runtimes, sizes, slow,
    table::{TableRow, record},
};
use tokio::{runtime::Builder, sync::Semaphore};

/// Limits the rows that run at a time to the number of processors.
///
/// A row compares calls with budgets of milliseconds.
static ROW_PERMITS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, usize::from)));

fn measure(fault: &'static str, row: impl Future<Output = TableRow>) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let row = runtime.block_on(async {
        let _turn = ROW_PERMITS.acquire().await.unwrap();
        row.await
    });
    record(fault, &row);
}

macro_rules! matrix {
    ($($(#[$meta:meta])* $name:ident: $row:path => $fault:literal,)+) => {
        pub(crate) const MATRIX: &[&str] = &[$($(#[$meta])* $fault),+];

        $(
            $(#[$meta])*
            #[test]
            fn $name() {
                measure($fault, Box::pin($row()));
            }
        )+
    };
}

matrix! {
    nothing: slow::no_fault => "nothing, for comparison",
    refused_at_start: gone::refused_at_start => "Redis is not there at the start, and comes later",
    killed: gone::killed => "Redis is killed, and restarted with its data",
    restarted_empty: emptied::restarted => "Redis is restarted, and is empty",
    loading: gone::loading => "Redis is restarted, and takes seconds to load its data (`LOADING`)",
    frozen_before: frozen::before_connecting => "Redis is frozen before anybody has connected, and goes on",
    frozen_after: frozen::after_connecting => "Redis is frozen for seconds, and goes on",
    frozen_without_waiting: frozen::no_call_waits_for_another => "Redis is frozen while no load is under way elsewhere",
    slow_and_jittery: slow::jittery => "Redis answers after 20 to 120 ms",
    half_open: broken::half_open => "half-open connections: what is sent is swallowed",
    torn: broken::torn => "connections are reset in the middle of a reply",
    truncated: broken::truncated => "connections end in the middle of a reply",
    pieces: broken::pieces => "replies come in pieces of 16 bytes",
    full: refusing::full => "Redis is full (`noeviction`)",
    read_only: refusing::read_only => "Redis becomes a replica (`READONLY`)",
    flushed: emptied::flushed => "`FLUSHALL`, again and again",
    password: access::password_rotated => "the password is rotated, and connections are cut",
    user_deleted: access::user_deleted => "the user is deleted (`ACL DELUSER`)",
    no_scripts: access::scripts_forbidden => "the user may not run scripts any more",
    no_tracking: access::tracking_forbidden => "the user may not use `CLIENT TRACKING` any more",
    server_lost: cluster::server_lost => "a server of a cluster is lost, and comes back",
    slots_moved: cluster::slots_moved => "slots of a cluster move, one after the other",
    pushes_dropped: channel::pushes_dropped => "messages about changes are silently dropped",
    untracked_under_noloop: channel::untracked_under_noloop => "the server takes `NOLOOP`, and tells nothing under it",
    untracked_in_scripts: channel::untracked_in_scripts => "the server tells nothing of what scripts have read",
    messages_poisoned: poison::messages => "garbage comes as messages",
    values_poisoned: poison::values => "garbage and foreign types are under our keys",
    clock_steps: clocks::wall_clock_steps => "wall clocks step back and forth",
    server_clock_steps: clocks::server_clock_steps => "the server's clock steps back and forth",
    lease_without_end: clocks::lease_without_end => "the server's clock was put back under the lease of a process that is gone",
    loads_fail: loads::panic_hang_and_lose_callers => "loads panic, hang, fail and are left by their callers",
    runtime_ends: runtimes::connection_runtime_ends => "the runtime of the connection ends; there is another one in the process",
    many_keys: many::keys => "many distinct keys, of which some fail and some are left by their callers",
    large_values: sizes::large_beside_small => "large values are read beside small ones",
    queued_loads: loads::queue_for_permit => "one process has no place for more loads (`max_loads`)",
    orderly_exits: fleet::orderly_exits => "processes end, one after the other",
    fleet: fleet::fifty_processes => "a fleet of 50 processes besides",
}
