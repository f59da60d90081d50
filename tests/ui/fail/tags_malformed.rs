use cached_aside::cached;

#[cached("text:{x}", ttl = "5m", tags = "user:{x}")]
async fn text(x: u32) -> u32 {
    x
}

#[cached("names:{x}", ttl = "5m", tags = [x])]
async fn names(x: u32) -> u32 {
    x
}

#[cached("none:{x}", ttl = "5m", tags = [])]
async fn none(x: u32) -> u32 {
    x
}

#[cached("value:{x}", ttl = "5m", tags)]
async fn value(x: u32) -> u32 {
    x
}

#[cached("twice:{x}", ttl = "5m", tags = ["a:{x}", "b", "a:{x}"])]
async fn twice(x: u32) -> u32 {
    x
}

#[cached("several:{x}", ttl = "5m", tags = ["", "a tag", "user:*", "user:{x", "user:{x}{x}", "user:{x + 1}"])]
async fn several(x: u32) -> u32 {
    x
}

fn main() {}
