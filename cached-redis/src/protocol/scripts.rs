//! The Lua scripts.
//!
//! Each script touches at most one key, or two of one slot, so that it also runs on a cluster.
//!
//! * `LEASE`, `RENEW`, `FILL`, `FILL_LARGE`, `RELEASE` and `FAIL` are the steps of a load. All but the first
//!   compare the token under the key. This is the fence: an invalidation removes the key and with it the
//!   lease, so an overtaken load stores nothing.
//! * `SEED_GENERATION` and `KEEP_GENERATION` maintain the generations of tags, `INCR` is a counter.
//! * `REGISTER` registers a process, `RAISE_BARRIER` raises a barrier, and `LEAST_HANDLED` reads the
//!   acknowledgements.
//! * `EVICTED` and `TOPOLOGY` query the state of the server.
//!
//! Invariant: every script that leaves an entry under a key for its caller reads the key again at its end. A
//! client's own write ends its tracking of the key, and with `NOLOOP` the client is not even notified. Every
//! key that a script reads is tracked.

use std::sync::LazyLock;

/// A script, and the hash by which a server that has seen it runs it.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) source: &'static str,
    pub(crate) hash: String,
}

impl Script {
    pub(crate) fn new(source: &'static str) -> Self {
        Self { source, hash: redis::Script::new(source).get_hash().to_owned() }
    }
}

/// Defines a script that begins by reading the server's clock, in milliseconds.
macro_rules! timed {
    ($($source:expr),+ $(,)?) => {
        LazyLock::new(|| Script::new(concat!(
            "local time = redis.call('TIME') ",
            "local now = time[1] * 1000 + math.floor(time[2] / 1000) ",
            $($source),+
        )))
    };
}

/// Defines a script that begins by parsing the record under its key.
///
/// The script can write the trailer. The layout is the one of `record.rs`.
macro_rules! on_record {
    ($($source:expr),+ $(,)?) => {
        timed!(
            "local key, none, magic = KEYS[1], string.rep('\\0', 8), '\\255aside\\2' ",
            "local size = redis.call('STRLEN', key) ",
            "local tail = redis.call('GETRANGE', key, -48, -1) ",
            "local ours = #tail == 48 and string.byte(tail, 41) <= 4 and string.sub(tail, 42) == magic ",
            "local state, stamp, token, ends, value_ends = 0, none, '', 0, none ",
            "if ours then ",
            "  state, stamp, token = string.byte(tail, 41), string.sub(tail, 25, 32), string.sub(tail, 1, 16) ",
            "  ends, value_ends = struct.unpack('>I8', string.sub(tail, 17, 24)), string.sub(tail, 33, 40) ",
            "end ",
            "local is_leased = state == 1 or state == 3 ",
            // The bytes before the trailer of an error are its note.
            "local has_value = size > 0 and (not ours or state ~= 4 and (size > 48 or stamp ~= none)) ",
            // An expired value may still be stored because of a lease.
            "local function value_left() return struct.unpack('>I8', value_ends) - now end ",
            "if value_ends ~= none and value_left() <= 0 then has_value, stamp, value_ends = false, none, none end ",
            "local function trailer(token, ends, state) ",
            "  return token .. struct.pack('>I8', ends) .. stamp .. value_ends .. string.char(state) .. magic ",
            "end ",
            // The expiry of the key does not change.
            "local function write(trailer) ",
            "  if ours then redis.call('SETRANGE', key, size - 48, trailer) ",
            "  else redis.call('APPEND', key, trailer) end ",
            "end ",
            // If the value ends before its lease, the lease would expire with it. So the key of such a value
            // lives longer, and the trailer records when the value ends.
            "local function hold(token, state, lease) ",
            "  local left = redis.call('PTTL', key) ",
            "  if has_value and left >= 0 and left <= tonumber(lease) then ",
            "    if value_ends == none then value_ends = struct.pack('>I8', now + left) end ",
            "    redis.call('PEXPIRE', key, lease) ",
            "  end ",
            "  local mine = trailer(token, now + lease, state) ",
            "  if has_value then write(mine) else redis.call('SET', key, mine, 'PX', lease) end ",
            "  redis.call('STRLEN', key) ",
            "end ",
            $($source),+
        )
    };
}

