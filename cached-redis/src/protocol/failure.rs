//! Classification of redis-rs errors, for the caller and for the connection.

use cached_core::TierError;
use redis::{RedisError, ServerError};

/// Codes that concern the state of the server, and not the command.
///
/// Another connection may lead to a server in another state: the address may have moved after a failover, and
/// a new connection logs in again.
const STATES: [&str; 5] = ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "CLUSTERDOWN"];

/// A failed operation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Error for the caller.
    pub(crate) error: TierError,
    /// Verdict for the supervisor.
    pub(crate) verdict: Verdict,
}

/// Conclusion from a failure about its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// None: the connection works, or the next check will show that it does not.
    Sound,
    /// The connection works, but the state of its server makes it refuse.
    Refusing,
    /// The connection does not work any more.
    Broken,
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() {
            return Self { error: TierError::Timeout, verdict: Verdict::Sound };
        }
        // Only the code of the refusal is kept: the rest of the text may repeat keys and values.
        match error
            .into_server_errors()
            .and_then(|errors| errors.first().map(|(_, first)| code(words(first).0)))
        {
            Some(code) => {
                let verdict = Verdict::of_code(&code);
                Self { error: TierError::Refused(code), verdict }
            }
            // An I/O error, or a reply that does not match the request.
            None => Self { error: TierError::Unavailable, verdict: Verdict::Broken },
        }
    }
}

impl Verdict {
    /// Returns the verdict for a refusal.
    pub(crate) fn of(refusal: &ServerError) -> Self {
        Self::of_code(words(refusal).0)
    }

    /// Returns the verdict for the code of a refusal.
    pub(crate) fn of_code(code: &str) -> Self {
        if STATES.contains(&code) { Self::Refusing } else { Self::Sound }
    }
}

/// Returns the code of a refusal, and the text after it.
///
/// Before Redis 7, a refusal within a script has the general code, and its own code follows the position in
/// the script.
pub(crate) fn words(refusal: &ServerError) -> (&str, &str) {
    let (general, details) = (refusal.code(), refusal.details().unwrap_or_default());
    let of_script = details.starts_with("Error running script").then(|| details.rsplit_once("@user_script"));
    let Some(Some((_, said))) = of_script else { return (general, details) };
    let said = said.trim_start_matches(|c: char| c.is_ascii_digit() || ": -".contains(c));
    match said.split_once(' ') {
        Some((word, rest)) if code(word) == word => (word, rest),
        _ => (general, said),
    }
}

/// Returns the error code, or `ERR` if the text does not look like a code.
pub(crate) fn code(word: &str) -> String {
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
    fn refused_command_leaves_the_connection_sound() {
        for code in ["ERR", "WRONGTYPE", "OOM", "NOPERM", "NOSCRIPT", "BUSY", "MISCONF"] {
            assert_eq!(server_error(&format!("-{code} details\r\n")), refused(code, Verdict::Sound));
        }
    }

    #[test]
    fn script_error_code_is_found_in_replies_of_older_servers() {
        for (said, code, verdict) in [
            ("@user_script:1: WRONGTYPE Operation against a key", "WRONGTYPE", Verdict::Sound),
            ("@user_script:1: @user_script: 1: -OOM command not allowed", "OOM", Verdict::Sound),
            ("@user_script:1: @user_script: 1: -READONLY You can't write", "READONLY", Verdict::Refusing),
            ("@user_script:1: @user_script: 1: The user executing the script can't", "ERR", Verdict::Sound),
            ("canary", "ERR", Verdict::Sound),
        ] {
            let reply = format!("-ERR Error running script (call to f_0): {said}\r\n");
            assert_eq!(server_error(&reply), refused(code, verdict), "{said}");
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
