//! Estimates of the bytes that values of a type hold on the heap.
//!
//! The first of these rules that applies to a type is used:
//!
//! 1. A `Copy` type holds nothing on the heap.
//! 2. A [`Container`] of `Copy` values, such as a `Vec<f32>`, holds its allocation.
//! 3. A `Container` of `Serialize` values also holds what these hold.
//! 4. A `Serialize` type is walked by its `Serialize` implementation.
//! 5. Any other type is rejected, unless the option `max_entries` bounds the function: then only the
//!    allocation of a `Container` counts.
//!
//! The option `weight` replaces the rules. Values that cannot be cached at all have a rule that returns 0, so
//! that the compiler reports only the error of `RefuseValue`.

use std::{iter, sync::Arc};

use serde::Serialize;

use super::{Memory, Probe};
use crate::value::weigh::{weigh, weigh_part};

/// Types of the standard library that own one allocation, with parts in it.
pub trait Container {
    type Part;

    /// Returns the bytes of the allocation.
    fn allocated(&self) -> usize;

    fn parts(&self) -> impl Iterator<Item = &Self::Part>;
}

/// Bytes of the two reference counters in the allocation of an `Arc`.
const COUNTERS: usize = 2 * size_of::<usize>();

macro_rules! containers {
    ($($ty:ty, $part:ty $(, $generic:ident)?; |$value:ident| $allocated:expr, $parts:expr;)*) => {$(
        impl$(<$generic>)? Container for $ty {
            type Part = $part;

            fn allocated(&self) -> usize {
                let $value = self;
                $allocated
            }

            fn parts(&self) -> impl Iterator<Item = &$part> {
                let $value = self;
                $parts
            }
        }
    )*};
}

containers! {
    String, u8; |text| text.capacity(), text.as_bytes().iter();
    Box<str>, u8; |text| text.len(), text.as_bytes().iter();
    Arc<str>, u8; |text| COUNTERS + text.len(), text.as_bytes().iter();
    Vec<T>, T, T; |list| list.capacity() * size_of::<T>(), list.iter();
    Box<[T]>, T, T; |list| size_of_val::<[T]>(list), list.iter();
    Arc<[T]>, T, T; |list| COUNTERS + size_of_val::<[T]>(list), list.iter();
    Box<T>, T, T; |_value| size_of::<T>(), iter::once(&**_value);
    Arc<T>, T, T; |_value| COUNTERS + size_of::<T>(), iter::once(&**_value);
}

impl<H: Container> Container for Option<H> {
    type Part = H::Part;

    fn allocated(&self) -> usize {
        self.as_ref().map_or(0, H::allocated)
    }

    fn parts(&self) -> impl Iterator<Item = &H::Part> {
        self.iter().flat_map(H::parts)
    }
}

/// `Copy` values. Called, as the methods below, on five references.
pub trait CopyHeap<T> {
    fn __cached_heap(self) -> fn(&T) -> usize;
}

impl<T: Copy> CopyHeap<T> for &&&&&Probe<T> {
    fn __cached_heap(self) -> fn(&T) -> usize {
        |_| 0
    }
}

/// Containers of `Copy` values.
pub trait FlatHeap<T> {
    fn __cached_heap(self) -> fn(&T) -> usize;
}

impl<T: Container<Part: Copy>> FlatHeap<T> for &&&&Probe<T> {
    fn __cached_heap(self) -> fn(&T) -> usize {
        T::allocated
    }
}

/// Containers of `Serialize` values.
pub trait NestedHeap<T> {
    fn __cached_heap(self) -> fn(&T) -> usize;
}

impl<T: Container<Part: Serialize>> NestedHeap<T> for &&&Probe<T> {
    fn __cached_heap(self) -> fn(&T) -> usize {
        |container| container.parts().map(weigh_part).fold(container.allocated(), usize::saturating_add)
    }
}

/// `Serialize` values.
pub trait SerializeHeap<T> {
    fn __cached_heap(self) -> fn(&T) -> usize;
}

impl<T: Serialize> SerializeHeap<T> for &&Probe<T> {
    fn __cached_heap(self) -> fn(&T) -> usize {
        weigh
    }
}

/// Rejects other values, if nothing else bounds the function.
pub trait RefuseHeap<T>: Sized {
    fn __cached_heap(self) -> fn(&T) -> usize
    where
        Memory: Bounds<T>,
    {
        |_| 0
    }
}

impl<T: Clone + Send + Sync + 'static> RefuseHeap<T> for &Probe<T> {}

/// Other containers, if `max_entries` bounds the function.
pub trait ContainerHeap<T> {
    fn __cached_heap(self) -> fn(&T) -> usize;
}

impl<T: Container> ContainerHeap<T> for &Probe<T> {
    fn __cached_heap(self) -> fn(&T) -> usize {
        T::allocated
    }
}

/// All other values.
pub trait AnyHeap<T> {
    fn __cached_heap(self) -> fn(&T) -> usize;
}

impl<T> AnyHeap<T> for Probe<T> {
    fn __cached_heap(self) -> fn(&T) -> usize {
        |_| 0
    }
}

/// Carries the compiler's message, and is implemented for nothing.
#[diagnostic::on_unimplemented(
    message = "the memory of `{V}` cannot be bounded",
    label = "the heap of this value cannot be measured: it is neither `Copy` nor `serde::Serialize`",
    note = "add `weight = |value| ..`, which returns the bytes of a value, or `max_entries = 1000`, which \
            bounds the entries of this function instead, or derive `serde::Serialize` for the type and for \
            the types in it"
)]
pub trait Bounds<V> {}
