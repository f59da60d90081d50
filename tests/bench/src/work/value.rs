use std::{fmt::Debug, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

/// What is cached.
pub trait Value: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The value of a key.
    fn new(number: u64) -> Self;
}

impl Value for u64 {
    fn new(number: u64) -> Self {
        number
    }
}

/// Shared: 200 bytes.
impl Value for Arc<String> {
    fn new(number: u64) -> Self {
        Self::new(format!("{number:0200}"))
    }
}

/// Copied for each caller: 4 KB.
impl Value for String {
    fn new(number: u64) -> Self {
        format!("{number:04096}")
    }
}
