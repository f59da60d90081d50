//! A table of the cached functions that something is kept for, by their templates.
//!
//! The table only grows, up to the number of templates in the program, and therefore needs no lock.

use std::{iter::successors, ptr, sync::OnceLock};

/// Number of linked lists in the table. Programs have tens or hundreds of functions.
const LISTS: usize = 128;

/// One item for each template.
pub(crate) struct FunctionTable<T> {
    lists: [NextFunction<T>; LISTS],
}

type NextFunction<T> = OnceLock<Box<FunctionNode<T>>>;

struct FunctionNode<T> {
    template: &'static str,
    item: T,
    next: NextFunction<T>,
}

impl<T> FunctionNode<T> {
    #[cold]
    fn boxed(template: &'static str, make: &dyn Fn() -> T) -> Box<Self> {
        Box::new(Self { template, item: make(), next: OnceLock::new() })
    }
}

impl<T> FunctionTable<T> {
    pub(crate) const fn new() -> Self {
        Self { lists: [const { OnceLock::new() }; LISTS] }
    }

    /// Returns the item of `template`. The first call for it creates the item.
    ///
    /// `hash` is always the same for a template.
    pub(crate) fn get_or_insert(&self, template: &'static str, hash: u64, make: impl Fn() -> T) -> &T {
        #[allow(clippy::cast_possible_truncation, reason = "any bits of the hash select a list")]
        let mut link = &self.lists[hash as usize % LISTS];
        loop {
            let node = link.get_or_init(|| FunctionNode::boxed(template, &make));
            // Usually both are the text of one `FunctionSpec`, at one address.
            if ptr::eq(node.template, template) || node.template == template {
                return &node.item;
            }
            link = &node.next;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let lists = self.lists.iter();
        lists.flat_map(|link| successors(link.get(), |node| node.next.get())).map(|node| &node.item)
    }
}
