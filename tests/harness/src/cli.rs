//! One blocking command, with the reply as text.

use redis::{Client, IntoConnectionInfo, RedisResult, Value};

use crate::wait::PATIENCE;

/// Sends one command over a connection of its own, and returns the reply as text.
pub(crate) fn run(url: &str, args: &[&str]) -> RedisResult<String> {
    let info = url.into_connection_info()?;
    // Tests may count commands, and servers differ in how they count an unknown one.
    let login = info.redis_settings().clone().set_skip_set_lib_name();
    let client = Client::open(info.set_redis_settings(login))?;
    let mut connection = client.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let (name, rest) = args.split_first().expect("a command has a name");
    redis::cmd(name).arg(rest).query::<Value>(&mut connection).map(|value| text(&value))
}

/// Formats the value as redis-cli prints it to a pipe: `(nil)` for nil, one line per element for an array.
fn text(value: &Value) -> String {
    match value {
        Value::Nil => "(nil)".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Okay => "OK".to_owned(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join("\n"),
        other => format!("{other:?}"),
    }
}
