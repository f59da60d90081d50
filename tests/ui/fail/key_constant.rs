use cached_aside::cached;

#[cached("price", key = "price:{id}", ttl = "5m")]
async fn price(id: u32) -> u32 {
    id
}

fn main() {}
