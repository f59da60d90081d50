//! Decisions by type in generated code, made by method resolution.
//!
//! The attribute sees tokens only: to it, an alias of `Result` is any type. So the generated code calls a
//! method that exists twice. The special type has it as an inherent method, which the compiler prefers. All
//! other types have it from a trait.
//!
//! Where there are more than two cases, the method is called on a reference. The compiler then prefers a
//! method that takes `&Probe` to one that takes `&&Probe`, and that to one that takes `Probe`.
//!
//! Method names begin with `__cached_`, because a user's trait may have methods for every type. A method that
//! exists only to be rejected has a bound that nothing satisfies, and the bound carries the compiler's
//! message.
//!
//! * `kind`: return types that are a `Result` or an `Option`, and the options that need one.
//! * `value`: values that a tier can hold.
//! * `heap`: estimates of the bytes that a value holds on the heap.
//! * `error`: errors that followers and other processes can get.
//! * `timeout`: errors that a load can end in when it times out.

mod error;
mod heap;
mod kind;
mod timeout;
mod value;

use std::marker::PhantomData;

pub use self::{
    error::{KeepsTarget, KeepsWords, NoWords, Unshared, UnsharedError, WordsOfTarget, WordsOfText},
    heap::{AnyHeap, ContainerHeap, CopyHeap, FlatHeap, NestedHeap, RefuseHeap, SerializeHeap},
    kind::{NeverEmpty, NoError, NoErrorToShare, NoOption, PlainKind},
    timeout::{RefuseTimeout, SureValue},
    value::{NeverHit, RefuseShared, RefuseValue},
};
use crate::value::policy::TypedPolicy;

/// Stands for a type in method resolution.
pub struct Probe<T>(PhantomData<fn() -> T>);

impl<T> Probe<T> {
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

/// Makes a probe `Copy`, so that a method that takes it by value can be called on a reference.
impl<T> Clone for Probe<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Probe<T> {}

/// Returns a probe of the type of the values.
pub fn value_of<V, E, R>(_: &TypedPolicy<V, E, R>) -> Probe<V> {
    Probe::new()
}

/// Returns a probe of the type of the errors.
pub fn error_of<V, E, R>(_: &TypedPolicy<V, E, R>) -> Probe<E> {
    Probe::new()
}

/// Stands for the in-process tier in a compiler message.
pub enum Memory {}

/// Appears in the compiler's message if a policy names an argument, which does not exist there.
pub struct NoArgumentsHere;
