use std::{fmt::Debug, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

/// Cached value.
pub trait Value: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Creates the value of a key.
    fn new(number: u64) -> Self;
}

impl Value for u64 {
    fn new(number: u64) -> Self {
        number
    }
}

/// Text of 200 bytes that all callers share.
impl Value for Arc<String> {
    fn new(number: u64) -> Self {
        Self::new(format!("{number:0200}"))
    }
}

/// Text of 4 KB that is copied for each caller.
impl Value for String {
    fn new(number: u64) -> Self {
        format!("{number:04096}")
    }
}
