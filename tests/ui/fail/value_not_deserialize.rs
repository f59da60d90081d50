use cached_aside::cached;

#[derive(Clone, serde::Serialize)]
pub struct User {
    pub id: u32,
}

#[cached("user", ttl = "5m")]
async fn user(id: u32) -> Option<User> {
    Some(User { id })
}

fn main() {}
