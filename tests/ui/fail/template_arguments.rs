use cached_aside::cached;

#[cached("user:{user_di}", ttl = "5m")]
async fn near(user_id: u32) -> u32 {
    user_id
}

#[cached("user:{id}:{tenant}", ttl = "5m")]
async fn far(id: u32) -> u32 {
    id
}

#[cached("user:{id}", ttl = "5m")]
async fn open(id: u32, page: u32) -> u32 {
    id + page
}

#[cached("user:{id}:{page}", ttl = "5m", skip(page))]
async fn skipped(id: u32, page: u32) -> u32 {
    id + page
}

#[cached("user:{self.id}", ttl = "5m")]
async fn free(id: u32) -> u32 {
    id
}

fn main() {}
