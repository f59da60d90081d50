//! What an error of redis-rs means to the caller, and what it says about the connection.

use cached_core::TierError;
use redis::RedisError;

/// Codes that speak of the server's state, not of the command. Another connection may lead to a server in
/// another state: the address may have moved after a failover, and a new connection logs in again.
const STATES: [&str; 5] = ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "CLUSTERDOWN"];

/// A failed operation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What the caller is told.
    pub(crate) error: TierError,
    /// What the supervisor should know.
    pub(crate) verdict: Verdict,
}

/// What a failure says about the connection that it happened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: it works, or nobody knows and the next check will tell.
    Sound,
    /// It works, but its server is in a state in which it refuses.
    Refusing,
    /// It does not work any more.
    Broken,
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() {
            return Self { error: TierError::Timeout, verdict: Verdict::Sound };
        }
        // Only the first word of what the server says: the rest may repeat keys and values.
        match error
            .into_server_errors()
            .and_then(|errors| errors.first().map(|(_, first)| code(first.code())))
        {
            Some(code) => {
                let verdict = Verdict::of_code(&code);
                Self { error: TierError::Refused(code), verdict }
            }
            // An I/O error, or an answer that does not fit the question.
            None => Self { error: TierError::Unavailable, verdict: Verdict::Broken },
        }
    }
}

impl Verdict {
    /// What the code of a refusal says.
    pub(crate) fn of_code(code: &str) -> Self {
        if STATES.contains(&code) { Self::Refusing } else { Self::Sound }
    }
}

/// The error code, if it looks like one.
fn code(word: &str) -> String {
    let like_a_code = word.len() <= 32 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    if like_a_code && !word.is_empty() { word.to_owned() } else { "ERR".to_owned() }
}

#[cfg(test)]
mod tests {
    use std::io;

    use redis::parse_redis_value;

    use super::*;

    fn server_error(reply: &str) -> Failure {
        parse_redis_value(reply.as_bytes()).unwrap().extract_error().unwrap_err().into()
    }

    fn refused(code: &str, verdict: Verdict) -> Failure {
        Failure { error: TierError::Refused(code.to_owned()), verdict }
    }

    #[test]
    fn a_state_of_the_server_is_no_broken_connection() {
        for code in STATES {
            assert_eq!(server_error(&format!("-{code} details\r\n")), refused(code, Verdict::Refusing));
        }
    }

    #[test]
    fn a_refused_command_says_nothing_about_the_connection() {
        for code in ["ERR", "WRONGTYPE", "OOM", "NOPERM", "NOSCRIPT", "BUSY", "MISCONF"] {
            assert_eq!(server_error(&format!("-{code} details\r\n")), refused(code, Verdict::Sound));
        }
    }

    #[test]
    fn text_that_is_no_code_is_withheld() {
        for reply in
            ["-canary\r\n", "-user:1 canary\r\n", "-ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHI x\r\n", "-\r\n"]
        {
            assert_eq!(server_error(reply), refused("ERR", Verdict::Sound), "{reply:?}");
        }
    }

    #[test]
    fn a_lost_connection_is_broken_and_a_timeout_is_not() {
        let lost = RedisError::from(io::Error::from(io::ErrorKind::ConnectionReset));
        assert_eq!(Failure::from(lost), Failure { error: TierError::Unavailable, verdict: Verdict::Broken });
        let late = RedisError::from(io::Error::from(io::ErrorKind::TimedOut));
        assert_eq!(Failure::from(late), Failure { error: TierError::Timeout, verdict: Verdict::Sound });
    }
}
