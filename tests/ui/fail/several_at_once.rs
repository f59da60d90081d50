use cached_aside::cached;

#[cached("user:{di}", ttl = "soon", jiter = 0.1, version = "2", skip(tenent))]
fn user(id: u32, tenant: u32, seen: &mut u32) -> u32 {
    *seen += 1;
    id + tenant
}

fn main() {
    // The function is there all the same.
    let _: u32 = user(1, 2, &mut 3);
}
