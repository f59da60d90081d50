//! Arguments in generated code, as parts of a key and as arguments of a load.

use std::{borrow::Borrow, marker::PhantomData};

use serde::Serialize;

use crate::key::{Digest, Part};

/// Argument that is part of a key, a tag or a pattern.
pub struct KeyArg<'a, T: ?Sized>(pub &'a T);

impl<'a, T: Serialize + ?Sized> KeyArg<'a, T> {
    #[inline]
    pub fn __cached_part(self) -> Part<'a, T> {
        Part(self.0)
    }

    #[inline]
    pub fn __cached_digest(self) -> Digest<'a, T> {
        Digest(self.0)
    }
}

/// Matches types that are not `Serialize`, only to reject them with a message.
pub trait RefuseKey<T: ?Sized>: Sized {
    fn __cached_part(self)
    where
        Key: MadeOf<T>,
    {
    }

    fn __cached_digest(self)
    where
        Key: MadeOf<T>,
    {
    }
}

impl<T: ?Sized> RefuseKey<T> for KeyArg<'_, T> {}

/// Stands for keys in a compiler message.
pub enum Key {}

/// Carries the compiler's message, and is implemented for nothing.
///
/// The rejected type is a parameter and not `Self`. Otherwise the compiler would advise to bound a type
/// parameter by this trait.
#[diagnostic::on_unimplemented(
    message = "`{T}` cannot be part of a cache key",
    label = "this is part of the key, and `{T}` is not `serde::Serialize`",
    note = "if the result does not depend on it, name it in `skip(..)`; otherwise derive `serde::Serialize`, \
            add a `Serialize` bound, or name a field that identifies it with `key = ..` or a template such \
            as `\"user:{{user.id}}\"`"
)]
pub trait MadeOf<T: ?Sized> {}

/// Counterpart of [`RefuseKey`] for tags and patterns.
pub trait RefuseTag<T: ?Sized>: Sized {
    fn __cached_part(self)
    where
        TagPart: SpelledBy<T>,
    {
    }

    fn __cached_digest(self)
    where
        TagPart: SpelledBy<T>,
    {
    }
}

impl<T: ?Sized> RefuseTag<T> for KeyArg<'_, T> {}

/// Stands for tags and patterns in a compiler message.
pub enum TagPart {}

/// Carries the compiler's message, and is implemented for nothing.
#[diagnostic::on_unimplemented(
    message = "`{T}` cannot be part of a tag or a prefix",
    label = "this names a `{T}`, which is not `serde::Serialize`",
    note = "name a field that identifies it, such as `{{user.id}}`, derive `serde::Serialize` for it, or add a \
            `Serialize` bound"
)]
pub trait SpelledBy<T: ?Sized> {}

/// Borrowed argument. Its type decides whether it can be copied into a task.
pub struct Arg<T>(pub T);

/// Optional borrowed argument. Its type decides whether it can be copied into a task.
pub struct OptionArg<T>(pub Option<T>);

impl<T> Arg<&T>
where
    T: ToOwned<Owned: Send + 'static> + Sync + ?Sized,
{
    pub fn __cached_hold(self) -> Held<T::Owned> {
        Held(self.0.to_owned())
    }
}

impl<T> OptionArg<&T>
where
    T: ToOwned<Owned: Send + 'static> + Sync + ?Sized,
{
    pub fn __cached_hold(self) -> Held<Option<T::Owned>> {
        Held(self.0.map(ToOwned::to_owned))
    }
}

/// Lends an argument that cannot be copied to the load.
pub trait LendArg<T> {
    fn __cached_hold(self) -> Lent<T>;
}

impl<'a, T: ?Sized> LendArg<&'a T> for Arg<&'a T> {
    fn __cached_hold(self) -> Lent<&'a T> {
        Lent(self.0)
    }
}

impl<'a, T: ?Sized> LendArg<Option<&'a T>> for OptionArg<&'a T> {
    fn __cached_hold(self) -> Lent<Option<&'a T>> {
        Lent(self.0)
    }
}

/// Rejects an argument that cannot be copied, where the load must have a task of its own.
pub trait RefuseArg<'a, T: ?Sized, L>: LendArg<L> + Sized {
    fn __cached_hold(self) -> Lent<L>
    where
        Task: Carries<T>,
    {
        LendArg::__cached_hold(self)
    }
}

impl<'a, T: ?Sized> RefuseArg<'a, T, &'a T> for Arg<&'a T> {}
impl<'a, T: ?Sized> RefuseArg<'a, T, Option<&'a T>> for OptionArg<&'a T> {}

/// Stands for tasks in a compiler message.
pub enum Task {}

/// Carries the compiler's message, and is implemented for nothing.
#[diagnostic::on_unimplemented(
    message = "the load cannot run in a task of its own, because it borrows `{T}`",
    label = "this argument cannot be copied: `{T}` is not `Clone + Send + Sync + 'static`",
    note = "take it by value, such as in an `Arc`, or leave out the option that needs a task: `detach = \
            true`, or `keep_warm`"
)]
pub trait Carries<T: ?Sized> {}

/// Copy of an argument.
#[derive(Clone)]
pub struct Held<T>(pub(super) T);

/// Argument that is borrowed from the caller.
pub struct Lent<T>(T);

/// Holder of an argument `&T` in a load.
pub trait Hold<T: ?Sized> {
    fn lend(&self) -> &T;
}

impl<T: ?Sized, O: Borrow<T>> Hold<T> for Held<O> {
    fn lend(&self) -> &T {
        self.0.borrow()
    }
}

impl<T: ?Sized> Hold<T> for Lent<&T> {
    fn lend(&self) -> &T {
        self.0
    }
}

/// Holder of an argument `Option<&T>` in a load.
pub trait HoldOption<T: ?Sized> {
    fn lend(&self) -> Option<&T>;
}

impl<T: ?Sized, O: Borrow<T>> HoldOption<T> for Held<Option<O>> {
    fn lend(&self) -> Option<&T> {
        self.0.as_ref().map(Borrow::borrow)
    }
}

impl<T: ?Sized> HoldOption<T> for Lent<Option<&T>> {
    fn lend(&self) -> Option<&T> {
        self.0
    }
}

/// Mark of a holder that owns a copy.
pub enum Owned {}

/// Mark of a holder that borrows from the caller.
pub enum Borrowed {}

/// Holder with a mark, which is `Owned` or `Borrowed`.
pub trait Marked {
    type Mark;
}

impl<T> Marked for Held<T> {
    type Mark = Owned;
}

impl<T> Marked for Lent<T> {
    type Mark = Borrowed;
}

pub fn ownership_mark<H: Marked>(_: &H) -> PhantomData<H::Mark> {
    PhantomData
}

/// A nested list of marks that are all [`Owned`].
pub trait AllOwned {}
impl AllOwned for () {}
impl<T: AllOwned> AllOwned for (PhantomData<Owned>, T) {}
