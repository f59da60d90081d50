//! A process that shares a Redis server with others. Its argument is the URL of the server.

fn main() {
    let url = std::env::args().nth(1).expect("the address of Redis");
    cached_aside_bench::remote_work(&url);
}
