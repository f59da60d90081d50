//! The two queues of the policy: doubly linked lists in one slab.

use std::mem;

/// Index of no node.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Small,
    Main,
}

/// Handle of an entry. It finds nothing once the entry has left, even if another entry has its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(super) index: u32,
    turn: u32,
}

struct Node<T> {
    item: Option<T>,
    print: u32,
    weight: u32,
    newer: u32,
    /// Next older node; in a free node, the next free one.
    older: u32,
    turn: u32,
    which: Which,
}

/// Bytes that the queues need for an entry, without the entry behind its `Arc`.
#[cfg(test)]
pub(super) const NODE: usize = size_of::<Node<std::sync::Arc<()>>>();

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
    free: u32,
    /// Number of the last ticket. It is counted up, so that each ticket differs from earlier ones.
    turn: u32,
    both: [Queue; 2],
}

impl<T> Queues<T> {
    pub(super) fn new() -> Self {
        Self { nodes: Vec::new(), free: NONE, turn: 0, both: [EMPTY; 2] }
    }

    pub(super) fn len(&self) -> usize {
        self.len_of(Which::Small) + self.len_of(Which::Main)
    }

    pub(super) fn len_of(&self, which: Which) -> usize {
        self.both[which as usize].len
    }

    pub(super) fn weight(&self, which: Which) -> u64 {
        self.both[which as usize].weight
    }

    pub(super) fn oldest(&self, which: Which) -> Option<u32> {
        let index = self.both[which as usize].oldest;
        (index != NONE).then_some(index)
    }

    /// Creates a node that is in no queue yet.
    pub(super) fn add(&mut self, print: u32, weight: u32, item: T) -> Ticket {
        self.turn = self.turn.wrapping_add(1);
        let (newer, older, turn, which) = (NONE, NONE, self.turn, Which::Small);
        let node = Node { item: Some(item), print, weight, newer, older, turn, which };
        let index = self.free;
        if index == NONE {
            let index = u32::try_from(self.nodes.len()).ok().filter(|&index| index != NONE);
            let index = index.expect("fewer than 2^32 entries");
            self.nodes.push(node);
            return Ticket { index, turn };
        }
        self.free = self.nodes[index as usize].older;
        self.nodes[index as usize] = node;
        Ticket { index, turn }
    }

    /// Removes and returns all entries. Earlier tickets find nothing afterwards, because `turn` is kept.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = T> + use<T> {
        let before = mem::replace(self, Self { turn: self.turn, ..Self::new() });
        before.nodes.into_iter().filter_map(|node| node.item)
    }

    /// Returns the entries in `many` nodes from `from` on, and the node to continue at (`None` at the end).
    pub(super) fn some(&self, from: usize, many: usize) -> (Vec<T>, Option<usize>)
    where
        T: Clone,
    {
        let next = from.saturating_add(many);
        let nodes = self.nodes.get(from..next.min(self.nodes.len())).unwrap_or_default();
        (
            nodes.iter().filter_map(|node| node.item.clone()).collect(),
            (next < self.nodes.len()).then_some(next),
        )
    }

    pub(super) fn find(&self, ticket: Ticket) -> Option<u32> {
        let node = self.nodes.get(ticket.index as usize)?;
        (node.turn == ticket.turn && node.item.is_some()).then_some(ticket.index)
    }

    pub(super) fn item(&self, index: u32) -> &T {
        self.nodes[index as usize].item.as_ref().expect("a node in a queue is not free")
    }

    pub(super) fn print(&self, index: u32) -> u32 {
        self.nodes[index as usize].print
    }

    pub(super) fn weight_of(&self, index: u32) -> u32 {
        self.nodes[index as usize].weight
    }

    pub(super) fn which(&self, index: u32) -> Which {
        self.nodes[index as usize].which
    }

    /// Adds a node that is in no queue as the newest one.
    pub(super) fn push(&mut self, which: Which, index: u32) {
        let newest = self.both[which as usize].newest;
        self.link(which, index, NONE, newest);
    }

    /// Adds a node that is in no queue as the oldest one.
    pub(super) fn push_oldest(&mut self, which: Which, index: u32) {
        let oldest = self.both[which as usize].oldest;
        self.link(which, index, oldest, NONE);
    }

    fn link(&mut self, which: Which, index: u32, newer: u32, older: u32) {
        let node = &mut self.nodes[index as usize];
        (node.which, node.newer, node.older) = (which, newer, older);
        let weight = u64::from(node.weight);
        self.join(which, older, index);
        self.join(which, index, newer);
        let queue = &mut self.both[which as usize];
        queue.len += 1;
        queue.weight += weight;
    }

    pub(super) fn unlink(&mut self, index: u32) {
        let Node { which, newer, older, weight, .. } = self.nodes[index as usize];
        self.join(which, older, newer);
        let queue = &mut self.both[which as usize];
        queue.len -= 1;
        queue.weight -= u64::from(weight);
    }

    /// Moves a node from its queue to the end of the main queue, where the newest are.
    pub(super) fn requeue(&mut self, index: u32) {
        self.unlink(index);
        self.push(Which::Main, index);
    }

    /// Makes neighbours of two nodes. Either may be `NONE`, which is the end of the queue.
    fn join(&mut self, which: Which, older: u32, newer: u32) {
        match older {
            NONE => self.both[which as usize].oldest = newer,
            older => self.nodes[older as usize].newer = newer,
        }
        match newer {
            NONE => self.both[which as usize].newest = older,
            newer => self.nodes[newer as usize].older = older,
        }
    }

    /// Removes an entry from its queue, and frees the node.
    pub(super) fn take(&mut self, index: u32) -> T {
        self.unlink(index);
        let node = &mut self.nodes[index as usize];
        node.older = self.free;
        self.free = index;
        node.item.take().expect("a node in a queue is not free")
    }

    /// Replaces the entry of a node. Returns the new ticket and the old entry; the old ticket finds nothing.
    pub(super) fn replace(&mut self, index: u32, weight: u32, item: T) -> (Ticket, T) {
        self.turn = self.turn.wrapping_add(1);
        let node = &mut self.nodes[index as usize];
        let queue = &mut self.both[node.which as usize];
        queue.weight = queue.weight - u64::from(node.weight) + u64::from(weight);
        (node.weight, node.turn) = (weight, self.turn);
        let before = node.item.replace(item).expect("a node in a queue is not free");
        (Ticket { index, turn: self.turn }, before)
    }

    #[cfg(test)]
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Checks the links of both queues in both directions, and their lengths and weights.
    #[cfg(test)]
    pub(super) fn check(&self) {
        for which in [Which::Small, Which::Main] {
            let queue = self.both[which as usize];
            let (mut len, mut weight, mut newer, mut index) = (0, 0, NONE, queue.newest);
            while index != NONE {
                let node = &self.nodes[index as usize];
                assert!(node.which == which && node.newer == newer && node.item.is_some());
                (len, weight, newer, index) = (len + 1, weight + u64::from(node.weight), index, node.older);
            }
            assert_eq!((len, weight, newer), (queue.len, queue.weight, queue.oldest));
        }
    }
}
