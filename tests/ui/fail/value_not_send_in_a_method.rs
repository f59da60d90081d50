use cached_aside::cached;

use std::rc::Rc;

pub struct Repo;

impl Repo {
    #[cached("user", ttl = "5m", local, skip(self))]
    pub fn user(&self, id: u32) -> Result<Rc<u32>, String> {
        Ok(Rc::new(id))
    }
}

fn main() {}
