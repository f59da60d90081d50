use cached_aside::cached;

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub struct User {
    pub id: u32,
}

#[cached("user", ttl = "5m")]
async fn user(id: u32) -> User {
    User { id }
}

fn main() {}