/// Takes a lease on `KEYS[1]` for the token `ARGV[1]` and `ARGV[2]` milliseconds.
///
/// `ARGV[3]` is the mode. `free` requires that there is neither a value nor another lease. `over` requires
/// that there is no other lease, and no value except the one with the revision `ARGV[4]`. `force` requires
/// nothing. Returns 0 if the caller has the lease, -1 if there is a value that the caller does not know, and
/// otherwise the remaining milliseconds of another lease.
pub(crate) static LEASE: LazyLock<Script> = on_record!(
    "local take = ARGV[3] ",
    "if take ~= 'force' then ",
    "  if has_value and (take == 'free' or stamp ~= ARGV[4]) then return -1 end ",
    "  if is_leased and token ~= ARGV[1] and ends > now then return math.max(1, ends - now) end ",
    "end ",
    // State 3 shows waiting processes that this lease follows a load with nothing to share.
    "hold(ARGV[1], (state == 2 or state == 3) and 3 or 1, ARGV[2]) ",
    "return 0",
);

/// Stores the value `ARGV[2]` under `KEYS[1]`, if the lease of the token `ARGV[1]` exists.
///
/// The value gets the revision `ARGV[4]` and a lifetime of `ARGV[3]` milliseconds. Returns whether the lease
/// existed.
pub(crate) static FILL: LazyLock<Script> = on_record!(
    "if not is_leased or token ~= ARGV[1] then return 0 end ",
    "stamp, value_ends = ARGV[4], struct.pack('>I8', now + ARGV[3]) ",
    "redis.call('SET', key, ARGV[2] .. trailer(none .. none, 0, 0), 'PX', ARGV[3]) ",
    "redis.call('STRLEN', key) ",
    "return 1",
);

/// Stores a value as [`FILL`] does, by renaming `KEYS[2]`.
///
/// The string under `KEYS[2]` has room for a trailer, and is `ARGV[2]` bytes long with that. Returns -1 if it
/// is not.
pub(crate) static FILL_LARGE: LazyLock<Script> = on_record!(
    "local apart = KEYS[2] ",
    "if not is_leased or token ~= ARGV[1] then redis.call('DEL', apart) return 0 end ",
    "if redis.call('STRLEN', apart) ~= tonumber(ARGV[2]) then return -1 end ",
    "stamp, value_ends = ARGV[4], struct.pack('>I8', now + ARGV[3]) ",
    "redis.call('SETRANGE', apart, ARGV[2] - 48, trailer(none .. none, 0, 0)) ",
    "redis.call('RENAME', apart, key) ",
    "redis.call('PEXPIRE', key, ARGV[3]) ",
    "redis.call('STRLEN', key) ",
    "return 1",
);

/// Renews the lease of the token `ARGV[1]` on `KEYS[1]`.
///
/// The lease then ends `ARGV[2]` milliseconds from now. Returns whether it existed.
pub(crate) static RENEW: LazyLock<Script> = on_record!(
    "if not is_leased or token ~= ARGV[1] then return 0 end ",
    "hold(token, state, ARGV[2]) ",
    "return 1",
);

/// Releases the lease of the token `ARGV[1]` on `KEYS[1]`, and returns whether it existed.
///
/// If `ARGV[2]` is `failed` and there is no value, the key holds the state 2, nothing to share, for a second.
pub(crate) static RELEASE: LazyLock<Script> = on_record!(
    "if not is_leased or token ~= ARGV[1] then return 0 end ",
    "local idle = none .. none ",
    "if has_value then ",
    "  write(trailer(idle, 0, 0)) ",
    // Without a lease, the key need not outlive the value.
    "  if value_ends ~= none and redis.call('PTTL', key) > value_left() then ",
    "    redis.call('PEXPIRE', key, value_left()) ",
    "  end ",
    "elseif ARGV[2] == 'failed' then redis.call('SET', key, trailer(idle, 0, 2), 'PX', 1000) ",
    "else redis.call('DEL', key) end ",
    "redis.call('STRLEN', key) ",
    "return 1",
);

/// Releases a lease as [`RELEASE`] does, after a load that ended in an error.
///
/// If there is no value, the key holds the note `ARGV[2]` for `ARGV[3]` milliseconds.
pub(crate) static FAIL: LazyLock<Script> = on_record!(
    "if not is_leased or token ~= ARGV[1] then return 0 end ",
    "local idle = none .. none ",
    "if has_value then write(trailer(idle, 0, 0)) ",
    "else redis.call('SET', key, ARGV[2] .. trailer(idle, 0, 4), 'PX', ARGV[3]) end ",
    "redis.call('STRLEN', key) ",
    "return 1",
);

/// Returns the generation of the tag `KEYS[1]`, and sets it to `ARGV[1]` if there is none.
///
/// The generation is kept for at least `ARGV[2]` milliseconds from now on. If it is new, or would expire
/// earlier, it is kept for `ARGV[3]`. That time is longer, so that such writes are rare, because each of them
/// is pushed to the clients that track the tag.
pub(crate) static SEED_GENERATION: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local key = KEYS[1] \
         local generation = redis.call('GET', key) \
         if not generation or #generation ~= 16 or string.find(generation, '%X') then \
           generation = ARGV[1] \
           redis.call('SET', key, generation, 'PX', ARGV[3]) \
         else \
           local left = redis.call('PTTL', key) \
           if left >= 0 and left < tonumber(ARGV[2]) then redis.call('PEXPIRE', key, ARGV[3]) end \
         end \
         redis.call('STRLEN', key) \
         return generation",
    )
});

