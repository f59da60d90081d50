//! Reasons for which a shared tier did not answer.

use std::fmt;

/// Reason for which a shared tier did not answer.
///
/// It holds neither keys, nor values, nor credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TierError {
    /// There is no connection.
    Unavailable,
    /// The operation did not end within its budget. It may still take effect.
    Timeout,
    /// The tier refused the operation. The text is its error code, such as `READONLY`.
    Refused(String),
}

impl fmt::Display for TierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable => f.write_str("the shared tier cannot be reached"),
            Self::Timeout => f.write_str("the shared tier did not answer within its budget"),
            Self::Refused(code) => write!(f, "the shared tier refused: {code}"),
        }
    }
}

impl std::error::Error for TierError {}
