use cached_aside::cached;

#[cached("ttl", ttl)]
async fn ttl(x: u32) -> u32 {
    x
}

#[cached("nothing", ttl =)]
async fn nothing(x: u32) -> u32 {
    x
}

#[cached("cache_if", ttl = "5m", cache_if)]
async fn cache_if(x: u32) -> u32 {
    x
}

#[cached("cache_err", ttl = "5m", cache_err)]
async fn cache_err(x: u32) -> u32 {
    x
}

#[cached("version", ttl = "5m", version)]
async fn version(x: u32) -> u32 {
    x
}

fn main() {}