/// Keeps the generation of the tag `KEYS[1]`, if there is one.
///
/// It is kept for at least `ARGV[1]` milliseconds from now on. If it would expire earlier, it is kept for
/// `ARGV[2]`, as in [`SEED_GENERATION`].
pub(crate) static KEEP_GENERATION: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local left = redis.call('PTTL', KEYS[1]) \
         if left >= 0 and left < tonumber(ARGV[1]) then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end \
         redis.call('STRLEN', KEYS[1]) \
         return left",
    )
});

/// Adds `ARGV[1]` to the counter `KEYS[1]`, and returns the sum.
///
/// A new counter expires after `ARGV[2]` milliseconds, if given. The sum is returned as text, because a
/// number in Lua is exact only up to 2^53.
pub(crate) static INCR: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local new = redis.call('EXISTS', KEYS[1]) == 0 \
         redis.call('INCRBY', KEYS[1], ARGV[1]) \
         if new and ARGV[2] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end \
         return redis.call('GET', KEYS[1])",
    )
});

/// Registers the member `ARGV[1]` in the hash `KEYS[1]`, and returns the time as `TIME` does.
///
/// The member may serve for `ARGV[2]` milliseconds, and has handled all changes up to the barrier `ARGV[3]`.
/// If it should have been registered before (`ARGV[4]` is 1) and was not, other members may be missing as
/// well, and the field `lost` records since when. The hash is kept for `ARGV[5]` milliseconds from now on if
/// `ARGV[6]` is 1, or if the member is new.
///
/// A new member removes those that have had no right to serve for a minute. So the registry does not grow
/// with every process that ever existed. Otherwise the script reads nothing: a client that reads the hash
/// gets a push of its next change, which is the next heartbeat of any member.
pub(crate) static REGISTER: LazyLock<Script> = timed!(
    "local until_ms = string.format('%.0f', now + ARGV[2]) ",
    "local is_new = redis.call('HSET', KEYS[1], ARGV[1], until_ms .. ':' .. ARGV[3]) ",
    "if is_new == 1 then ",
    "  local members = redis.call('HGETALL', KEYS[1]) ",
    "  for i = 1, #members, 2 do ",
    "    local ended = tonumber(string.match(members[i + 1], '^(%d+):')) ",
    "    if ended and ended + 60000 < now then redis.call('HDEL', KEYS[1], members[i]) end ",
    "  end ",
    "end ",
    "if is_new == 1 and ARGV[4] == '1' then ",
    "  redis.call('HSET', KEYS[1], 'lost', string.format('%.0f', now)) ",
    "end ",
    "if is_new == 1 or ARGV[6] == '1' then redis.call('PEXPIRE', KEYS[1], ARGV[5]) end ",
    "return time",
);

/// Raises the barrier number `KEYS[1]` above any earlier one, and returns it.
///
/// The key is kept for `ARGV[1]` milliseconds. The number follows the clock, in microseconds, so that it does
/// not restart when the key was lost.
pub(crate) static RAISE_BARRIER: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME') \
         local last = tonumber(redis.call('GET', KEYS[1]) or 0) or 0 \
         local next = math.max(last + 1, time[1] * 1000000 + time[2]) \
         redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', ARGV[1]) \
         redis.call('STRLEN', KEYS[1]) \
         return next",
    )
});

/// Returns the least barrier number that any other member has handled, as text.
///
/// Members are those in the hash `KEYS[1]` that may still serve. The number is very large if there are none.
/// Members with the prefix `ARGV[1]` belong to the caller. `ARGV[2]` is the one of them that is present
/// unless the registry was lost. If it is missing, the other members are unknown, and the number is 0. A
/// process that was registered before the loss has handled nothing, and may serve for `ARGV[3]` milliseconds
/// after the loss.
pub(crate) static LEAST_HANDLED: LazyLock<Script> = timed!(
    "local own, expected, reach = ARGV[1], ARGV[2], tonumber(ARGV[3]) ",
    "local fields = redis.call('HGETALL', KEYS[1]) ",
    "local is_there, slowest = expected == '', 9007199254740991 ",
    "for i = 1, #fields, 2 do ",
    "  local id, value = fields[i], fields[i + 1] ",
    "  if id == expected then is_there = true end ",
    "  if string.sub(id, 1, #own) ~= own then ",
    "    local ends, handled = string.match(value, '^(%d+):(%d+)$') ",
    "    if id == 'lost' and string.match(value, '^%d+$') then ends, handled = value + reach, 0 end ",
    "    if ends and tonumber(ends) >= now then slowest = math.min(slowest, tonumber(handled)) end ",
    "  end ",
    "end ",
    "if not is_there then slowest = 0 end ",
    "return string.format('%.0f', slowest)",
);

