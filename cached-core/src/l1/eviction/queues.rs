//! The two queues of the policy: doubly linked lists in one slab.

use std::mem;

use super::ticket::Ticket;

/// Index of no node.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueKind {
    Small,
    Main,
}

struct Node<T> {
    item: Option<T>,
    fingerprint: u32,
    weight: u32,
    newer: u32,
    /// Next older node; in a free node, the next free one.
    older: u32,
    ticket_number: u32,
    queue: QueueKind,
    has_returned: bool,
}

/// Bytes that the queues need for an entry, without the entry behind its `Arc`.
#[cfg(test)]
pub(super) const NODE_BYTES: usize = size_of::<Node<std::sync::Arc<()>>>();

#[derive(Clone, Copy)]
struct Queue {
    newest: u32,
    oldest: u32,
    len: usize,
    weight: u64,
}

const EMPTY: Queue = Queue { newest: NONE, oldest: NONE, len: 0, weight: 0 };

pub(super) struct Queues<T> {
    nodes: Vec<Node<T>>,
    first_free: u32,
    /// Number of the last ticket. It is counted up, so that each ticket differs from earlier ones.
    last_ticket: u32,
    queues: [Queue; 2],
}

impl<T> Queues<T> {
    pub(super) fn new() -> Self {
        Self { nodes: Vec::new(), first_free: NONE, last_ticket: 0, queues: [EMPTY; 2] }
    }

    pub(super) fn len(&self) -> usize {
        self.len_of(QueueKind::Small) + self.len_of(QueueKind::Main)
    }

    pub(super) fn len_of(&self, kind: QueueKind) -> usize {
        self.queues[kind as usize].len
    }

    pub(super) fn weight(&self, kind: QueueKind) -> u64 {
        self.queues[kind as usize].weight
    }

    pub(super) fn oldest(&self, kind: QueueKind) -> Option<u32> {
        let index = self.queues[kind as usize].oldest;
        (index != NONE).then_some(index)
    }

    /// Creates a node that is in no queue yet. `has_returned` is set if the entry has a use to begin with.
    pub(super) fn add(&mut self, fingerprint: u32, weight: u32, has_returned: bool, item: T) -> Ticket {
        self.last_ticket = self.last_ticket.wrapping_add(1);
        let (newer, older, ticket_number, kind) = (NONE, NONE, self.last_ticket, QueueKind::Small);
        let item = Some(item);
        let node = Node { item, fingerprint, weight, newer, older, ticket_number, queue: kind, has_returned };
        let index = self.first_free;
        if index == NONE {
            let index = u32::try_from(self.nodes.len()).ok().filter(|&index| index != NONE);
            let index = index.expect("there are fewer than 2^32 entries");
            self.nodes.push(node);
            return Ticket { index, number: ticket_number };
        }
        self.first_free = self.nodes[index as usize].older;
        self.nodes[index as usize] = node;
        Ticket { index, number: ticket_number }
    }

