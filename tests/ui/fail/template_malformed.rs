use cached_aside::cached;

#[cached("user:{id", ttl = "5m")]
async fn unclosed(id: u32) -> u32 {
    id
}

#[cached("user:id}", ttl = "5m")]
async fn unopened(id: u32) -> u32 {
    id
}

#[cached("", ttl = "5m")]
async fn empty(id: u32) -> u32 {
    id
}

#[cached("user*:{id}", ttl = "5m")]
async fn glob(id: u32) -> u32 {
    id
}

#[cached("user: {id}", ttl = "5m")]
async fn space(id: u32) -> u32 {
    id
}

#[cached("user:{a}{b}", ttl = "5m")]
async fn adjacent(a: u32, b: u32) -> u32 {
    a + b
}

#[cached("user:{a}-{b}", ttl = "5m")]
async fn close(a: u32, b: u32) -> u32 {
    a + b
}

#[cached("user:{id:?}", ttl = "5m")]
async fn debug(id: u32) -> u32 {
    id
}

#[cached("user:{}", ttl = "5m")]
async fn positional(id: u32) -> u32 {
    id
}

#[cached("user:{id + 1}", ttl = "5m")]
async fn expression(id: u32) -> u32 {
    id
}

#[cached("user:{digest(id)}", ttl = "5m")]
async fn function(id: u32) -> u32 {
    id
}



#[cached("%tag:{id}", ttl = 60)]
async fn reserved(id: u32) -> u32 {
    id
}
fn main() {}
