//! Classification of failures: why there is no connection, or a limited one.
//!
//! Causes are derived from the errors of the server and of the system. Only known texts are taken from an
//! error of the server, because the rest may hold keys, names and addresses.

use std::{error::Error, io, sync::Arc};

use cached_core::TierCause;
use redis::{ErrorKind, RedisError, ServerError};

use crate::{
    connect::tls,
    protocol::failure::{sanitized_code, split_code},
};

/// Placeholder for the name of a command, if the refusal is about keys.
const ANY_KEYS: &str = "keys";

/// Placeholder for the name of a command in a script, if the server does not name it.
const SCRIPT_COMMAND: &str = "a command of a script";

/// Returns the cause of a failed query for the map of the cluster.
pub(crate) fn of_survey(error: &RedisError) -> TierCause {
    match of_error(error) {
        TierCause::NotPermitted(permission) if permission == SCRIPT_COMMAND => {
            TierCause::NotPermitted("cluster|info or cluster|slots".to_owned())
        }
        cause => cause,
    }
}

/// Returns the cause of a refusal.
pub(crate) fn of_refusal(refusal: &ServerError) -> TierCause {
    let (code, details) = split_code(refusal);
    of_code_and_details(code, details)
}

/// Returns the cause of a refusal from its code, without its text.
pub(crate) fn of_code(code: &str) -> TierCause {
    of_code_and_details(code, "")
}

/// Returns the cause of an error of redis-rs.
pub(crate) fn of_error(error: &RedisError) -> TierCause {
    if let Some(errors) = error.clone().into_server_errors()
        && let Some((_, refusal)) = errors.first()
    {
        return of_refusal(refusal);
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => TierCause::WrongPassword,
        ErrorKind::RESP3NotSupported => TierCause::NoResp3,
        ErrorKind::Server(_) => of_text(error.detail().unwrap_or_default()),
        _ => io_error(error).map_or(TierCause::Lost, of_io),
    }
}

/// Returns the cause of an error of the system.
pub(crate) fn of_io(error: &io::Error) -> TierCause {
    if let Some(cause) = tls::cause(error) {
        return cause;
    }
    match error.kind() {
        // `NotFound`: the file of a Unix socket does not exist.
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => TierCause::Refused,
        io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::PermissionDenied => TierCause::Unreachable,
        io::ErrorKind::TimedOut => TierCause::Timeout,
        _ => TierCause::Lost,
    }
}

/// Returns whether the server may not know the greeting of RESP3 (`HELLO`).
///
/// A connection that ends without a reply counts as well, because a proxy that does not know the greeting may
/// hang up. After any other error, such as too many clients, another connection is better than an older
/// protocol.
pub(crate) fn may_lack_resp3(error: &RedisError) -> bool {
    match error.clone().into_server_errors() {
        Some(errors) => errors.iter().all(|(_, refusal)| {
            let details = refusal.details().unwrap_or_default().to_ascii_lowercase();
            match refusal.code() {
                "NOPROTO" => true,
                "NOPERM" | "ERR" => details.contains("hello"),
                _ => false,
            }
        }),
        None => error.kind() == ErrorKind::RESP3NotSupported || has_hung_up(error),
    }
}

/// Returns whether the connection ended before the reply.
pub(crate) fn has_hung_up(error: &RedisError) -> bool {
    io_error(error).is_some_and(|error| {
        let has_ended = matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::NotConnected
        );
        has_ended && tls::cause(error).is_none()
    })
}

fn io_error(error: &RedisError) -> Option<&io::Error> {
    let source = error.source()?;
    source.downcast_ref().or_else(|| source.downcast_ref::<Arc<dyn Error + Send + Sync>>()?.downcast_ref())
}

