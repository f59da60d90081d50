//! The rooms of the crates and their layers: a room uses rooms of a lower rank only, and the imports of files
//! contain no circle.
//!
//! The sources are read as text. Comments and tests are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each room (a folder or a file) and its rank.
type Layers = &'static [(&'static str, u32)];

const CORE: Layers = &[
    ("base", 0),
    ("error", 0),
    ("sync", 0),
    ("warm", 0),
    ("spec", 1),
    ("tier", 1),
    ("key", 2),
    ("coherence", 3),
    ("telemetry", 3),
    ("testing", 3),
    ("value", 3),
    ("l1", 4),
    ("flight", 5),
    ("l2", 6),
    ("cache", 7),
    ("call", 8),
    ("api", 9),
    ("private", 10),
];

const REDIS: Layers = &[
    ("protocol", 0),
    ("connect", 1),
    ("availability", 2),
    ("tracking", 2),
    ("node", 3),
    ("cluster", 4),
    ("topology", 5),
    ("tier", 6),
];

const MACROS: Layers = &[("errors", 0), ("parse", 1), ("check", 2), ("expand", 3), ("invalidates", 4)];

#[test]
fn rooms_of_the_attributes_use_only_lower_ones() {
    check("cached-macros/src", MACROS);
}

#[test]
fn rooms_of_the_core_use_only_lower_ones() {
    check("cached-core/src", CORE);
}

#[test]
fn rooms_of_the_redis_tier_use_only_lower_ones() {
    check("cached-redis/src", REDIS);
}

fn check(folder: &str, layers: Layers) {
    let sources = Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder));
    let ranks: BTreeMap<_, _> = layers.iter().copied().collect();
    let rooms: BTreeSet<_> = sources.files.keys().map(|file| room(file)).collect();
    assert_eq!(rooms, ranks.keys().copied().collect(), "the table names the rooms of {folder}");

    let mut wrong = Vec::new();
    for (file, source) in &sources.files {
        for path in paths(source) {
            let target = path.split("::").next().unwrap_or_default();
            let Some(rank) = ranks.get(target) else {
                wrong.push(format!("{file}: crate::{path} is not the module that defines it"));
                continue;
            };
            if target != room(file) && *rank >= ranks[room(file)] {
                wrong.push(format!("{file}: crate::{path} is no room of a lower rank"));
            }
        }
    }
    for circle in sources.circles() {
        wrong.push(format!("a circle: {}", circle.join(" ")));
    }
    assert!(wrong.is_empty(), "in {folder}:\n{}", wrong.join("\n"));
}

/// Returns the room of a file.
fn room(file: &str) -> &str {
    file.split('/').next().unwrap_or(file).trim_end_matches(".rs")
}

/// Sources of a crate by their paths in it, without comments and tests.
struct Sources {
    files: BTreeMap<String, String>,
}

impl Sources {
    fn read(folder: &Path) -> Self {
        let mut all = Vec::new();
        collect(folder, &mut all);
        let files = all.iter().filter_map(|path| {
            let name = path.strip_prefix(folder).ok()?.to_str()?.replace('\\', "/");
            let is_test =
                name.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "fuzzing" | "fuzzing.rs"));
            let is_crate_root = name == "lib.rs";
            (!is_test && !is_crate_root)
                .then(|| (name, stripped(&fs::read_to_string(path).expect("a source can be read"))))
        });
        Self { files: files.collect() }
    }

    /// Returns the file that defines the target of a path.
    fn file_of(&self, path: &str) -> Option<&str> {
        let parts: Vec<_> = path.split("::").collect();
        (1..=parts.len()).rev().find_map(|count| {
            let module = parts[..count].join("/");
            let names = [format!("{module}.rs"), format!("{module}/mod.rs")];
            names.iter().find_map(|name| self.files.get_key_value(name)).map(|(name, _)| name.as_str())
        })
    }

    /// Returns the groups of files that import each other.
    ///
    /// A child may name types of its parent.
    fn circles(&self) -> Vec<Vec<&str>> {
        let arrows: BTreeMap<&str, BTreeSet<&str>> = self
            .files
            .iter()
            .map(|(file, source)| {
                let targets = paths(source).into_iter().filter_map(|path| self.file_of(&path));
                let others = targets.filter(|target| target != file && !is_parent(target, file));
                (file.as_str(), others.collect())
            })
            .collect();
        let reached: BTreeMap<_, _> = arrows.keys().map(|file| (*file, reach(&arrows, file))).collect();
        let mut circles = BTreeSet::new();
        for (file, targets) in &reached {
            let circle: Vec<_> =
                targets.iter().copied().filter(|target| reached[target].contains(file)).collect();
            if !circle.is_empty() {
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }
}

/// Returns all files to which arrows lead from one.
fn reach<'a>(arrows: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &'a str) -> BTreeSet<&'a str> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(file) = open.pop() {
        open.extend(arrows[file].iter().filter(|target| found.insert(**target)));
    }
    found
}

