use cached_aside::cached;

#[cached("soft", ttl = "5m", soft_timeout = "1s")]
async fn soft_without_stale(x: u32) -> u32 {
    x
}

#[cached("stale", ttl = "5m", stale = 0)]
async fn stale_of_zero(x: u32) -> u32 {
    x
}

#[cached("ahead", ttl = "5m", refresh_ahead = 1.0)]
async fn ahead_of_nothing(x: u32) -> u32 {
    x
}

#[cached("ahead", ttl = "5m", refresh_ahead = 0.8, local)]
fn ahead_in_the_caller(x: u32) -> u32 {
    x
}

#[cached("ahead", ttl = "5m", refresh_ahead = 0.8, detach = false)]
async fn ahead_not_detached(x: u32) -> u32 {
    x
}

#[cached("timeout", ttl = "5m", load_timeout = "1s", local)]
fn timeout_of_a_sync_load(x: u32) -> Result<u32, String> {
    Ok(x)
}

#[cached("timeout", ttl = "5m", load_timeout = "0s")]
async fn timeout_of_zero(x: u32) -> Result<u32, String> {
    Ok(x)
}

#[cached("timeout", ttl = "5m", load_timeout = some())]
async fn timeout_not_known(x: u32) -> Result<u32, String> {
    Ok(x)
}

#[cached("loads", ttl = "5m", max_loads = 0)]
async fn no_loads(x: u32) -> u32 {
    x
}

#[cached("none", ttl = "5m", cache_none = soon)]
async fn none_when(x: u32) -> Option<u32> {
    Some(x)
}

struct Users;

impl Users {
    #[cached("ahead", ttl = "5m", refresh_ahead = 0.8, skip(self))]
    async fn ahead_in_a_method(&self, x: u32) -> u32 {
        x
    }
}

fn main() {}
