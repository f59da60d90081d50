//! Values that a tier can hold.
//!
//! A value that cannot be cached has a hit as well, which returns nothing. So the compiler reports only the
//! error of [`RefuseValue`].

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use super::Memory;
use crate::value::{
    erased::ErasedValue,
    policy::{ResultPolicy, TypedPolicy},
};

/// Values that cannot be read from an erased value, which [`RefuseValue`] rejects with a message.
pub trait NeverHit<R>: Sized {
    fn __cached_hit(self, _: &dyn ErasedValue) -> Option<R> {
        None
    }
}

impl<V, E, R> NeverHit<R> for TypedPolicy<V, E, R> {}

impl<V, E, R> TypedPolicy<V, E, R>
where
    V: Clone + Send + Sync + 'static,
{
    #[inline]
    pub fn __cached_hit(self, erased: &dyn ErasedValue) -> Option<R> {
        self.restore_value(erased)
    }

    /// Ends a chain of policies.
    pub fn __cached_boxed(self) -> Arc<dyn ResultPolicy<R>>
    where
        E: 'static,
        R: 'static,
    {
        Arc::new(self)
    }
}

/// Rejects values that cannot be cached.
pub trait RefuseValue<V, R>: Sized {
    fn __cached_boxed(self) -> Arc<dyn ResultPolicy<R>>
    where
        Memory: Keeps<V>,
    {
        unreachable!()
    }
}

impl<V, E, R> RefuseValue<V, R> for TypedPolicy<V, E, R> {}

impl<V: Serialize + DeserializeOwned, E, R> TypedPolicy<V, E, R> {
    pub fn __cached_shared(self) -> Self {
        self.shared()
    }
}

/// Rejects values that cannot be written to a shared tier, or read from it.
pub trait RefuseShared<V>: Sized {
    fn __cached_shared(self) -> Self
    where
        SharedTier: Stores<V>,
    {
        self
    }
}

impl<V, E, R> RefuseShared<V> for TypedPolicy<V, E, R> {}

/// Stands for the shared tier in a compiler message.
pub enum SharedTier {}

/// Carries the compiler's message, and is implemented for nothing.
///
/// The rejected type is a parameter and not `Self`. Otherwise the compiler would advise to bound a type
/// parameter by this trait.
#[diagnostic::on_unimplemented(
    message = "`{V}` cannot be cached",
    label = "this value is not `Clone + Send + Sync + 'static`",
    note = "a hit returns a clone, possibly in another thread: derive `Clone` for it, or return it in an \
            `Arc` (without `local`, that needs serde's feature `rc`); a type parameter needs the bounds"
)]
pub trait Keeps<V> {}

/// Carries the compiler's message, and is implemented for nothing.
#[diagnostic::on_unimplemented(
    message = "`{V}` cannot be stored in a shared tier",
    label = "this value is not `serde::Serialize + serde::de::DeserializeOwned`",
    note = "derive `serde::Serialize` and `serde::Deserialize` for it and for the types in it, or add \
            `local` to keep it in this process; a type parameter needs the bounds",
    note = "an `Arc` also needs serde's feature `rc`: `features = [\"derive\", \"rc\"]`"
)]
pub trait Stores<V> {}
