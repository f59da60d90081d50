//! Programs with one or more functions of one shape. The group `compile` builds them.

/// Source of one program. In all parts, `{n}` stands for the number of a function.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// Lines of `Cargo.toml`; `{root}` stands for the path of this repository.
    pub(crate) dependencies: &'static str,
    pub(crate) prelude: &'static str,
    /// First function, with everything that the program needs once.
    pub(crate) first: &'static str,
    /// Any further function; empty if it would only be a copy of code that a user writes by hand.
    pub(crate) function: &'static str,
    pub(crate) call: &'static str,
}

macro_rules! attribute {
    ($name:literal, $dependencies:literal, $prelude:literal, $function:literal, $call:literal) => {
        Program {
            name: $name,
            dependencies: $dependencies,
            prelude: $prelude,
            first: $function,
            function: $function,
            call: $call,
        }
    };
}

macro_rules! by_hand {
    ($name:literal, $dependencies:literal, $first:literal) => {
        Program {
            name: $name,
            dependencies: $dependencies,
            prelude: "",
            first: $first,
            function: "",
            call: "f{n}(7, \"ada\").await",
        }
    };
}

impl Program {
    /// Returns the source of the program with a number of functions.
    pub(crate) fn source(&self, functions: u32) -> String {
        let Self { prelude, first, function, call, .. } = self;
        let mut source = format!("{prelude}\n{}\n", first.replace("{n}", "0"));
        let print = |number: &str| format!("    println!(\"{{:?}}\", {});\n", call.replace("{n}", number));
        let mut calls = print("0");
        for number in 1..functions {
            let number = number.to_string();
            source += &(function.replace("{n}", &number) + "\n");
            calls += &print(&number);
        }
        format!("{source}#[tokio::main]\nasync fn main() {{\n{calls}}}\n")
    }
}

