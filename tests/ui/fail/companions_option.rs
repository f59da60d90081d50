use cached_aside::cached;

#[cached("user:{n}", ttl = "5m", companions)]
async fn without_a_name(n: u64) -> u64 {
    n
}

#[cached("user:{n}", ttl = "5m", companions = "users")]
async fn a_string(n: u64) -> u64 {
    n
}

struct Users;

impl Users {
    #[cached("user:{n}", ttl = "5m", skip(self), companions = users)]
    async fn user(&self, n: u64) -> u64 {
        n
    }
}

#[cached("user:{n}", ttl = "5m")]
#[cached("user:{n}", ttl = "1m")]
async fn twice(n: u64) -> u64 {
    n
}

fn main() {}
