//! The envelope: the bytes that L2 holds for one value, version 1.
//!
//! | bytes | field | content |
//! |---|---|---|
//! | 1 | version | 1; an envelope of another version is not read |
//! | 1 | codec | id of the payload's codec |
//! | 1 | flags | see below |
//! | 1 | tag count | *n*, or its lower byte |
//! | 8 | schema | [`schema_fingerprint`] of the value's type |
//! | 16 | check | second half of the digest of the full key that the value was stored for |
//! | 8 | created | ms since the Unix epoch, by the writer's clock |
//! | 8 | fresh for | ms |
//! | 0 or 8 | stale for | ms after that |
//! | 0 or 8 | spare | ms for which the tier holds it after that |
//! | 0 or 1 | tag count | its upper byte |
//! | *n* × 16 | tags | 8 bytes hash of the tag, 8 bytes its generation |
//! | 4 | payload length | as stored |
//! | 4 | raw length | once decompressed; equal to the payload length if not compressed |
//! | 4 | checksum | CRC-32 (IEEE) of all the bytes before it, then of the payload |
//! | | payload | and nothing after it |
//!
//! | flag | meaning |
//! |---|---|
//! | bit 0 | the payload is compressed (LZ4 block) |
//! | bit 1 | the value is the empty one (`None`) |
//! | bit 2 | the two fields after `fresh for` are there |
//! | bit 3 | this is a *stub*: there is no payload, because the tier cannot hold the value |
//! | bit 4 | the tag count has a second byte, before the tags |
//!
//! Integers are little endian. The payload is last, so that JSON is readable at the end of the output of
//! `redis-cli`.
//!
//! A **stub** stands for a value that no codec has a form for, or that is too large. It is watched,
//! invalidated and refreshed, and expires, as a value does. Each process keeps its own value for as long as
//! the stub is valid.
//!
//! The checksum finds damage, not forgery: a client that can write to L2 can write any value. But no bytes
//! make [`open`] panic, or allocate more than [`Limits`] allow.
//!
//! `wire` reads and writes envelopes, `compress` their payloads. `unreadable` has the reasons why one is not
//! used.

mod compress;
mod schema;
#[cfg(test)]
mod tests;
mod unreadable;
mod wire;

pub(crate) use schema::schema_fingerprint;
pub(crate) use unreadable::Unreadable;
pub(crate) use wire::{Expect, Header, Limits, TagGeneration, created_ms, open, seal};
