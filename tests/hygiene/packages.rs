//! The published packages: the Rust version that they promise, the packages that they make a user build, and the
//! files that a registry shows.
//!
//! Clippy's `incompatible_msrv` covers the other half of the Rust version: the items of std that the sources use.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

const PUBLISHED: [&str; 4] = ["cached-aside", "cached-core", "cached-macros", "cached-redis"];

/// Returns the root of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the root").to_owned()
}

/// Runs cargo without the network. A build of the workspace with all features has downloaded the packages that it asks
/// for.
fn cargo(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).current_dir(root()).args(args).output().expect("cargo runs");
    assert!(output.status.success(), "cargo {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

/// Returns the target for which this test is built.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc names its host").to_owned()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The packages of the workspace with all features, by id, and the edges to those that a user builds.
struct Graph {
    packages: BTreeMap<String, Value>,
    edges: BTreeMap<String, Vec<String>>,
}

impl Graph {
    fn read() -> Self {
        let platform = host();
        let args =
            ["metadata", "--offline", "--format-version=1", "--all-features", "--filter-platform", &platform];
        let metadata: Value = serde_json::from_str(&cargo(&args)).expect("metadata is JSON");
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let packages =
            list(&metadata["packages"]).into_iter().map(|it| (text(&it, "id").to_owned(), it)).collect();
        let edges = list(&metadata["resolve"]["nodes"]).into_iter().map(|node| {
            let is_built = |kind: &Value| text(kind, "kind") != "dev";
            let built =
                list(&node["deps"]).into_iter().filter(|it| list(&it["dep_kinds"]).iter().any(is_built));
            (text(&node, "id").to_owned(), built.map(|it| text(&it, "pkg").to_owned()).collect())
        });
        Self { packages, edges: edges.collect() }
    }

    fn published(&self) -> impl Iterator<Item = &Value> {
        self.packages.values().filter(|it| it["source"].is_null() && PUBLISHED.contains(&text(it, "name")))
    }

    /// Returns the published packages and all that they depend on.
    fn built_by_users(&self) -> BTreeSet<&str> {
        let mut found: BTreeSet<&str> = BTreeSet::new();
        let mut next: Vec<&str> = self.published().map(|it| text(it, "id")).collect();
        while let Some(id) = next.pop() {
            if found.insert(id) {
                next.extend(self.edges[id].iter().map(String::as_str));
            }
        }
        found
    }
}

/// Returns the numbers of a Rust version such as `1.88`.
fn numbers(version: &str) -> Vec<u32> {
    let mut numbers: Vec<u32> =
        version.split('.').map(|it| it.parse().expect("a version has numbers")).collect();
    numbers.resize(3, 0);
    numbers
}

#[test]
fn dependencies_need_no_newer_rust_than_the_packages_promise() {
    let graph = Graph::read();
    let versions = graph.published().map(|it| numbers(text(it, "rust_version")));
    let promised = versions.min().expect("packages are published");
    let built = graph.built_by_users();
    assert!(built.len() > 100, "{} packages are too few for all features", built.len());
    let newer: Vec<String> = built
        .iter()
        .map(|id| &graph.packages[*id])
        .filter(|it| it["rust_version"].is_string() && numbers(text(it, "rust_version")) > promised)
        .map(|it| format!("{} {} needs {}", text(it, "name"), text(it, "version"), text(it, "rust_version")))
        .collect();
    assert!(newer.is_empty(), "newer than {promised:?}: {newer:#?}");
}

/// Returns the number of packages that cargo builds for the facade.
fn packages_built(edges: &str, features: &[&str]) -> usize {
    let mut args =
        vec!["tree", "--offline", "-p", "cached-aside", "--prefix=none", "--format={p}", "-e", edges];
    args.extend(features);
    cargo(&args).lines().map(|line| line.trim_end_matches(" (*)")).collect::<BTreeSet<_>>().len()
}

#[test]
fn users_build_a_bounded_number_of_packages() {
    let quickstart = packages_built("normal,build,dev", &[]);
    let with_redis = packages_built("normal,build", &[]);
    let without = packages_built("normal,build", &["--no-default-features"]);
    assert!((60..=100).contains(&quickstart), "the quickstart builds {quickstart} packages");
    assert!((60..=98).contains(&with_redis), "the library with Redis builds {with_redis} packages");
    assert!((30..=50).contains(&without), "the library without Redis builds {without} packages");
}

#[test]
fn published_packages_carry_what_a_registry_shows() {
    let graph = Graph::read();
    assert_eq!(graph.published().count(), PUBLISHED.len());
    for package in graph.published() {
        let name = text(package, "name");
        for field in ["description", "license", "repository", "readme", "rust_version"] {
            assert!(!text(package, field).is_empty(), "{name} has no {field}");
        }
        assert!(!package["keywords"].as_array().expect("a list").is_empty(), "{name} has no keywords");
        let packed = cargo(&["package", "--list", "--allow-dirty", "--offline", "-p", name]);
        for file in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
            assert!(packed.lines().any(|line| line == file), "the package of {name} has no {file}");
        }
    }
}
