use cached_aside::{cached, tag};

#[cached("returns:{x}", ttl = "5m", tags_from = |v| v.to_string())]
async fn returns(x: u32) -> u32 {
    x
}

#[cached("captures:{x}", ttl = "5m", tags_from = |_| vec![tag!("x:{}", x)])]
async fn captures(x: u32) -> u32 {
    x
}

#[cached("value:{x}", ttl = "5m", tags_from)]
async fn value(x: u32) -> u32 {
    x
}

#[cached("strings:{x}", ttl = "5m", tags_from = |v| vec![format!("x:{v}")])]
async fn strings(x: u32) -> u32 {
    x
}

#[cached("inline:{x}", ttl = "5m", tags_from = |v| vec![tag!("x:{v}")])]
async fn inline(x: u32) -> u32 {
    x
}

#[cached("parts:{x}", ttl = "5m", tags_from = |v| vec![tag!("x:{}:{}", v)])]
async fn parts(x: u32) -> u32 {
    x
}

#[cached("text:{x}", ttl = "5m", tags_from = |v| vec![tag!(v.to_string())])]
async fn text(x: u32) -> u32 {
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