fn collect(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
}

/// Returns whether `file` is a child of the module that `target` holds.
fn is_parent(target: &str, file: &str) -> bool {
    let folder = target.strip_suffix("mod.rs").map(str::to_owned);
    folder
        .or_else(|| Some(format!("{}/", target.strip_suffix(".rs")?)))
        .is_some_and(|folder| file.starts_with(&folder))
}

/// Removes comments, and the tests at the end.
fn stripped(source: &str) -> String {
    let begins = ["#[cfg(test)]\nmod tests {", "#[cfg(test)]\npub(crate) mod tests {"];
    let end = begins.iter().find_map(|begin| source.find(begin));
    let lines = source[..end.unwrap_or(source.len())].lines();
    lines.map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Returns all paths that begin with `crate::`, without that prefix.
///
/// Paths of a macro begin with `$crate`. They belong to its caller, and are left out.
fn paths(source: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (at, _) in source.match_indices("crate::") {
        let before = source[..at].chars().next_back();
        if !before.is_some_and(|sign| sign == '$' || sign == '_' || sign.is_alphanumeric()) {
            expand("", &source[at + "crate::".len()..], &mut all);
        }
    }
    all
}

/// Reads one path, or a group of paths in braces, and returns the text after it.
fn expand<'a>(prefix: &str, text: &'a str, all: &mut BTreeSet<String>) -> &'a str {
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches(|sign: char| sign == ',' || sign.is_whitespace());
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            if rest.is_empty() {
                return rest;
            }
            rest = expand(prefix, rest, all);
        }
    }
    let end = text.find(|sign: char| !sign.is_alphanumeric() && sign != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = match (prefix, name) {
        (_, "self") => prefix.to_owned(),
        ("", _) => name.to_owned(),
        _ => format!("{prefix}::{name}"),
    };
    if let Some(rest) = rest.strip_prefix("::")
        && rest.starts_with(|sign: char| sign == '{' || sign == '_' || sign.is_alphabetic())
    {
        return expand(&path, rest, all);
    }
    all.insert(path);
    // Skips ` as other`.
    rest.find([',', '}', ';', '(', '<', ')', '\n']).map_or("", |at| &rest[at..])
}

#[test]
fn groups_and_single_paths_are_read() {
    let source = "use crate::{a::{self, B as C}, d::e::F,\n    g};\nfn x(y: crate::h::I<crate::j::K>) { $crate::not::Me }";
    let read: Vec<_> = paths(source).into_iter().collect();
    assert_eq!(read, ["a", "a::B", "d::e::F", "g", "h::I", "j::K"]);
}

const PAGE: &str = include_str!("../../docs/architecture.md");

#[test]
fn page_has_the_tables_of_the_layers() {
    for layers in [CORE, REDIS] {
        for (room, rank) in layers {
            assert!(
                PAGE.contains(&format!("| {rank} | `{room}` |")),
                "docs/architecture.md: `{room}` has the rank {rank}"
            );
        }
    }
    let (_, rooms) = PAGE.split_once("## The rooms of `cached-macros`").expect("a section");
    let line = rooms.lines().find(|line| line.contains("Ranks: ")).expect("a line with the ranks");
    assert!(MACROS.iter().all(|(room, rank)| line.contains(&format!("`{room}` {rank}"))), "{line}");
}

#[test]
fn glossary_names_existing_types_and_modules() {
    let (_, glossary) = PAGE.split_once("## Glossary").expect("a section");
    let (glossary, _) = glossary.split_once("\n## ").expect("a next section");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let crates = ["cached-core/src", "cached-redis/src"].map(|folder| Sources::read(&root.join(folder)));
    let paths =
        glossary.split('`').skip(1).step_by(2).filter(|text| text.contains("::") && !text.contains(' '));
    let mut count = 0;
    for path in paths {
        let name = path.rsplit("::").next().unwrap_or_default();
        let defines = |sources: &Sources| {
            let file = sources.file_of(path)?;
            let source = &sources.files[file];
            let kinds = ["struct", "enum", "trait", "type"].map(|kind| format!("{kind} {name}"));
            let is_module = !name.starts_with(char::is_uppercase);
            (is_module || kinds.iter().any(|kind| source.contains(kind))).then_some(())
        };
        assert!(
            crates.iter().any(|sources| defines(sources).is_some()),
            "docs/architecture.md: {path} is not there"
        );
        count += 1;
    }
    assert!(count > 10, "the glossary names types");
}
