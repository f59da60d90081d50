use cached_aside::cached;

#[cached("user")]
async fn user(x: u32) -> u32 {
    x
}

#[cached]
async fn bare(x: u32) -> u32 {
    x
}

#[cached()]
async fn empty(x: u32) -> u32 {
    x
}

fn main() {}
