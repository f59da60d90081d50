use cached_aside::cached;

#[cached("returns:{x}", ttl = "5m", tags_from = |v| v.to_string())]
async fn returns(x: u32) -> u32 {
    x
}

#[cached("captures:{x}", ttl = "5m", tags_from = |_| vec![format!("x:{}", x)])]
async fn captures(x: u32) -> u32 {
    x
}

#[cached("value:{x}", ttl = "5m", tags_from)]
async fn value(x: u32) -> u32 {
    x
}

struct Repo;

impl Repo {
    #[cached("own:{x}", ttl = "5m", skip(self), tags_from = |_| vec![self.name()])]
    async fn own(&self, x: u32) -> u32 {
        x
    }
}

fn main() {}
