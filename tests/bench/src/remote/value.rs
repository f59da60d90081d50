//! Structured values of a selectable size.

use std::sync::Arc;

use cached_aside::Format;
use hitbox_fn::CacheableResponse;
use serde::{Deserialize, Serialize};

/// Row, as a database might return it: about 170 bytes of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Item {
    id: u32,
    name: String,
    note: String,
    price: f64,
    tags: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, CacheableResponse, Serialize, Deserialize)]
pub(crate) struct Items {
    pub(crate) id: u32,
    pub(crate) rows: Arc<Vec<Item>>,
}

/// Returns the value of a key.
pub(crate) fn items(id: u32, rows: u32) -> Items {
    let row = |row| Item {
        id: row,
        name: format!("item {id} {row}"),
        note: "it has been in the cellar since the last flood ".repeat(2),
        price: f64::from(row) + 0.25,
        tags: vec!["red".to_owned(), "second hand".to_owned()],
    };
    Items { id, rows: Arc::new((0..rows).map(row).collect()) }
}

/// Encoding of a value in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Codec {
    Json,
    MessagePack,
    Postcard,
}

impl Codec {
    pub(crate) const ALL: [Self; 3] = [Self::Json, Self::MessagePack, Self::Postcard];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::MessagePack => "MessagePack",
            Self::Postcard => "postcard",
        }
    }

    pub(crate) fn format(self) -> Format {
        match self {
            Self::Json => Format::Json,
            Self::MessagePack => Format::MessagePack,
            Self::Postcard => Format::Postcard,
        }
    }

    pub(crate) fn encode(self, value: &Items) -> Vec<u8> {
        match self {
            Self::Json => serde_json::to_vec(value).expect("it can be encoded"),
            Self::MessagePack => rmp_serde::to_vec_named(value).expect("it can be encoded"),
            Self::Postcard => postcard::to_allocvec(value).expect("it can be encoded"),
        }
    }

    pub(crate) fn decode(self, bytes: &[u8]) -> Items {
        match self {
            Self::Json => serde_json::from_slice(bytes).expect("it was encoded so"),
            Self::MessagePack => rmp_serde::from_slice(bytes).expect("it was encoded so"),
            Self::Postcard => postcard::from_bytes(bytes).expect("it was encoded so"),
        }
    }
}
