//! Errors that followers and other processes can get: as a copy, as text, or not at all.
//!
//! Only text leaves the process: another process need not have the same error type.

use std::{error::Error, ops::Deref};

use super::{Memory, Probe};
use crate::{
    error::shared::SharedLoadError,
    value::policy::{ErrorText, Sharing},
};

/// Errors that are not `Clone + Send + Sync + 'static`, of which followers cannot get a copy.
pub trait Unshared<E> {
    fn __cached_sharing(self) -> Option<Sharing<E>>;
}

impl<E> Unshared<E> for Probe<E> {
    fn __cached_sharing(self) -> Option<Sharing<E>> {
        None
    }
}

impl<E: Clone + Send + Sync + 'static> Probe<E> {
    pub fn __cached_sharing(self) -> Option<Sharing<E>> {
        Some(Sharing::by_clone())
    }

    pub fn __cached_keeps_error(&self) {}
}

/// Errors that can be turned into text and made from text. Called on a reference.
impl<E: Error + From<SharedLoadError> + 'static> Probe<E> {
    pub fn __cached_error_text(&self) -> Option<ErrorText<E>> {
        Some(ErrorText::new(|error| SharedLoadError::new(error)))
    }
}

/// Errors that are a `String`, which is its own text.
pub trait WordsOfText {
    fn __cached_error_text(&self) -> Option<ErrorText<String>>;
}

impl WordsOfText for Probe<String> {
    fn __cached_error_text(&self) -> Option<ErrorText<String>> {
        Some(ErrorText::new(|text| SharedLoadError::from_text(text)))
    }
}

/// Errors such as `anyhow::Error`, which have the text of the error that they dereference to.
pub trait WordsOfTarget<E> {
    fn __cached_error_text(&self) -> Option<ErrorText<E>>;
}

impl<E: Deref<Target: AnyError> + From<SharedLoadError>> WordsOfTarget<E> for &Probe<E> {
    fn __cached_error_text(&self) -> Option<ErrorText<E>> {
        Some(ErrorText::new(|error| SharedLoadError::new(error.as_error())))
    }
}

/// Errors behind a trait object.
pub trait AnyError {
    fn as_error(&self) -> &(dyn Error + 'static);
}

impl AnyError for dyn Error {
    fn as_error(&self) -> &(dyn Error + 'static) {
        self
    }
}

impl AnyError for dyn Error + Send {
    fn as_error(&self) -> &(dyn Error + 'static) {
        self
    }
}

impl AnyError for dyn Error + Send + Sync {
    fn as_error(&self) -> &(dyn Error + 'static) {
        self
    }
}

/// Errors of all other types, which have no text to share.
pub trait NoWords<E> {
    fn __cached_error_text(self) -> Option<ErrorText<E>>;
}

impl<E> NoWords<E> for Probe<E> {
    fn __cached_error_text(self) -> Option<ErrorText<E>> {
        None
    }
}

/// Accepts `cache_err` on an error that is kept as text. Called on a reference.
pub trait KeepsWords {
    fn __cached_keeps_error(&self);
}

impl<E: Error + From<SharedLoadError> + 'static> KeepsWords for Probe<E> {
    fn __cached_keeps_error(&self) {}
}

/// Accepts `cache_err` on an error such as `anyhow::Error`.
pub trait KeepsTarget {
    fn __cached_keeps_error(&self);
}

impl<E: Deref<Target: AnyError> + From<SharedLoadError>> KeepsTarget for &Probe<E> {
    fn __cached_keeps_error(&self) {}
}

/// Rejects `cache_err` on an error that cannot be kept.
pub trait UnsharedError<E>: Sized {
    fn __cached_keeps_error(self)
    where
        Memory: KeepsError<E>,
    {
    }
}

impl<E> UnsharedError<E> for Probe<E> {}

/// Carries the compiler's message, and is implemented for nothing.
#[diagnostic::on_unimplemented(
    message = "`cache_err` cannot cache `{E}`",
    label = "the error is not `Clone + Send + Sync + 'static`, nor `Error + From<cached_aside::SharedLoadError>`",
    note = "derive `Clone` for it, return it in an `Arc`, write `impl From<cached_aside::SharedLoadError> \
            for` it, or make the copy that other callers get with `share_err = |e| ..`"
)]
pub trait KeepsError<E> {}
