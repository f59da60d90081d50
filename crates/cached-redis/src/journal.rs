//! Which tags were invalidated since when, for values that tell their tags when they are there.
//!
//! The journal is a sorted set: a tag's key, with the number of its last invalidation. Before all of them stands a member
//! that names this journal, so that one which was lost is not taken for the next one.

use std::sync::LazyLock;

use crate::scripts::Script;

/// Begins a script: `id` names the journal, or is nil if there is none.
macro_rules! on_journal {
    ($($source:expr),+ $(,)?) => {
        LazyLock::new(|| Script::new(concat!(
            "local key = KEYS[1] ",
            "local first = redis.pcall('ZRANGE', key, 0, 0) ",
            // Another program's.
            "if first.err then redis.call('DEL', key) first = {} end ",
            "local id = first[1] ",
            "local function last() return tonumber(redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2]) end ",
            $($source),+
        )))
    };
}

/// Tags that are told apart. Before more of them are, those are forgotten that were invalidated first.
const MOST: &str = "10000";

/// How far the journal `KEYS[1]` is: its name and a number. One that is begun is called `ARGV[1]`; it is kept for
/// `ARGV[2]` milliseconds.
pub(crate) static OPEN: LazyLock<Script> = on_journal!(
    "if not id then id = ARGV[1] redis.call('ZADD', key, 0, id) end ",
    "redis.call('PEXPIRE', key, ARGV[2]) ",
    "return {id, last()}",
);

/// Notes in the journal `KEYS[1]` that the tags `ARGV[2]`, … are invalid, and that at most `ARGV[1]` are to be kept. Where
/// there is none, nobody wants to know. If the server is too full for that, there is none any more: whoever began before
/// finds that he cannot know.
pub(crate) static NOTE: LazyLock<Script> = on_journal!(
    "if not id then return 0 end ",
    "local number = last() ",
    "for i = 2, #ARGV do ",
    "  number = number + 1 ",
    "  local added = redis.pcall('ZADD', key, number, ARGV[i]) ",
    "  if type(added) == 'table' and added.err then redis.call('DEL', key) return 0 end ",
    "end ",
    "redis.call('ZREMRANGEBYRANK', key, 1, -1 - ARGV[1]) ",
    "return 1",
);

/// Whether none of the tags `ARGV[4]`, … has been invalidated since the journal `KEYS[1]` was called `ARGV[1]` and was so
/// far as `ARGV[2]` says. It forgets beyond `ARGV[3]`.
pub(crate) static SINCE: LazyLock<Script> = on_journal!(
    "local since = tonumber(ARGV[2]) ",
    "if id ~= ARGV[1] then return 0 end ",
    "if redis.call('ZCARD', key) > tonumber(ARGV[3]) then ",
    "  local oldest = tonumber(redis.call('ZRANGE', key, 1, 1, 'WITHSCORES')[2]) ",
    "  if oldest > since + 1 then return 0 end ",
    "end ",
    "for i = 4, #ARGV do ",
    "  local number = redis.call('ZSCORE', key, ARGV[i]) ",
    "  if number and tonumber(number) > since then return 0 end ",
    "end ",
    "return 1",
);

/// See [`NOTE`].
pub(crate) fn note(tags: &[String]) -> Vec<&str> {
    std::iter::once(MOST).chain(tags.iter().map(String::as_str)).collect()
}

/// See [`SINCE`].
pub(crate) fn since(count: u64, number: u64, tags: &[String]) -> Vec<String> {
    let moment = [name(count), number.to_string(), MOST.to_owned()];
    moment.into_iter().chain(tags.iter().cloned()).collect()
}

/// How the journal is called. No tag's key looks like it.
pub(crate) fn name(count: u64) -> String {
    format!("{count:016x}")
}