    /// Removes and returns all entries. Earlier tickets find nothing afterwards, because `last_ticket` is kept.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = T> + use<T> {
        let before = mem::replace(self, Self { last_ticket: self.last_ticket, ..Self::new() });
        before.nodes.into_iter().filter_map(|node| node.item)
    }

    /// Returns the entries in `count` nodes from `from` on, and the node to continue at (`None` at the end).
    pub(super) fn scan(&self, from: usize, count: usize) -> (Vec<T>, Option<usize>)
    where
        T: Clone,
    {
        let next = from.saturating_add(count);
        let nodes = self.nodes.get(from..next.min(self.nodes.len())).unwrap_or_default();
        (
            nodes.iter().filter_map(|node| node.item.clone()).collect(),
            (next < self.nodes.len()).then_some(next),
        )
    }

    pub(super) fn find(&self, ticket: Ticket) -> Option<u32> {
        let node = self.nodes.get(ticket.index as usize)?;
        (node.ticket_number == ticket.number && node.item.is_some()).then_some(ticket.index)
    }

    pub(super) fn item(&self, index: u32) -> &T {
        self.nodes[index as usize].item.as_ref().expect("a node in a queue is not free")
    }

    pub(super) fn fingerprint(&self, index: u32) -> u32 {
        self.nodes[index as usize].fingerprint
    }

    pub(super) fn weight_of(&self, index: u32) -> u32 {
        self.nodes[index as usize].weight
    }

    /// Returns whether the entry had a use to begin with.
    pub(super) fn has_returned(&self, index: u32) -> bool {
        self.nodes[index as usize].has_returned
    }

    pub(super) fn queue_of(&self, index: u32) -> QueueKind {
        self.nodes[index as usize].queue
    }

    /// Adds a node that is in no queue as the newest one.
    pub(super) fn push(&mut self, kind: QueueKind, index: u32) {
        let newest = self.queues[kind as usize].newest;
        self.link(kind, index, NONE, newest);
    }

    /// Adds a node that is in no queue as the oldest one.
    pub(super) fn push_oldest(&mut self, kind: QueueKind, index: u32) {
        let oldest = self.queues[kind as usize].oldest;
        self.link(kind, index, oldest, NONE);
    }

    fn link(&mut self, kind: QueueKind, index: u32, newer: u32, older: u32) {
        let node = &mut self.nodes[index as usize];
        (node.queue, node.newer, node.older) = (kind, newer, older);
        let weight = u64::from(node.weight);
        self.connect(kind, older, index);
        self.connect(kind, index, newer);
        let queue = &mut self.queues[kind as usize];
        queue.len += 1;
        queue.weight += weight;
    }

    pub(super) fn unlink(&mut self, index: u32) {
        let Node { queue: kind, newer, older, weight, .. } = self.nodes[index as usize];
        self.connect(kind, older, newer);
        let queue = &mut self.queues[kind as usize];
        queue.len -= 1;
        queue.weight -= u64::from(weight);
    }

    /// Moves a node from its queue to the end of the main queue, where the newest are.
    pub(super) fn requeue(&mut self, index: u32) {
        self.unlink(index);
        self.push(QueueKind::Main, index);
    }

    /// Makes neighbours of two nodes. Either may be `NONE`, which is the end of the queue.
    fn connect(&mut self, kind: QueueKind, older: u32, newer: u32) {
        match older {
            NONE => self.queues[kind as usize].oldest = newer,
            older => self.nodes[older as usize].newer = newer,
        }
        match newer {
            NONE => self.queues[kind as usize].newest = older,
            newer => self.nodes[newer as usize].older = older,
        }
    }

    /// Removes an entry from its queue, and frees the node.
    pub(super) fn take(&mut self, index: u32) -> T {
        self.unlink(index);
        let node = &mut self.nodes[index as usize];
        node.older = self.first_free;
        self.first_free = index;
        node.item.take().expect("a node in a queue is not free")
    }

    /// Replaces the entry of a node. Returns the new ticket and the old entry; the old ticket finds nothing.
    pub(super) fn replace(&mut self, index: u32, weight: u32, item: T) -> (Ticket, T) {
        self.last_ticket = self.last_ticket.wrapping_add(1);
        let node = &mut self.nodes[index as usize];
        let queue = &mut self.queues[node.queue as usize];
        queue.weight = queue.weight - u64::from(node.weight) + u64::from(weight);
        (node.weight, node.ticket_number) = (weight, self.last_ticket);
        let before = node.item.replace(item).expect("a node in a queue is not free");
        (Ticket { index, number: self.last_ticket }, before)
    }

    #[cfg(test)]
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Checks the links of both queues in both directions, and their lengths and weights.
    #[cfg(test)]
    pub(super) fn check(&self) {
        for kind in [QueueKind::Small, QueueKind::Main] {
            let queue = self.queues[kind as usize];
            let (mut len, mut weight, mut newer, mut index) = (0, 0, NONE, queue.newest);
            while index != NONE {
                let node = &self.nodes[index as usize];
                assert!(node.queue == kind && node.newer == newer && node.item.is_some());
                (len, weight, newer, index) = (len + 1, weight + u64::from(node.weight), index, node.older);
            }
            assert_eq!((len, weight, newer), (queue.len, queue.weight, queue.oldest));
        }
    }
}
