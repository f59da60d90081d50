//! Generator of replies that a server could send.

use arbitrary::{Result, Unstructured};
use redis::{PushKind, Value, VerbatimFormat};

/// Maximum depth of nested values.
const MAX_DEPTH: u8 = 4;

/// Generates any reply.
pub(crate) fn any_value(input: &mut Unstructured<'_>) -> Result<Value> {
    nested(input, 0)
}

fn nested(input: &mut Unstructured<'_>, depth: u8) -> Result<Value> {
    let last_variant = if depth < MAX_DEPTH { 13 } else { 8 };
    Ok(match input.int_in_range(0..=last_variant)? {
        0 => Value::Nil,
        1 => Value::Int(if input.arbitrary()? {
            input.int_in_range(-1..=20_000)?
        } else {
            input.arbitrary()?
        }),
        2 => Value::BulkString(input.arbitrary()?),
        3 => Value::SimpleString(input.arbitrary()?),
        4 => Value::Okay,
        5 => Value::Double(input.arbitrary()?),
        6 => Value::Boolean(input.arbitrary()?),
        7 => Value::VerbatimString { format: VerbatimFormat::Text, text: input.arbitrary()? },
        8 => redis::parse_redis_value(b"-ERR no\r\n").unwrap_or_default(),
        9 => Value::Array(list(input, depth + 1)?),
        10 => Value::Set(list(input, depth + 1)?),
        11 => Value::Map(pairs(input, depth + 1)?),
        12 => Value::Attribute {
            data: Box::new(nested(input, depth + 1)?),
            attributes: pairs(input, depth + 1)?,
        },
        _ => Value::Push { kind: any_push_kind(input)?, data: list(input, depth + 1)? },
    })
}

fn list(input: &mut Unstructured<'_>, depth: u8) -> Result<Vec<Value>> {
    let count = input.int_in_range(0..=5)?;
    (0..count).map(|_| nested(input, depth)).collect()
}

fn pairs(input: &mut Unstructured<'_>, depth: u8) -> Result<Vec<(Value, Value)>> {
    let count = input.int_in_range(0..=3)?;
    (0..count).map(|_| Ok((nested(input, depth)?, nested(input, depth)?))).collect()
}

/// Generates a kind of push, in half of the cases an invalidation.
pub(crate) fn any_push_kind(input: &mut Unstructured<'_>) -> Result<PushKind> {
    Ok(match input.int_in_range(0..=20)? {
        0 => PushKind::Disconnection,
        1 => PushKind::Other(input.arbitrary()?),
        2 => PushKind::Message,
        3 => PushKind::PMessage,
        4 => PushKind::SMessage,
        5 => PushKind::Unsubscribe,
        6 => PushKind::PUnsubscribe,
        7 => PushKind::SUnsubscribe,
        8 => PushKind::Subscribe,
        9 => PushKind::PSubscribe,
        10 => PushKind::SSubscribe,
        _ => PushKind::Invalidate,
    })
}
