use cached_aside::cached;

#[cached("user:{id}", ttl = "5m", key = id)]
async fn both(id: u32) -> u32 {
    id
}

#[cached("user", ttl = "5m", key = id, skip(page))]
async fn skip(id: u32, page: u32) -> u32 {
    id + page
}

fn main() {}