fn of_code_and_details(code: &str, details: &str) -> TierCause {
    match code {
        "WRONGPASS" => TierCause::WrongPassword,
        "NOAUTH" => TierCause::AuthenticationRequired,
        "DENIED" => TierCause::ProtectedMode,
        "NOPROTO" => TierCause::NoResp3,
        "NOPERM" => not_permitted(details),
        "MOVED" | "ASK" | "CROSSSLOT" => TierCause::IsCluster,
        "READONLY" => TierCause::ReadOnly,
        "LOADING" => TierCause::Loading,
        "MASTERDOWN" => TierCause::PrimaryDown,
        "CLUSTERDOWN" => TierCause::ClusterDown,
        "OOM" => TierCause::Full,
        "ERR" => of_text(details),
        code => TierCause::Code(sanitized_code(code)),
    }
}

/// Returns the cause of a refusal with the general code.
///
/// The texts are those of the supported versions.
fn of_text(details: &str) -> TierCause {
    let has = |words: &str| details.contains(words);
    match () {
        () if has("max number of clients") => TierCause::TooManyClients,
        () if has("DB index") || has("invalid DB") => TierCause::NoSuchDatabase,
        () if has("in cluster mode") => TierCause::IsCluster,
        () if has("cluster support disabled") => TierCause::NoCluster,
        () if has("invalid password") || has("without any password") => TierCause::WrongPassword,
        () if has("READONLY") || has("read only replica") => TierCause::ReadOnly,
        () if has("OOM ") || has("'maxmemory'") => TierCause::Full,
        // Before Redis 5, a script that has queried the time may not write.
        () if has("non deterministic commands") || is_unknown_script(details) => TierCause::TooOld,
        () if has("the keys mentioned") => TierCause::NotPermitted(ANY_KEYS.to_owned()),
        () if has("permissions") || has("ACL failure") || has("can't run this command") => {
            not_permitted(details)
        }
        () => TierCause::Code("ERR".to_owned()),
    }
}

/// Returns whether the server does not know the commands that run scripts.
fn is_unknown_script(details: &str) -> bool {
    let details = details.to_ascii_lowercase();
    details.starts_with("unknown command") && details.contains("eval")
}

/// Returns whether this cause prevents all scripts.
///
/// This process can then store nothing.
pub(crate) fn prevents_scripts(cause: &TierCause) -> bool {
    match cause {
        TierCause::TooOld => true,
        TierCause::NotPermitted(command) => matches!(command.as_str(), "eval" | "evalsha"),
        _ => false,
    }
}

/// Returns the cause for a command that is not permitted, or for keys that are not.
///
/// The text may also name a key, which is left out.
fn not_permitted(details: &str) -> TierCause {
    let command = details.split_once("to run the '").and_then(|(_, rest)| rest.split_once('\''));
    let is_name = |name: &str| {
        (1..=40).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || b"|-_.".contains(&byte))
    };
    let permission = match command {
        Some((name, _)) if is_name(name) => name,
        Some(_) => "a command",
        None if details.contains("this command") => SCRIPT_COMMAND,
        None => ANY_KEYS,
    };
    TierCause::NotPermitted(permission.to_owned())
}

#[cfg(test)]
mod tests {
    use redis::parse_redis_value;

    use super::*;

    fn error(reply: &str) -> RedisError {
        parse_redis_value(format!("-{reply}\r\n").as_bytes()).unwrap().extract_error().unwrap_err()
    }

    fn not_permitted(what: &str) -> TierCause {
        TierCause::NotPermitted(what.to_owned())
    }

