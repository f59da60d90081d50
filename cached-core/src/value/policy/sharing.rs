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
    Text(ErrorText<E>),
}

type DowncastError<E> = fn(&dyn ErasedValue) -> Option<&E>;

impl<E: Send + Sync + 'static> Sharing<E> {
    /// Shares copies of the error.
    ///
    /// The followers get a copy as well, because the caller of the load keeps the error itself.
    pub(crate) fn by_copy(copy: fn(&E) -> E) -> Self {
        Self(SharingMethod::Copies {
            copy,
            erase: |error, freshness| Arc::new(Failure { freshness, error }),
            downcast: downcast_error::<E>,
        })
    }
}

fn downcast_error<E: 'static>(erased: &dyn ErasedValue) -> Option<&E> {
    (erased as &dyn Any).downcast_ref::<Failure<E>>().map(|failure| &failure.error)
}

impl<E: Clone + Send + Sync + 'static> Sharing<E> {
    pub(crate) fn by_clone() -> Self {
        Self::by_copy(E::clone)
    }
}

impl<E> Sharing<E> {
    pub(super) fn by_text(error_text: ErrorText<E>) -> Self {
        Self(SharingMethod::Text(error_text))
    }

    /// Converts an error of a load to an erased value.
    pub(super) fn erase(&self, error: &E, freshness: Freshness) -> Arc<dyn ErasedValue> {
        match &self.0 {
            SharingMethod::Copies { copy, erase, .. } => erase(copy(error), freshness),
            SharingMethod::Text(error_text) => {
                Arc::new(Failure { freshness, error: (error_text.to_text)(error) })
            }
        }
    }

    /// Converts an error that was made from `text` to an erased value.
    pub(super) fn erase_rebuilt(
        &self,
        error: E,
        text: SharedLoadError,
        freshness: Freshness,
    ) -> Arc<dyn ErasedValue> {
        match &self.0 {
            SharingMethod::Copies { erase, .. } => erase(error, freshness),
            // The original text, and not that of the error that was made from it.
            SharingMethod::Text(_) => Arc::new(Failure { freshness, error: text }),
        }
    }

    /// Returns whether an erased value has such an error.
    pub(super) fn is_error(&self, erased: &dyn ErasedValue) -> bool {
        match &self.0 {
            SharingMethod::Copies { downcast, .. } => downcast(erased).is_some(),
            SharingMethod::Text(_) => downcast_error::<SharedLoadError>(erased).is_some(),
        }
    }

    /// Restores an error from an erased value; `None` if it has none.
    pub(super) fn restore_error(&self, erased: &dyn ErasedValue) -> Option<E> {
        match &self.0 {
            SharingMethod::Copies { copy, downcast, .. } => downcast(erased).map(copy),
            SharingMethod::Text(error_text) => {
                downcast_error::<SharedLoadError>(erased).cloned().map(error_text.from_text)
            }
        }
    }

    /// Returns the text of the error in an erased value; `None` if it has none.
    pub(super) fn text_of(
        &self,
        erased: &dyn ErasedValue,
        error_text: ErrorText<E>,
    ) -> Option<SharedLoadError> {
        match &self.0 {
            SharingMethod::Copies { downcast, .. } => downcast(erased).map(error_text.to_text),
            SharingMethod::Text(_) => downcast_error::<SharedLoadError>(erased).cloned(),
        }
    }
}

/// Conversion of an error to text, and of text to an error.
pub struct ErrorText<E> {
    to_text: fn(&E) -> SharedLoadError,
    pub(super) from_text: fn(SharedLoadError) -> E,
}

impl<E: From<SharedLoadError>> ErrorText<E> {
    pub(crate) fn new(to_text: fn(&E) -> SharedLoadError) -> Self {
        Self { to_text, from_text: E::from }
    }
}

impl<E> Clone for ErrorText<E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for ErrorText<E> {}
