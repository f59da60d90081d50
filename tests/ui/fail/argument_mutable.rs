use cached_aside::cached;

#[cached("user", ttl = "5m")]
async fn user(seen: &mut Vec<u32>, id: u32) -> u32 {
    seen.push(id);
    id
}

fn main() {}
