use cached_aside::cached;

#[cached("wait", ttl = "5m", tier_timeout = "1s", local)]
fn of_no_tier(x: u32) -> u32 {
    x
}

#[cached("wait", ttl = "5m", tier_timeout = "0s")]
async fn for_nothing(x: u32) -> u32 {
    x
}

fn main() {}
