use cached_aside::cached;

#[cached("sync", ttl = "5m")]
fn sync(x: u32) -> u32 {
    x
}

#[cached("const", ttl = "5m", local)]
const fn constant(x: u32) -> u32 {
    x
}

#[cached("unsafe", ttl = "5m")]
async unsafe fn danger(x: u32) -> u32 {
    x
}

#[cached("extern", ttl = "5m", local)]
extern "C" fn foreign(x: u32) -> u32 {
    x
}

fn main() {}