/// All programs. The first one has no cache.
pub(crate) const PROGRAMS: &[Program] = &[
    attribute!(
        "no cache",
        "",
        "",
        r#"async fn f{n}(id: u64, name: &str) -> Result<String, String> { Ok(format!("{id} {name}")) }"#,
        r#"f{n}(7, "ada").await"#
    ),
    attribute!(
        "cached-aside without redis",
        r#"cached-aside = { path = "{root}", default-features = false }"#,
        "",
        r#"#[cached_aside::cached("f{n}", ttl = "1m")]
async fn f{n}(id: u64, name: &str) -> Result<String, String> { Ok(format!("{id} {name}")) }"#,
        r#"f{n}(7, "ada").await"#
    ),
    attribute!(
        "cached-aside",
        r#"cached-aside = { path = "{root}" }"#,
        "",
        r#"#[cached_aside::cached("f{n}", ttl = "1m")]
async fn f{n}(id: u64, name: &str) -> Result<String, String> { Ok(format!("{id} {name}")) }"#,
        r#"f{n}(7, "ada").await"#
    ),
    attribute!(
        "cached",
        r#"cached = { version = "4", features = ["async"] }"#,
        "",
        r#"#[cached::macros::cached(max_size = 1000, ttl_secs = 60)]
async fn f{n}(id: u64, name: &str) -> Result<String, String> { Ok(format!("{id} {name}")) }"#,
        r#"f{n}(7, "ada").await"#
    ),
    attribute!(
        "cached with redis",
        r#"cached = { version = "4", features = ["async", "redis_tokio"] }"#,
        "",
        r#"#[cached::macros::cached(max_size = 1000, ttl_secs = 60)]
async fn f{n}(id: u64, name: &str) -> Result<String, String> { Ok(format!("{id} {name}")) }"#,
        r#"f{n}(7, "ada").await"#
    ),
    attribute!(
        "cachelito",
        r#"cachelito = "0.16"
cachelito-core = "0.16"
once_cell = "1"
parking_lot = "0.12"
[features]
default = ["stats"]
stats = []"#,
        "",
        r#"#[cachelito::cache(limit = 1000, ttl = 60)]
fn f{n}(id: u64, name: &str) -> Result<String, String> { Ok(format!("{id} {name}")) }"#,
        r#"f{n}(7, "ada")"#
    ),
    attribute!(
        "hitbox",
        r#"hitbox = "0.2"
hitbox-fn = { version = "0.2", features = ["derive"] }
hitbox-moka = "0.2""#,
        r"use std::sync::LazyLock;
use hitbox_fn::Cache;
type Memory = Cache<hitbox_moka::MokaBackend, hitbox::concurrency::NoopConcurrencyManager, hitbox::DisabledOffload>;
static CACHE: LazyLock<Memory> = LazyLock::new(|| {
    let policy = hitbox::policy::PolicyConfig::builder().ttl(std::time::Duration::from_secs(60)).build();
    Cache::builder().backend(hitbox_moka::MokaBackend::builder().max_entries(1000).build()).policy(policy).build()
});",
        r#"#[hitbox_fn::cached(prefix = "f{n}")]
async fn f{n}(id: u64, name: String) -> Result<String, String> { Ok(format!("{id} {name}")) }"#,
        r#"f{n}(7, "ada".to_owned()).cache(&*CACHE).await"#
    ),
    attribute!(
        "moka future, by hand",
        r#"moka = { version = "0.12", features = ["future"] }"#,
        "use std::{sync::LazyLock, time::Duration};\nuse moka::future::Cache;",
        r#"async fn f{n}(id: u64, name: &str) -> Result<String, String> {
    static CACHE: LazyLock<Cache<(u64, String), String>> =
        LazyLock::new(|| Cache::builder().max_capacity(1000).time_to_live(Duration::from_secs(60)).build());
    let load = async { Ok::<_, String>(format!("{id} {name}")) };
    CACHE.try_get_with((id, name.to_owned()), load).await.map_err(|error| (*error).clone())
}"#,
        r#"f{n}(7, "ada").await"#
    ),
    by_hand!(
        "quick_cache, by hand",
        r#"quick_cache = "0.7""#,
        r#"async fn f{n}(id: u64, name: &str) -> Result<String, String> {
    let cache = quick_cache::sync::Cache::<(u64, String), String>::new(1000);
    cache.get_or_insert_async(&(id, name.to_owned()), async { Ok(format!("{id} {name}")) }).await
}"#
    ),
    by_hand!(
        "tinyufo, by hand",
        r#"TinyUFO = "0.9""#,
        r#"async fn f{n}(id: u64, name: &str) -> Result<String, String> {
    let cache = tinyufo::TinyUfo::<(u64, String), String>::new(1000, 1000);
    let key = (id, name.to_owned());
    if let Some(value) = cache.get(&key) { return Ok(value) }
    let value = format!("{id} {name}");
    cache.put(key, value.clone(), 1);
    Ok(value)
}"#
    ),
    by_hand!(
        "foyer, by hand",
        r#"foyer = "0.22""#,
        r#"async fn f{n}(id: u64, name: &'static str) -> Result<String, foyer::Error> {
    let cache: foyer::Cache<(u64, String), String> = foyer::CacheBuilder::new(1000).build();
    let entry = cache.get_or_fetch(&(id, name.to_owned()), || async move {
        Ok::<String, std::convert::Infallible>(format!("{id} {name}"))
    });
    Ok(entry.await?.value().clone())
}"#
    ),
    by_hand!(
        "cachet, by hand",
        "cachet = \"0.16\"\ntick = { version = \"0.8\", features = [\"tokio\"] }",
        r#"async fn f{n}(id: u64, name: &str) -> Result<String, cachet::Error> {
    let cache = cachet::Cache::builder::<(u64, String), String>(tick::Clock::new_tokio()).memory().build();
    let entry = cache.get_or_insert(&(id, name.to_owned()), || async { format!("{id} {name}") }).await?;
    Ok(entry.value().clone())
}"#
    ),
    by_hand!(
        "multi-tier-cache, by hand",
        r#"multi-tier-cache = "0.6""#,
        r#"async fn f{n}(id: u64, name: &str) -> multi_tier_cache::CacheResult<String> {
    use multi_tier_cache::{CacheStrategy, CacheSystem};
    let cache = CacheSystem::new().await?;
    let load = || async { Ok(format!("{id} {name}")) };
    cache.cache_manager().get_or_compute_typed(&format!("{id}:{name}"), CacheStrategy::ShortTerm, load).await
}"#
    ),
];
