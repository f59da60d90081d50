//! Which tags were invalidated since when, for values that tell their tags when they are there.
//!
//! The journal is a sorted set: a tag's key, with the number of its last invalidation. Numbers grow, and follow the server's
//! clock in microseconds, so that what is old can be told. Before all of them stands a member that names this journal, so
//! that one which was lost is not taken for the next one. Its own number is that of the last invalidation which was forgotten.

use std::{sync::LazyLock, time::Duration};

use crate::protocol::scripts::Script;

/// Begins a script: `id` names the journal, or is nil if there is none.
macro_rules! on_journal {
    ($($source:expr),+ $(,)?) => {
        LazyLock::new(|| Script::new(concat!(
            "local key = KEYS[1] ",
            "local first = redis.pcall('ZRANGE', key, 0, 0, 'WITHSCORES') ",
            // Another program's.
            "if first.err then redis.call('DEL', key) first = {} end ",
            "local id, forgotten = first[1], tonumber(first[2] or 0) ",
            "local function last() return tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]) end ",
            $($source),+
        )))
    };
}

/// Tags are told apart for so long: the longest load whose value may tell its tags, if tags are invalidated meanwhile.
const KEPT: Duration = Duration::from_secs(10 * 60);

/// No more tags than this are told apart, which is 400 a second. They take about 30 MB of Redis.
const MOST: &str = "250000";

/// How far the journal `KEYS[1]` is: its name and a number. One that is begun is called `ARGV[1]`; it is kept for
/// `ARGV[2]` milliseconds.
pub(crate) static OPEN: LazyLock<Script> = on_journal!(
    "if not id then id = ARGV[1] redis.call('ZADD', key, 0, id) end ",
    "redis.call('PEXPIRE', key, ARGV[2]) ",
    // A name has 16 characters. Whatever else wrote it may have been longer.
    "return {string.sub(id, 1, 17), last()}",
);

/// Notes in the journal `KEYS[1]` that the tags `ARGV[3]`, … are invalid, and forgets of those that were before `ARGV[2]`
/// microseconds, or are more than `ARGV[1]`, as many as come in and some more: never all at once. Where there is no journal, no
/// load wants to know. If the server is too full for that, there is none any more: a load that began before finds that it
/// cannot know.
pub(crate) static NOTE: LazyLock<Script> = on_journal!(
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

/// Whether none of the tags `ARGV[3]`, … has been invalidated since the journal `KEYS[1]` was called `ARGV[1]` and was so
/// far as `ARGV[2]` says.
pub(crate) static SINCE: LazyLock<Script> = on_journal!(
    "local since = tonumber(ARGV[2]) ",
    "if id ~= ARGV[1] or since < forgotten then return 0 end ",
    "for i = 3, #ARGV do ",
    "  local number = redis.call('ZSCORE', key, ARGV[i]) ",
    "  if number and tonumber(number) > since then return 0 end ",
    "end ",
    "return 1",
);

/// See [`NOTE`].
pub(crate) fn note(tags: &[String]) -> Vec<String> {
    [MOST.to_owned(), KEPT.as_micros().to_string()].into_iter().chain(tags.iter().cloned()).collect()
}

/// See [`SINCE`].
pub(crate) fn since(count: u64, number: u64, tags: &[String]) -> Vec<String> {
    [name(count), number.to_string()].into_iter().chain(tags.iter().cloned()).collect()
}

/// How the journal is called. No tag's key looks like it.
pub(crate) fn name(count: u64) -> String {
    format!("{count:016x}")
}
