//! Arguments in generated code: as parts of a key, and on their way into a load.

use std::{borrow::Borrow, marker::PhantomData};

use serde::Serialize;

use crate::{Error, key::KeyWriter};

/// An argument that goes into the key.
pub struct KeyArg<'a, T: ?Sized>(pub &'a T);

impl<T: Serialize + ?Sized> KeyArg<'_, T> {
    #[inline]
    pub fn part(&self, key: &mut KeyWriter<'_>) -> Result<(), Error> {
        key.part(self.0)
    }

    #[inline]
    pub fn digest(&self, key: &mut KeyWriter<'_>) -> Result<(), Error> {
        key.digest(self.0)
    }
}

/// Catches what is not `Serialize`, for the sake of the message.
pub trait RefuseKey<T: ?Sized> {
    fn part(&self, key: &mut KeyWriter<'_>) -> Result<(), Error>
    where
        T: KeyArgument;

    fn digest(&self, key: &mut KeyWriter<'_>) -> Result<(), Error>
    where
        T: KeyArgument;
}

impl<T: ?Sized> RefuseKey<T> for KeyArg<'_, T> {
    fn part(&self, _: &mut KeyWriter<'_>) -> Result<(), Error>
    where
        T: KeyArgument,
    {
        Ok(())
    }

    fn digest(&self, _: &mut KeyWriter<'_>) -> Result<(), Error>
    where
        T: KeyArgument,
    {
        Ok(())
    }
}

/// Implemented for nothing: it carries the message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a cache key",
    label = "this argument is part of the key, and `{Self}` is not `serde::Serialize`",
    note = "if the result does not depend on it, name it in `skip(..)`; otherwise derive `serde::Serialize`, add a \
            `Serialize` bound, or say what identifies it with `key = ..` or a template such as `\"user:{{user.id}}\"`"
)]
pub trait KeyArgument {}

/// A borrowed argument, before it is known whether it can be copied into a task.
pub struct Arg<T>(pub T);

/// A borrowed option of an argument.
pub struct OptionArg<T>(pub Option<T>);

impl<T> Arg<&T>
where
    T: ToOwned<Owned: Send + 'static> + Sync + ?Sized,
{
    pub fn hold(self) -> Held<T::Owned> {
        Held(self.0.to_owned())
    }
}

impl<T> OptionArg<&T>
where
    T: ToOwned<Owned: Send + 'static> + Sync + ?Sized,
{
    pub fn hold(self) -> Held<Option<T::Owned>> {
        Held(self.0.map(ToOwned::to_owned))
    }
}

pub trait LendArg<T> {
    fn hold(self) -> Lent<T>;
}

impl<'a, T: ?Sized> LendArg<&'a T> for Arg<&'a T> {
    fn hold(self) -> Lent<&'a T> {
        Lent(self.0)
    }
}

pub trait LendOption<T> {
    fn hold(self) -> Lent<Option<T>>;
}

impl<'a, T: ?Sized> LendOption<&'a T> for OptionArg<&'a T> {
    fn hold(self) -> Lent<Option<&'a T>> {
        Lent(self.0)
    }
}

/// A copy of an argument.
pub struct Held<T>(T);

impl<T> Held<T> {
    #[allow(clippy::unused_self, reason = "it is asked by type")]
    pub fn mark(&self) -> PhantomData<Owned> {
        PhantomData
    }
}

/// The caller's own argument.
pub struct Lent<T>(T);

impl<T> Lent<T> {
    #[allow(clippy::unused_self, reason = "it is asked by type")]
    pub fn mark(&self) -> PhantomData<Borrowed> {
        PhantomData
    }
}

/// What stands for an argument `&T` in a load.
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

/// What stands for an argument `Option<&T>` in a load.
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

/// The load holds copies.
pub enum Owned {}

/// The load borrows from its caller.
pub enum Borrowed {}

/// A nested list of marks that are all [`Owned`].
pub trait AllOwned {}
impl AllOwned for () {}
impl<T: AllOwned> AllOwned for (PhantomData<Owned>, T) {}
