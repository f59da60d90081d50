//! Variables of one of loom's threads, which all run in one real thread.

use std::cell::RefCell;

use loom::thread::LocalKey;

/// Replacement for `std::thread::LocalKey`.
pub(crate) struct Local<T: 'static>(pub(crate) &'static LocalKey<T>);

impl<T: 'static> Local<T> {
    pub(crate) fn try_with<R>(&self, f: impl FnOnce(&T) -> R) -> Result<R, loom::thread::AccessError> {
        self.0.try_with(f)
    }
}

impl<T: 'static> Local<RefCell<T>> {
    pub(crate) fn with_borrow<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        self.0.with(|cell| f(&cell.borrow()))
    }

    pub(crate) fn replace(&self, value: T) -> T {
        self.0.with(|cell| cell.replace(value))
    }

    pub(crate) fn set(&self, value: T) {
        drop(self.replace(value));
    }
}

macro_rules! thread_local_of_loom {
    (static $name:ident: $type:ty = const $value:block) => {
        static $name: $crate::sync::Local<$type> = {
    loom::thread_local!(static KEY: $type = $value);
            $crate::sync::Local(&KEY)
        };
    };
}
pub(crate) use thread_local_of_loom as thread_local;
