//! Lookups and fills of large values, which have a connection of their own: nothing small waits behind them.
//!
//! That connection only carries bytes and is not tracked. All guarantees come from the main connection, as
//! for a small value:
//!
//! * **Lookup.** The main connection reads the trailer, and changes of the key are pushed from then on. At
//!   the same time the other one reads the whole string. The revision in the trailer names a fill. If both
//!   have the same revision, the bytes are those that were there when the trailer was read, in whichever
//!   order the two reads ran.
//! * **Fill.** The value is staged under a key of its own. Then a script on the main connection compares the
//!   lease, and renames that key.
//!
//! If two attempts find the same difference between the two connections, these lead to different servers.
//! Then the connection for large values is replaced. A value that does not arrive in time counts as
//! unreadable, so the caller loads it.
//!
//! `lookup` has the steps of a lookup, and these files have the parts:
//!
//! * `head`: the facts that the main connection has about a value.
//! * `reads`: the round trips over both connections.
//! * `beside`: the future that reads over the other connection meanwhile.
//! * `comparison`: the comparison of the two connections.
//!
//! `staging` has the part of a fill that precedes its script.

mod beside;
mod comparison;
mod head;
mod lookup;
mod reads;
mod staging;

pub(super) use self::staging::StagedValue;

/// Size of a large value about which nothing else is known.
pub(super) const UNKNOWN_SIZE: usize = usize::MAX;
