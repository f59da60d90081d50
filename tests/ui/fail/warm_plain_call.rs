use cached_aside::{cached, warm};

#[cached("user", ttl = "5m")]
async fn user(id: u64) -> String {
    id.to_string()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // The call itself, which returns the value.
    warm([1, 2, 3], |id| user(id)).await;
    warm([1, 2, 3], |id| user::with(cached_aside::CacheControl::new(), id)).await;
}
