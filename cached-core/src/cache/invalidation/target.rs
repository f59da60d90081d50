//! Targets of an invalidation, and the changes that they are in the shared tier.

use crate::{coherence::outbox::OutboxItem, key::entry_key::EntryKey, spec::FunctionSpec};

/// Target of an invalidation.
#[derive(Clone)]
pub(crate) enum InvalidationTarget {
    Entry(FunctionSpec, Box<EntryKey>),
    /// A tag, by its key.
    Tag(String),
    /// A counter, by its name.
    Counter(String),
    /// All names that match this pattern.
    Matching(String),
}

/// Returns the template of the function if the only target is one entry, otherwise an empty string.
pub(super) fn function_of(targets: &[InvalidationTarget]) -> &'static str {
    match targets {
        [InvalidationTarget::Entry(spec, _)] => spec.template(),
        _ => "",
    }
}

/// Returns the changes that a shared tier must receive.
pub(super) fn items_of(targets: &[InvalidationTarget]) -> Vec<OutboxItem> {
    let mut items = Vec::new();
    for target in targets {
        match target {
            InvalidationTarget::Entry(_, entry_key) if entry_key.is_shared => {
                items.push(OutboxItem::Key(entry_key.shared_key.text.clone()));
            }
            InvalidationTarget::Entry(..) => {}
            InvalidationTarget::Tag(key) | InvalidationTarget::Counter(key) => {
                items.push(OutboxItem::Key(key.clone()));
            }
            InvalidationTarget::Matching(pattern) => items.push(OutboxItem::Matching(pattern.clone())),
        }
    }
    items
}