/// Returns the number of keys that the server has evicted, as text.
///
/// Returns `full` instead if the server tracks half of its default maximum of keys, because it may come to
/// forget some. The script touches no key.
pub(crate) static EVICTED: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local stats = redis.call('INFO', 'stats') \
         local tracked = string.match(stats, 'tracking_total_keys:(%d+)') \
         if tracked and tonumber(tracked) >= 500000 then return 'full' end \
         return string.match(stats, 'evicted_keys:(%d+)')",
    )
});

/// Returns the state of the cluster, its epoch, and a digest of the slot map.
///
/// The state is the one that the server sees. Another digest means another map. The script touches no key, so
/// a server that is cut off runs it as well.
#[cfg(feature = "cluster")]
pub(crate) static TOPOLOGY: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local names = {} \
         for _, range in ipairs(redis.call('CLUSTER', 'SLOTS')) do \
           local server = tostring(range[3][1]) .. ':' .. range[3][2] .. ' ' .. range[3][3] \
           names[#names + 1] = range[1] .. '-' .. range[2] .. ' ' .. server \
         end \
         local info = redis.call('CLUSTER', 'INFO') \
         local epoch = string.match(info, 'cluster_current_epoch:(%d+)') \
         local state = string.match(info, 'cluster_state:(%a+)') \
         return {state, epoch, redis.sha1hex(epoch .. table.concat(names, ','))}",
    )
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::record::{MAGIC, TRAILER};

    /// Returns the result of [`LEAST_HANDLED`] on these fields, for the member prefix `me.`.
    fn least_handled(fields: &[(&str, &str)], expected: &str, reach: &str) -> String {
        let server = redis_harness::RedisServer::start();
        let clock: u64 = server.cli(&["TIME"]).split('\n').next().unwrap().parse().unwrap();
        for (field, value) in fields {
            let value = value.replace("PAST", &format!("{}", (clock - 60) * 1000));
            server.cli(&[
                "HSET",
                "members",
                field,
                &value.replace("SOON", &format!("{}", (clock + 60) * 1000)),
            ]);
        }
        server.cli(&["EVAL", LEAST_HANDLED.source, "1", "members", "me.", expected, reach])
    }

    #[test]
    fn least_handled_script_ignores_members_that_may_not_serve() {
        const NO_MEMBER: &str = "9007199254740991";
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str);
        let cases: [Case<'_>; 10] = [
            (&[("me.1", "SOON:0")], "me.1", NO_MEMBER),
            (
                &[("me.1", "SOON:0"), ("a", "SOON:7"), ("b", "PAST:0"), ("c", "SOON:1700000000000001")],
                "me.1",
                "7",
            ),
            (
                &[("me.1", "SOON:0"), ("me.2", "SOON:0"), ("c", "SOON:1700000000000001")],
                "me.1",
                "1700000000000001",
            ),
            // The registry was lost, and its other members are unknown.
            (&[], "me.1", "0"),
            (&[("a", "SOON:7")], "me.1", "0"),
            (&[], "", NO_MEMBER),
            (&[("me.1", "SOON:0"), ("lost", "PAST")], "me.1", NO_MEMBER),
            (&[("me.1", "SOON:0"), ("lost", "SOON")], "me.1", "0"),
            // A field that cannot be parsed is no member.
            (&[("me.1", "SOON:0"), ("a", ""), ("b", "x:y"), ("c", "SOON"), ("lost", "x")], "me.1", NO_MEMBER),
            (&[("me.1", "SOON:0"), ("d", "SOON:9:9"), ("e", "-1:5")], "me.1", NO_MEMBER),
        ];
        for (fields, expected, result) in cases {
            assert_eq!(least_handled(fields, expected, "100"), result, "{fields:?}");
        }
        // Lost a minute ago, with a reach of two minutes.
        assert_eq!(least_handled(&[("me.1", "SOON:0"), ("lost", "PAST")], "me.1", "120000"), "0");
    }

    #[test]
    fn scripts_and_record_agree_on_layout() {
        assert_eq!((TRAILER, MAGIC), (48, b"\xffaside\x02"));
        for script in [&LEASE, &FILL, &FILL_LARGE, &RENEW, &RELEASE, &FAIL] {
            assert!(script.source.contains(r"magic = KEYS[1], string.rep('\0', 8), '\255aside\2'"));
            assert!(script.source.contains("'GETRANGE', key, -48, -1"));
        }
    }
}
