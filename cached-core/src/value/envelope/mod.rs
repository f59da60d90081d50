//! The bytes that the shared tier holds for one value, version 1.
//!
//! | bytes | field | |
//! |---|---|---|
//! | 1 | version | 1; anything else is not ours to read |
//! | 1 | codec | id of the payload's codec |
//! | 1 | flags | bit 0: the payload is compressed (LZ4 block); bit 1: the value is the empty one (`None`); bit 2: the two fields after `fresh for` are there; bit 3: this is a *stub* (there is no payload, as the tier cannot hold the value); bit 4: the tag count has a second byte, before the tags |
//! | 1 | tag count | *n*, or its lower byte |
//! | 8 | schema | [`schema_fingerprint`] of the value's type |
//! | 16 | check | digest of the full key: which key the value was stored for |
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
//! Integers are little endian. The payload is last, so that JSON is readable at the end of what `redis-cli` shows.
//!
//! A **stub** stands for a value that no codec has a form for, or that is too large: it is watched, invalidated, refreshed and expires as
//! a value does, and each process keeps a value of its own on it.
//!
//! The checksum finds damage, not forgery: who can write to the shared tier can write any value. But no bytes
//! make [`open`] panic, or allocate more than [`Limits`] allow.

mod compress;
mod schema;
#[cfg(test)]
mod tests;
mod unreadable;
mod wire;

pub(crate) use schema::schema_fingerprint;
pub(crate) use unreadable::Unreadable;
pub(crate) use wire::{Expect, Header, Limits, TagGeneration, created_ms, open, seal};
