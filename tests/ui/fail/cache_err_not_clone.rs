use cached_aside::cached;

struct DbError;

#[cached("user", ttl = "5m", cache_err = "5s")]
async fn user(id: u32) -> Result<u32, DbError> {
    if id > 0 { Ok(id) } else { Err(DbError) }
}

fn main() {}
