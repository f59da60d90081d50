use cached_aside::cached;

#[cached("user" ttl = "5m")]
async fn prefix(x: u32) -> u32 {
    x
}

#[cached("user", ttl = "5m" local)]
async fn ttl(x: u32) -> u32 {
    x
}

fn main() {}
