//! Arguments that are kept, so that a value can be loaded again when nobody asks: `keep_warm`.

use super::argument::Held;
use crate::cache::{Cache, WeakCache};

/// An argument, before it is known how it is kept.
pub struct KeepArg<T>(pub T);

/// A kept argument, which is handed out again for each load.
pub trait Again {
    type Argument;

    /// `None` if it is gone.
    fn again(&self) -> Option<Self::Argument>;
}

/// One that is copied.
pub struct Copied<T>(T);

impl<T: Clone> Again for Copied<T> {
    type Argument = T;

    fn again(&self) -> Option<T> {
        Some(self.0.clone())
    }
}

/// A cache is not kept alive by what it keeps warm.
pub struct Unowned(WeakCache);

impl Again for Unowned {
    type Argument = Cache;

    fn again(&self) -> Option<Cache> {
        self.0.upgrade()
    }
}

/// The same, of one that the function borrows.
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

/// Can it be copied?
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

/// What cannot be copied is refused. It stands behind one reference more, so that it is found last.
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

/// Of what is refused.
pub struct Never<T>(std::marker::PhantomData<fn() -> T>);

impl<T> Again for Never<T> {
    type Argument = T;

    fn again(&self) -> Option<T> {
        None
    }
}

/// Stands for `keep_warm` in a message.
pub enum Keeper {}

/// Implemented for nothing: it carries the message.
#[diagnostic::on_unimplemented(
    message = "`keep_warm` cannot keep a `{T}`",
    label = "there can be no copies of this argument: `{T}` is not `Clone + Send + Sync + 'static`",
    note = "a key that is kept warm is loaded when nobody calls, with copies of the arguments: take this one in an `Arc`, or \
            leave `keep_warm` out"
)]
pub trait Copies<T> {}
