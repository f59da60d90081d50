use cached_aside::cached;

#[derive(Clone)]
pub struct User {
    pub id: u32,
}

#[cached("user:{user.idd}", ttl = "5m")]
async fn user(user: User) -> u32 {
    user.id
}

pub struct Repo {
    pub tenant: u32,
}

impl Repo {
    #[cached("repo:{self.tenent}", ttl = "5m")]
    pub async fn count(&self) -> u32 {
        self.tenant
    }
}

fn main() {}
