//! The slot map: which server holds which slots.

use std::sync::Arc;

use redis::Value;

use super::slots::SLOTS;
use crate::connect::settings::Addresses;

/// Address of a server, as `host:port`.
pub(crate) type Address = Arc<str>;

/// The slot map, as reported by one of the servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotMap {
    /// Cluster epoch of the map; of two maps, the one with the greater epoch is later.
    epoch: u64,
    ranges: Vec<Range>,
}

/// A range of consecutive slots.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    address: Address,
    /// Node ID of the server.
    id: String,
}

impl SlotMap {
    /// Parses the reply to `CLUSTER SLOTS`.
    ///
    /// A server that does not know its own host has the address at which it was queried (`queried_host`).
    pub(crate) fn parse(
        epoch: u64,
        reply: &Value,
        queried_host: &str,
        addresses: &Addresses,
    ) -> Option<Self> {
        let Value::Array(rows) = reply else { return None };
        let mut ranges =
            rows.iter().map(|row| Range::parse(row, queried_host, addresses)).collect::<Option<Vec<_>>>()?;
        ranges.sort_by_key(|range| range.first);
        // A slot with two owners has none that could be queried, so this is no valid map.
        ranges.is_sorted_by(|one, next| one.last < next.first).then_some(Self { epoch, ranges })
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the number of slots that have an owner.
    pub(crate) fn slot_count(&self) -> usize {
        self.ranges.iter().map(|range| usize::from(range.last - range.first) + 1).sum()
    }

    /// Returns the server that holds a slot.
    pub(crate) fn owner(&self, slot: u16) -> Option<&Address> {
        let after = self.ranges.partition_point(|range| range.first <= slot);
        let range = self.ranges[..after].last()?;
        (slot <= range.last).then_some(&range.address)
    }

    /// Returns all servers that hold slots, each once.
    pub(crate) fn owners(&self) -> Vec<Address> {
        let mut owners: Vec<Address> = self.ranges.iter().map(|range| range.address.clone()).collect();
        owners.sort();
        owners.dedup();
        owners
    }

    /// Returns the slots of the server with this node ID.
    pub(crate) fn slots_of_node(&self, id: &str) -> SlotSet {
        let own = self.ranges.iter().filter(|range| range.id == id);
        SlotSet(own.map(|range| (range.first, range.last)).collect())
    }
}

impl Range {
    fn parse(row: &Value, queried_host: &str, addresses: &Addresses) -> Option<Self> {
        let Value::Array(row) = row else { return None };
        let [first, last, Value::Array(server), ..] = &row[..] else { return None };
        let [host, port, id, ..] = &server[..] else { return None };
        let host = text(host).filter(|host| !host.is_empty() && host != "?");
        let port = number(port)?;
        let address = addresses.resolve(host.as_deref().unwrap_or(queried_host), port).into();
        let (first, last) = (number(first)?, number(last)?);
        (first <= last && last < SLOTS).then_some(Self { first, last, address, id: text(id)? })
    }
}

/// The slots that one server holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotSet(Vec<(u16, u16)>);

impl SlotSet {
    pub(crate) fn contains(&self, slot: u16) -> bool {
        self.0.iter().any(|&(first, last)| (first..=last).contains(&slot))
    }

    /// Returns whether this set contains all slots of `other`.
    pub(crate) fn contains_all(&self, other: &Self) -> bool {
        other.0.iter().all(|&(first, last)| (first..=last).all(|slot| self.contains(slot)))
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u16> {
    let Value::Int(number) = value else { return None };
    u16::try_from(*number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rows: &[(i64, i64, &str)]) -> Option<SlotMap> {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let row = |&(first, last, host): &(i64, i64, &str)| {
            let server = Value::Array(vec![bulk(host), Value::Int(7000), bulk(&format!("id of {host}"))]);
            Value::Array(vec![Value::Int(first), Value::Int(last), server])
        };
        SlotMap::parse(1, &Value::Array(rows.iter().map(row).collect()), "asked", &Addresses::default())
    }

    fn map(rows: &[(i64, i64, &str)]) -> SlotMap {
        read(rows).unwrap()
    }

    #[test]
    fn slot_map_returns_the_reported_owner_of_each_slot() {
        let map = map(&[(100, 200, "b"), (0, 99, "a"), (300, 16_383, "")]);
        let owner = |slot| map.owner(slot).map(|address| &**address);
        assert_eq!([owner(0), owner(99)], [Some("a:7000"); 2]);
        assert_eq!([owner(100), owner(200)], [Some("b:7000"); 2]);
        assert_eq!([owner(201), owner(299)], [None; 2]);
        assert_eq!([owner(300), owner(16_383)], [Some("asked:7000"); 2]);
        assert_eq!((map.owners().len(), map.slot_count()), (3, 16_285));
    }

    #[test]
    fn slot_sets_of_a_node_can_be_compared() {
        let before = map(&[(0, 99, "a"), (200, 299, "a"), (100, 199, "b")]).slots_of_node("id of a");
        let after = map(&[(0, 98, "a"), (99, 99, "b"), (200, 299, "a")]).slots_of_node("id of a");
        assert!(before.contains_all(&after) && !after.contains_all(&before) && before.contains_all(&before));
        assert!(before.contains(299) && !before.contains(150));
        assert_eq!(map(&[(0, 99, "a")]).slots_of_node("nobody"), SlotSet::default());
    }

    #[test]
    fn slot_map_with_two_owners_of_a_slot_is_rejected() {
        for rows in [
            [(0, 16_383, "a"), (5, 5, "b")],
            [(0, 10, "a"), (10, 20, "b")],
            [(7, 7, "a"), (7, 7, "a")],
            [(3, 9, "a"), (0, 3, "b")],
        ] {
            assert_eq!(read(&rows), None);
        }
        assert_eq!(map(&[(3, 9, "a"), (0, 2, "b")]).slot_count(), 10);
    }

    #[test]
    fn malformed_slot_map_is_rejected() {
        for reply in [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(1), Value::Array(vec![])])]),
        ] {
            assert_eq!(SlotMap::parse(1, &reply, "asked", &Addresses::default()), None);
        }
        let empty = SlotMap::parse(0, &Value::Array(vec![]), "asked", &Addresses::default());
        assert_eq!(empty, Some(SlotMap::default()));
    }
}
