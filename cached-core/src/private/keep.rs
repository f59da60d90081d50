//! Arguments that `keep_warm` keeps, to load a value again without a call.

use super::argument::Held;
use crate::cache::{Cache, WeakCache};

/// Argument of a function with `keep_warm`. Its type decides how the argument is kept.
pub struct KeepArg<T>(pub T);

/// Kept argument, which provides the argument of each load.
pub trait Again {
    type Argument;

    /// Returns the argument for a load; `None` if it is gone.
    fn again(&self) -> Option<Self::Argument>;
}

/// Kept argument that is cloned for each load.
pub struct Copied<T>(T);

impl<T: Clone> Again for Copied<T> {
    type Argument = T;

    fn again(&self) -> Option<T> {
        Some(self.0.clone())
    }
}

/// Cache argument that is kept weakly: the keys that a cache keeps warm do not keep it alive.
pub struct Unowned(WeakCache);

impl Again for Unowned {
    type Argument = Cache;

    fn again(&self) -> Option<Cache> {
        self.0.upgrade()
    }
}

/// Counterpart of `Unowned` for a cache that the function borrows.
pub struct UnownedHeld(WeakCache);

impl Again for UnownedHeld {
    type Argument = Held<Cache>;

    fn again(&self) -> Option<Held<Cache>> {
        self.0.upgrade().map(Held)
    }
}

impl KeepArg<&Cache> {
    pub fn __cached_keep(self) -> Unowned {
        Unowned(self.0.downgrade())
    }
}

impl KeepArg<Held<Cache>> {
    pub fn __cached_keep(self) -> UnownedHeld {
        UnownedHeld(self.0.0.downgrade())
    }
}

/// Keeps an argument that can be cloned.
pub trait KeepCopy<T> {
    fn __cached_keep(self) -> Copied<T>;
}

impl<T: Clone + Send + Sync + 'static> KeepCopy<T> for KeepArg<&T> {
    fn __cached_keep(self) -> Copied<T> {
        Copied(self.0.clone())
    }
}

impl<T: Clone + Send + Sync + 'static> KeepCopy<Held<T>> for KeepArg<Held<T>> {
    fn __cached_keep(self) -> Copied<Held<T>> {
        Copied(self.0)
    }
}

/// Rejects an argument that cannot be cloned. It is implemented behind one more reference, so that method
/// resolution tries it last.
pub trait RefuseKeep<T, U> {
    fn __cached_keep(self) -> Never<U>
    where
        Keeper: Copies<T>;
}

impl<T> RefuseKeep<T, T> for &KeepArg<&T> {
    fn __cached_keep(self) -> Never<T>
    where
        Keeper: Copies<T>,
    {
        Never(std::marker::PhantomData)
    }
}

impl<T> RefuseKeep<T, Held<T>> for &KeepArg<Held<T>> {
    fn __cached_keep(self) -> Never<Held<T>>
    where
        Keeper: Copies<T>,
    {
        Never(std::marker::PhantomData)
    }
}

/// Kept form of a rejected argument, which never exists at run time.
pub struct Never<T>(std::marker::PhantomData<fn() -> T>);

impl<T> Again for Never<T> {
    type Argument = T;

    fn again(&self) -> Option<T> {
        None
    }
}

/// Stands for `keep_warm` in a compiler message.
pub enum Keeper {}

/// Carries the compiler's message, and is implemented for nothing.
#[diagnostic::on_unimplemented(
    message = "`keep_warm` cannot keep a `{T}`",
    label = "this argument cannot be copied: `{T}` is not `Clone + Send + Sync + 'static`",
    note = "`keep_warm` loads a key without a caller, with copies of the arguments: take this one in an \
            `Arc`, or leave `keep_warm` out"
)]
pub trait Copies<T> {}
