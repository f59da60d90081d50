//! The Lua scripts. Each touches one key only, so it also runs on a cluster.

use std::sync::LazyLock;

use redis::Script;

/// Deletes `KEYS[1]` only while it is exactly `ARGV[1]`; returns how many keys it deleted.
pub(crate) static DELETE_IF: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end \
         return 0",
    )
});

/// Adds `ARGV[1]` to the counter `KEYS[1]`, and lets it expire after `ARGV[2]` milliseconds, if given and if
/// the counter is new. Returns the sum as text: a number of Lua is exact only up to 2^53.
pub(crate) static INCR: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local new = redis.call('EXISTS', KEYS[1]) == 0 \
         redis.call('INCRBY', KEYS[1], ARGV[1]) \
         if new and ARGV[2] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end \
         return redis.call('GET', KEYS[1])",
    )
});
