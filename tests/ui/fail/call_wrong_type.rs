use cached_aside::cached;

#[cached("user", ttl = "5m")]
async fn user(id: u32, name: &str) -> u32 {
    let _ = name;
    id
}

async fn calls() {
    user("7", "Ada").await;
    user(7).await;
    let _ = user::invalidate("7", "Ada").await;
    let _ = user::invalidate(7).await;
    let _ = user::forget(7, "Ada").await;
}

fn main() {}
