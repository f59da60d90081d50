use cached_aside::cached;

#[derive(Clone)]
pub struct User {
    pub id: u32,
}

#[cached("user", ttl = "5m")]
async fn user(id: u32) -> Result<User, std::io::Error> {
    Ok(User { id })
}

fn main() {}
