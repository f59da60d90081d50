//! Classification of redis-rs errors, for the caller and for the connection.

use cached_core::TierError;
use redis::{RedisError, ServerError};

/// Codes that concern the state of the server, and not the command.
///
/// Another connection may lead to a server in another state: the address may have moved after a failover, and
/// a new connection logs in again.
const STATE_CODES: [&str; 5] = ["READONLY", "LOADING", "MASTERDOWN", "NOAUTH", "CLUSTERDOWN"];

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
            .and_then(|errors| errors.first().map(|(_, first)| sanitized_code(split_code(first).0)))
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
        Self::of_code(split_code(refusal).0)
    }

    /// Returns the verdict for the code of a refusal.
    pub(crate) fn of_code(code: &str) -> Self {
        if STATE_CODES.contains(&code) { Self::Refusing } else { Self::Sound }
    }
}

/// Returns the code of a refusal, and the text after it.
///
/// Before Redis 7, a refusal within a script has the general code, and its own code follows the position in
/// the script.
pub(crate) fn split_code(refusal: &ServerError) -> (&str, &str) {
    let (general, details) = (refusal.code(), refusal.details().unwrap_or_default());
    let in_script = details.starts_with("Error running script").then(|| details.rsplit_once("@user_script"));
    let Some(Some((_, message))) = in_script else { return (general, details) };
    let message = message.trim_start_matches(|c: char| c.is_ascii_digit() || ": -".contains(c));
    match message.split_once(' ') {
        Some((code, rest)) if sanitized_code(code) == code => (code, rest),
        _ => (general, message),
    }
}

/// Returns the error code, or `ERR` if the text does not look like a code.
pub(crate) fn sanitized_code(text: &str) -> String {
    let is_code = text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    if is_code && !text.is_empty() { text.to_owned() } else { "ERR".to_owned() }
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
    fn state_code_is_refusing_and_not_broken() {
        for code in STATE_CODES {
            assert_eq!(server_error(&format!("-{code} details\r\n")), refused(code, Verdict::Refusing));
        }
    }

    #[test]
    fn refused_command_leaves_connection_sound() {
        for code in ["ERR", "WRONGTYPE", "OOM", "NOPERM", "NOSCRIPT", "BUSY", "MISCONF"] {
            assert_eq!(server_error(&format!("-{code} details\r\n")), refused(code, Verdict::Sound));
        }
    }

    #[test]
    fn script_error_code_is_found_in_replies_of_older_servers() {
        for (message, code, verdict) in [
            ("@user_script:1: WRONGTYPE Operation against a key", "WRONGTYPE", Verdict::Sound),
            ("@user_script:1: @user_script: 1: -OOM command not allowed", "OOM", Verdict::Sound),
            ("@user_script:1: @user_script: 1: -READONLY You can't write", "READONLY", Verdict::Refusing),
            ("@user_script:1: @user_script: 1: The user executing the script can't", "ERR", Verdict::Sound),
            ("canary", "ERR", Verdict::Sound),
        ] {
            let reply = format!("-ERR Error running script (call to f_0): {message}\r\n");
            assert_eq!(server_error(&reply), refused(code, verdict), "{message}");
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
    fn lost_connection_is_broken_and_timeout_is_sound() {
        let lost = RedisError::from(io::Error::from(io::ErrorKind::ConnectionReset));
        assert_eq!(Failure::from(lost), Failure { error: TierError::Unavailable, verdict: Verdict::Broken });
        let timed_out = RedisError::from(io::Error::from(io::ErrorKind::TimedOut));
        assert_eq!(Failure::from(timed_out), Failure { error: TierError::Timeout, verdict: Verdict::Sound });
    }
}
