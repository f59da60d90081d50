use cached_aside::cached;

#[cached("user", ttl = "soon")]
pub async fn user(id: &str) -> String {
    id.to_owned()
}

pub struct Repo;

impl Repo {
    #[cached("name", ttl = "soon", skip(self), handle = name_entry)]
    pub async fn name(&self, id: &str) -> String {
        id.to_owned()
    }
}

pub async fn elsewhere(repo: &Repo) -> Option<String> {
    let _ = user("a").await;
    let _ = user::invalidate("a").await;
    let _ = user::with(cached_aside::CacheControl::no_cache(), "a").await.value;
    let _ = repo.name_entry("a").invalidate().await;
    user::peek("a").await
}

fn main() {}
