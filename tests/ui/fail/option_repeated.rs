use cached_aside::cached;

#[cached("ttl", ttl = "5m", ttl = "10m")]
async fn ttl(x: u32) -> u32 {
    x
}

#[cached("prefix", prefix = "other", ttl = "5m")]
async fn prefix(x: u32) -> u32 {
    x
}

#[cached("skip", ttl = "5m", skip(x), skip(y))]
async fn skip(x: u32, y: u32) -> u32 {
    x + y
}

#[cached("argument", ttl = "5m", skip(x, x))]
async fn argument(x: u32) -> u32 {
    x
}

#[cached("flag", ttl = "5m", local, local)]
fn flag(x: u32) -> u32 {
    x
}

fn main() {}
