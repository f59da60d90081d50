//! The settings in a URL, after the `?`.

use std::time::Duration;

use cached_core::Error;

/// Protocol of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// RESP3, or RESP2 if the server does not know RESP3.
    #[default]
    Any,
    Resp2,
    Resp3,
}

/// Settings in a URL.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) read_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) protocol: Option<Protocol>,
    /// The part that belongs to the address of a socket: its login and its database.
    pub(crate) socket_query: String,
}

impl Query {
    /// Splits the settings from the end of a URL.
    ///
    /// An unknown setting is refused, because a typing error would go unnoticed otherwise. No error quotes
    /// any part of the URL.
    pub(crate) fn split(url: &str, is_socket: bool) -> Result<(&str, Self), Error> {
        let Some((rest, text)) = url.split_once('?') else { return Ok((url, Self::default())) };
        let mut query = Self::default();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let timeout = match name {
                "read_timeout" => &mut query.read_timeout,
                "write_timeout" => &mut query.write_timeout,
                "connect_timeout" => &mut query.connect_timeout,
                "protocol" if query.protocol.is_none() => {
                    query.protocol = Some(protocol(value)?);
                    continue;
                }
                "user" | "pass" | "db" if is_socket => {
                    query.socket_query.push_str(if query.socket_query.is_empty() { "?" } else { "&" });
                    query.socket_query.push_str(part);
                    continue;
                }
                _ => {
                    return Err(Error::config(
                        "redis url: the settings after the `?` must be read_timeout, write_timeout, \
                         connect_timeout or protocol, each once only",
                    ));
                }
            };
            if timeout.replace(duration(value)?).is_some() {
                return Err(Error::config("redis url: each setting after the `?` must be given once only"));
            }
        }
        Ok((rest, query))
    }
}

fn protocol(value: &str) -> Result<Protocol, Error> {
    match value {
        "resp2" | "2" => Ok(Protocol::Resp2),
        "resp3" | "3" => Ok(Protocol::Resp3),
        _ => Err(Error::config("redis url: protocol must be `resp2` or `resp3`")),
    }
}

fn duration(value: &str) -> Result<Duration, Error> {
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    let duration = match (number.parse::<u32>(), unit) {
        (Ok(number), "ms") => Duration::from_millis(number.into()),
        (Ok(number), "s") => Duration::from_secs(number.into()),
        _ => Duration::ZERO,
    };
    if duration.is_zero() {
        return Err(Error::config(
            "redis url: a timeout must be a number and a unit, such as `200ms` or `2s`",
        ));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_split_from_url() {
        let (rest, query) =
            Query::split("host/2?read_timeout=200ms&protocol=resp2&connect_timeout=3s", false).unwrap();
        assert_eq!(rest, "host/2");
        assert_eq!(query.read_timeout, Some(Duration::from_millis(200)));
        assert_eq!((query.write_timeout, query.connect_timeout), (None, Some(Duration::from_secs(3))));
        assert_eq!(query.protocol, Some(Protocol::Resp2));
        let (rest, query) = Query::split("/run/redis.sock?pass=a%26b&read_timeout=1s&db=1", true).unwrap();
        assert_eq!((rest, &*query.socket_query), ("/run/redis.sock", "?pass=a%26b&db=1"));
        assert_eq!(Query::split("host", false).unwrap(), ("host", Query::default()));
    }

    #[test]
    fn invalid_url_parameters_are_rejected() {
        for text in [
            "read_timeout=200",
            "read_timeout=0s",
            "read_timeout=",
            "read_timeout",
            "read_timeout=1h",
            "read_timeout=-1s",
            "read_timeout=99999999999s",
            "read_timeout=1s&read_timeout=1s",
            "protocol=resp4",
            "protocol=resp3&protocol=resp3",
            "timeout=1s",
            "db=1",
            "pass=x",
            "READ_TIMEOUT=1s",
        ] {
            assert!(Query::split(&format!("host?{text}"), false).is_err(), "{text}");
        }
    }
}
