use cached_aside::cached;

use std::rc::Rc;

#[cached("user", ttl = "5m", local)]
async fn user(id: u32) -> Rc<u32> {
    Rc::new(id)
}

fn main() {}
