//! The bytes that a value counts for in L1.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::value::policy::TypedPolicy;

impl<V, E, R> TypedPolicy<V, E, R> {
    /// Returns the bytes of a value, on the heap and off it; `None` if the code that determines them panics.
    ///
    /// The option `weight` cannot hide the bytes that the type itself takes.
    pub(super) fn weight_of(&self, value: &V) -> Option<usize> {
        let own_bytes = size_of::<V>();
        let measure = || match self.weight {
            Some(weight) => weight(value).max(own_bytes),
            None => (self.heap_bytes)(value).saturating_add(own_bytes),
        };
        // This is the user's code, which may panic: `weight`, or the value's `Serialize`.
        catch_unwind(AssertUnwindSafe(measure)).ok()
    }
}
