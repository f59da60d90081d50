use cached_aside::cached;

#[cached("text:{x}", ttl = "5m", bound = "soon")]
async fn text(x: u32) -> u32 {
    x
}

#[cached("expression:{x}", ttl = "5m", bound = std::time::Duration::from_millis(200))]
async fn expression(x: u32) -> u32 {
    x
}

#[cached("arithmetic:{x}", ttl = "5m", bound = 2 * 60)]
async fn arithmetic(x: u32) -> u32 {
    x
}

#[cached("negative:{x}", ttl = "5m", bound = -1)]
async fn negative(x: u32) -> u32 {
    x
}

#[cached("float:{x}", ttl = "5m", bound = 0.5)]
async fn float(x: u32) -> u32 {
    x
}

#[cached("value:{x}", ttl = "5m", bound)]
async fn value(x: u32) -> u32 {
    x
}

#[cached("local:{x}", ttl = "5m", local, bound = "200ms")]
async fn local(x: u32) -> u32 {
    x
}

fn main() {}
