use cached_aside::cached;

struct User {
    id: u32,
    name: Name,
}

struct Name;

#[cached("user:{user.id}", ttl = "5m", tags = ["user:{user}"])]
async fn whole(user: &User) -> u32 {
    user.id
}

#[cached("user:{user.id}", ttl = "5m", tags = ["name:{user.name}", "name:{hash(user.name)}", "x:{user.nmae}"])]
async fn field(user: &User) -> u32 {
    let Name = user.name;
    user.id
}

fn main() {}
