//! The journal of invalidated tags, for loads that learn their tags only from the value.
//!
//! The journal is a sorted set. Each member is the key of a tag, and its score is the number of the tag's
//! last invalidation. Numbers grow, and follow the server's clock in microseconds, so that old ones can be
//! recognized. The first member is the name of the journal, so that a lost journal is not mistaken for its
//! successor. Its score is the number of the last invalidation that was forgotten.

use std::{sync::LazyLock, time::Duration};

use crate::protocol::scripts::Script;

/// Defines a script that begins by reading the journal.
///
/// `id` is the name of the journal, or nil if there is none.
macro_rules! on_journal {
    ($($source:expr),+ $(,)?) => {
        LazyLock::new(|| Script::new(concat!(
            "local key = KEYS[1] ",
            "local first = redis.pcall('ZRANGE', key, 0, 0, 'WITHSCORES') ",
            // The key has another type, so another program wrote it.
            "if first.err then redis.call('DEL', key) first = {} end ",
            "local id, forgotten = first[1], tonumber(first[2] or 0) ",
            "local function last() return tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]) end ",
            $($source),+
        )))
    };
}

/// Time for which an invalidated tag stays in the journal.
///
/// This is the duration of the longest load that may learn its tags from its value, if tags are invalidated
/// during the load.
const RETENTION: Duration = Duration::from_secs(10 * 60);

/// Maximum number of tags in the journal.
///
/// This allows 400 tags per second. They take about 30 MB in Redis.
const MAX_TAGS: &str = "250000";

/// Returns the position of the journal `KEYS[1]`: its name and a number.
///
/// A new journal gets the name `ARGV[1]`. The journal is kept for `ARGV[2]` milliseconds.
pub(crate) static OPEN: LazyLock<Script> = on_journal!(
    "if not id then id = ARGV[1] redis.call('ZADD', key, 0, id) end ",
    "redis.call('PEXPIRE', key, ARGV[2]) ",
    // A name has 16 characters. The 17th shows a longer one, which another program wrote.
    "return {string.sub(id, 1, 17), last()}",
);

/// Records in the journal `KEYS[1]` that the tags `ARGV[3]`, … are invalid.
///
/// Forgets tags that are older than `ARGV[2]` microseconds, or that exceed `ARGV[1]` in number. One call
/// forgets a bounded number, somewhat more than it adds, and never all at once. Without a journal there is
/// nothing to do, because no load needs it. If the server is too full to record the tags, the journal is
/// deleted: a load that began earlier finds that the answer is unknown.
pub(crate) static APPEND: LazyLock<Script> = on_journal!(
    "if not id then return 0 end ",
    "local time = redis.call('TIME') ",
    "local now = time[1] * 1000000 + time[2] ",
    "local number = last() ",
    "local function note(number, member) ",
    "  local added = redis.pcall('ZADD', key, string.format('%.0f', number), member) ",
    "  if type(added) ~= 'table' or not added.err then return true end ",
    "  redis.call('DEL', key) ",
    "end ",
    "for i = 3, #ARGV do ",
    "  number = math.max(number + 1, now) ",
    "  if not note(number, ARGV[i]) then return 0 end ",
    "end ",
    "local over = redis.call('ZCARD', key) - 1 - ARGV[1] ",
    "local function gone(oldest) ",
    "  local many = 0 ",
    "  for i = 2, #oldest, 2 do ",
    "    if i / 2 > over and tonumber(oldest[i]) > now - ARGV[2] then break end ",
    "    many = i / 2 ",
    "  end ",
    "  return many ",
    "end ",
    "if gone(redis.call('ZRANGE', key, 1, 1, 'WITHSCORES')) == 0 then return 1 end ",
    "local oldest = redis.call('ZRANGE', key, 1, 2 * #ARGV + 100, 'WITHSCORES') ",
    "local many = gone(oldest) ",
    "redis.call('ZREMRANGEBYRANK', key, 1, many) ",
    "if not note(oldest[2 * many], id) then return 0 end ",
    "redis.call('ZCARD', key) ",
    "return 1",
);

/// Returns whether none of the tags `ARGV[3]`, … was invalidated after a position.
///
/// The position is the name `ARGV[1]` and the number `ARGV[2]` in the journal `KEYS[1]`. The answer is also
/// no if the journal has another name, or has forgotten numbers after that one.
pub(crate) static UNCHANGED_SINCE: LazyLock<Script> = on_journal!(
    "local since = tonumber(ARGV[2]) ",
    "if id ~= ARGV[1] or since < forgotten then return 0 end ",
    "for i = 3, #ARGV do ",
    "  local number = redis.call('ZSCORE', key, ARGV[i]) ",
    "  if number and tonumber(number) > since then return 0 end ",
    "end ",
    "return 1",
);

/// Returns the arguments of [`APPEND`].
pub(crate) fn append_args(tags: &[String]) -> Vec<String> {
    [MAX_TAGS.to_owned(), RETENTION.as_micros().to_string()].into_iter().chain(tags.iter().cloned()).collect()
}

/// Returns the arguments of [`UNCHANGED_SINCE`].
pub(crate) fn unchanged_since_args(count: u64, number: u64, tags: &[String]) -> Vec<String> {
    [name(count), number.to_string()].into_iter().chain(tags.iter().cloned()).collect()
}

/// Returns the name of a journal. No key of a tag has this form.
pub(crate) fn name(count: u64) -> String {
    format!("{count:016x}")
}
