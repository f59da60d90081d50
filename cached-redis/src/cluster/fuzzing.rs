//! Fuzz target for the replies of cluster servers, exported by `crate::fuzzing`.

use std::{collections::BTreeSet, ops::RangeInclusive};

use arbitrary::{Result, Unstructured};
use redis::Value;

use super::{
    map::{SlotMap, SlotSet},
    route, slots,
    slots::SLOTS,
    survey,
};
use crate::{connect::settings::Addresses, fuzzing::value::any_value};

/// Checks the parsers of cluster replies on arbitrary bytes.
///
/// Asserts four properties. In any map parsed from a reply to `CLUSTER SLOTS`, each slot has at most one
/// owner. The slots in any text of `CLUSTER NODES` can be counted. Any redirection leads to an address or to
/// none. Any key has a slot.
///
/// # Panics
/// If one of these properties does not hold.
pub fn cluster_map(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let _ = check_map(&mut input);
    check_texts(&String::from_utf8_lossy(data));
    assert!(slots::slot(data) < SLOTS);
}

fn check_map(input: &mut Unstructured<'_>) -> Result<()> {
    let epoch = input.arbitrary::<u64>()?;
    let reply = if input.ratio(1, 8)? { any_value(input)? } else { rows(input)? };
    let Some(map) = SlotMap::parse(epoch, &reply, "asked", &Addresses::default()) else { return Ok(()) };
    assert_eq!(map.epoch(), epoch);
    let owners: BTreeSet<_> = map.owners().into_iter().collect();
    assert_eq!(owners.len(), map.owners().len(), "an owner stands twice");
    for owner in &owners {
        let (host, port) = owner.rsplit_once(':').expect("host and port");
        assert!(!host.is_empty() && port.parse::<u16>().is_ok(), "no address");
    }
    let ranges = slot_ranges(&reply);
    let count = ranges.iter().map(|range| range.clone().count()).sum::<usize>();
    assert_eq!(map.slot_count(), count);
    assert!(count <= usize::from(SLOTS), "a slot is counted twice");
    assert_eq!(map.owner(SLOTS), None);
    // Each slot with an owner is held by exactly one node ID.
    let slot_sets: Vec<SlotSet> = node_ids(&reply).iter().map(|id| map.slots_of_node(id)).collect();
    let ends = ranges.iter().flat_map(|range| [*range.start(), *range.end(), range.end() + 1]);
    for slot in (0..SLOTS).step_by(509).chain(ends) {
        let is_owned = ranges.iter().any(|range| range.contains(&slot));
        assert_eq!(map.owner(slot).is_some_and(|owner| owners.contains(owner)), is_owned, "slot {slot}");
        let holders = slot_sets.iter().filter(|slots| slots.contains(slot)).count();
        assert_eq!(holders, usize::from(map.owner(slot).is_some()), "held by {holders}");
    }
    assert!(
        slot_sets.iter().all(|slots| slots.contains_all(slots) && slots.contains_all(&SlotSet::default()))
    );
    Ok(())
}

fn check_texts(text: &str) {
    if let Some(summary) = survey::own_summary(text) {
        assert!(survey::slots_in_summary(&summary) <= usize::from(SLOTS) * summary.len());
    }
    survey::slots_in_summary(text);
    if let Some(address) = route::address(text, "own", &Addresses::default()) {
        assert!(
            address
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        );
    }
}

/// Returns the slot ranges of the rows, for a reply that is a valid map.
fn slot_ranges(reply: &Value) -> Vec<RangeInclusive<u16>> {
    let Value::Array(rows) = reply else { return Vec::new() };
    let number = |value: Option<&Value>| match value {
        Some(Value::Int(number)) => u16::try_from(*number).ok(),
        _ => None,
    };
    let range = |row: &Value| {
        let Value::Array(row) = row else { return None };
        Some(number(row.first())?..=number(row.get(1))?)
    };
    rows.iter().filter_map(range).collect()
}

/// Returns the node IDs in the rows, as the parser of the map accepts them.
fn node_ids(reply: &Value) -> BTreeSet<String> {
    let Value::Array(rows) = reply else { return BTreeSet::new() };
    let node_id = |row: &Value| {
        let Value::Array(row) = row else { return None };
        let Value::Array(server) = row.get(2)? else { return None };
        match server.get(2)? {
            Value::BulkString(id) => String::from_utf8(id.clone()).ok(),
            Value::SimpleString(id) => Some(id.clone()),
            _ => None,
        }
    };
    rows.iter().filter_map(node_id).collect()
}

/// Generates rows as a server sends them, with a few exceptions.
fn rows(input: &mut Unstructured<'_>) -> Result<Value> {
    let count = input.int_in_range(0..=6)?;
    Ok(Value::Array((0..count).map(|_| row(input)).collect::<Result<_>>()?))
}

fn row(input: &mut Unstructured<'_>) -> Result<Value> {
    let first = input.int_in_range(0..=SLOTS)?;
    let length =
        if input.arbitrary()? { input.int_in_range(0..=200)? } else { input.int_in_range(0..=SLOTS)? };
    let host = *input.choose(&["10.0.0.1", "fe80::1", "", "?", "a b", "h:1"])?;
    let port = input.arbitrary::<u16>()?;
    let id = *input.choose(&["one", "two", "three", ""])?;
    let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    let mut server = vec![bulk(host), Value::Int(port.into()), bulk(id)];
    let last = i64::from(first) + i64::from(length);
    let mut row = vec![Value::Int(first.into()), Value::Int(last)];
    match input.int_in_range(0..=19)? {
        0 => row[0] = any_value(input)?,
        1 => row[1] = any_value(input)?,
        2 => server[0] = any_value(input)?,
        3 => server[1] = any_value(input)?,
        4 => server[2] = any_value(input)?,
        5 => server.truncate(input.int_in_range(0..=2)?),
        6 => server.push(any_value(input)?),
        7 => return any_value(input),
        _ => {}
    }
    row.push(Value::Array(server));
    if input.arbitrary()? {
        row.push(any_value(input)?);
    }
    Ok(Value::Array(row))
}
