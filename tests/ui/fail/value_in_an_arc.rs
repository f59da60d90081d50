use std::sync::Arc;

use cached_aside::cached;

#[derive(serde::Serialize, serde::Deserialize)]
struct User {
    id: u64,
}

#[cached("user:{id}", ttl = "5m")]
async fn user(id: u64) -> Option<Arc<User>> {
    Some(Arc::new(User { id }))
}

fn main() {}