    #[test]
    fn server_errors_map_to_causes_without_secrets() {
        for (reply, cause) in [
            ("WRONGPASS invalid username-password pair or user is disabled.", TierCause::WrongPassword),
            ("ERR invalid password", TierCause::WrongPassword),
            ("NOAUTH Authentication required.", TierCause::AuthenticationRequired),
            ("DENIED Redis is running in protected mode because ..", TierCause::ProtectedMode),
            ("ERR max number of clients reached", TierCause::TooManyClients),
            ("ERR DB index is out of range", TierCause::NoSuchDatabase),
            ("ERR SELECT is not allowed in cluster mode", TierCause::IsCluster),
            ("ERR This instance has cluster support disabled", TierCause::NoCluster),
            ("MOVED 3999 10.0.0.1:6381", TierCause::IsCluster),
            (
                "NOPERM User canary has no permissions to run the 'client|tracking' command",
                not_permitted("client|tracking"),
            ),
            (
                "NOPERM this user has no permissions to run the 'get' command or its subcommand",
                not_permitted("get"),
            ),
            ("NOPERM No permissions to access a key", not_permitted("keys")),
            ("NOPERM User canary has no permissions to access the 'canary' key", not_permitted("keys")),
            ("NOPERM no permissions to run the 'CANARY 1' command", not_permitted("a command")),
            (
                "ERR ACL failure in script: User canary has no permissions to run the 'info' command script: 1",
                not_permitted("info"),
            ),
            (
                "ERR The user executing the script can't run this command or subcommand",
                not_permitted("a command of a script"),
            ),
            (
                "ERR Error running script (call to f_0): @user_script:1: @user_script: 1: -READONLY You can't",
                TierCause::ReadOnly,
            ),
            (
                "ERR Error running script (call to f_0): @user_script:1: @user_script: 1: The user executing the script can't access at least one of the keys mentioned in the command arguments",
                not_permitted("keys"),
            ),
            (
                "ERR Error running script (call to f_0): @user_script:1: @user_script: 1: Write commands not allowed after non deterministic commands. Call redis.replicate_commands() at the start of your script",
                TierCause::TooOld,
            ),
            ("ERR unknown command 'EVALSHA', with args beginning with: 'canary'", TierCause::TooOld),
            ("ERR unknown command `evalsha`", TierCause::TooOld),
            ("READONLY You can't write against a read only replica.", TierCause::ReadOnly),
            ("LOADING Redis is loading the dataset in memory", TierCause::Loading),
            ("MASTERDOWN Link with MASTER is down", TierCause::PrimaryDown),
            ("CLUSTERDOWN Hash slot not served", TierCause::ClusterDown),
            ("OOM command not allowed when used memory > 'maxmemory'.", TierCause::Full),
            ("MISCONF canary", TierCause::Code("MISCONF".to_owned())),
            ("canary canary", TierCause::Code("ERR".to_owned())),
            ("ERR canary", TierCause::Code("ERR".to_owned())),
        ] {
            assert_eq!(of_error(&error(reply)), cause, "{reply}");
            assert!(!format!("{cause} {cause:?}").contains("canary"), "{cause}");
        }
    }

    #[test]
    fn io_errors_map_to_causes() {
        let of = |kind: io::ErrorKind| of_error(&RedisError::from(io::Error::from(kind)));
        assert_eq!(of(io::ErrorKind::ConnectionRefused), TierCause::Refused);
        assert_eq!(of(io::ErrorKind::HostUnreachable), TierCause::Unreachable);
        assert_eq!(of(io::ErrorKind::TimedOut), TierCause::Timeout);
        assert_eq!(of(io::ErrorKind::ConnectionReset), TierCause::Lost);
    }

    #[test]
    fn only_server_without_resp3_falls_back_to_resp2() {
        for reply in [
            "NOPROTO unsupported protocol version",
            "ERR unknown command 'HELLO', with args beginning with: '3'",
            "ERR unknown command `HELLO`, with args beginning with: `3`, ",
            "ERR unsupported command 'hello'",
        ] {
            assert!(may_lack_resp3(&error(reply)), "{reply}");
        }
        for reply in [
            "ERR max number of clients reached",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "NOAUTH HELLO must be called with the client already authenticated",
            "LOADING Redis is loading the dataset in memory",
            "DENIED Redis is running in protected mode",
        ] {
            assert!(!may_lack_resp3(&error(reply)), "{reply}");
        }
        let io = |kind: io::ErrorKind| RedisError::from(io::Error::from(kind));
        assert!(may_lack_resp3(&io(io::ErrorKind::UnexpectedEof)));
        assert!(may_lack_resp3(&io(io::ErrorKind::ConnectionReset)));
        assert!(!may_lack_resp3(&io(io::ErrorKind::ConnectionRefused)));
    }
}
