//! The method by which an error reaches the followers, and other processes.
//!
//! Followers get a copy of the error if it can be copied, or else an error made from its text. Other
//! processes get text only. `private::probe` selects the method by the type of the error.

use std::{any::Any, sync::Arc};

use crate::{
    error::shared::SharedLoadError,
    value::erased::{ErasedValue, Failure, Freshness},
};

/// Method by which an error reaches the followers.
pub struct Sharing<E>(SharingMethod<E>);

enum SharingMethod<E> {
    /// Each follower gets a copy of the error.
    Copies { copy: fn(&E) -> E, erase: fn(E, Freshness) -> Arc<dyn ErasedValue>, downcast: DowncastError<E> },
    /// Each follower gets an error made from the text of the error.
    Text(Words<E>),
}

type DowncastError<E> = fn(&dyn ErasedValue) -> Option<&E>;

impl<E: Send + Sync + 'static> Sharing<E> {
    /// Shares copies of the error.
    ///
    /// The slot holds a copy as well, because the caller of the load keeps the error itself.
    pub(crate) fn by_copy(copy: fn(&E) -> E) -> Self {
        Self(SharingMethod::Copies {
            copy,
            erase: |error, freshness| Arc::new(Failure { freshness, error }),
            downcast: downcast_error::<E>,
        })
    }
}

fn downcast_error<E: 'static>(slot: &dyn ErasedValue) -> Option<&E> {
    (slot as &dyn Any).downcast_ref::<Failure<E>>().map(|failure| &failure.error)
}

impl<E: Clone + Send + Sync + 'static> Sharing<E> {
    pub(crate) fn by_clone() -> Self {
        Self::by_copy(E::clone)
    }
}

impl<E> Sharing<E> {
    pub(super) fn by_text(words: Words<E>) -> Self {
        Self(SharingMethod::Text(words))
    }

    /// Converts an error of a load to a slot.
    pub(super) fn erase(&self, error: &E, freshness: Freshness) -> Arc<dyn ErasedValue> {
        match &self.0 {
            SharingMethod::Copies { copy, erase, .. } => erase(copy(error), freshness),
            SharingMethod::Text(words) => Arc::new(Failure { freshness, error: (words.to_text)(error) }),
        }
    }

    /// Converts an error that was made from `text` to a slot.
    pub(super) fn erase_rebuilt(
        &self,
        error: &E,
        text: SharedLoadError,
        freshness: Freshness,
    ) -> Arc<dyn ErasedValue> {
        match &self.0 {
            SharingMethod::Copies { copy, erase, .. } => erase(copy(error), freshness),
            // The original text, and not that of the error that was made from it.
            SharingMethod::Text(_) => Arc::new(Failure { freshness, error: text }),
        }
    }

    /// Restores an error from a slot; `None` if the slot has none.
    pub(super) fn restore_error(&self, slot: &dyn ErasedValue) -> Option<E> {
        match &self.0 {
            SharingMethod::Copies { copy, downcast, .. } => downcast(slot).map(copy),
            SharingMethod::Text(words) => {
                downcast_error::<SharedLoadError>(slot).cloned().map(words.from_text)
            }
        }
    }

    /// Returns the text of the error in a slot; `None` if the slot has none.
    pub(super) fn text_of(&self, slot: &dyn ErasedValue, words: Words<E>) -> Option<SharedLoadError> {
        match &self.0 {
            SharingMethod::Copies { downcast, .. } => downcast(slot).map(words.to_text),
            SharingMethod::Text(_) => downcast_error::<SharedLoadError>(slot).cloned(),
        }
    }
}

/// Conversion of an error to text, and of text to an error.
pub struct Words<E> {
    to_text: fn(&E) -> SharedLoadError,
    pub(super) from_text: fn(SharedLoadError) -> E,
}

impl<E: From<SharedLoadError>> Words<E> {
    pub(crate) fn new(to_text: fn(&E) -> SharedLoadError) -> Self {
        Self { to_text, from_text: E::from }
    }
}

impl<E> Clone for Words<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Words<E> {}
