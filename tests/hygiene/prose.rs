//! Check of the prose in comments and documents, and of the names of types.
//!
//! Each list below holds expressions that plain technical English does without. The limit is the figure of
//! well-kept projects: one in 1,000. `CONTRIBUTING.md` has the rules.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Folders of sources, with prose in comments.
const SOURCES: &[&str] = &[
    "cached-core/src",
    "cached-macros/src",
    "cached-redis/src",
    "cached-redis/tests",
    "src",
    "examples",
    "tests",
];

/// Documents, and folders of documents.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "CHANGELOG.md",
    "COMPARE.md",
    "CONTRIBUTING.md",
    "DESIGN.md",
    "SECURITY.md",
    "docs",
    "src/guide",
    "tests",
];

/// Folders to skip: build output, and programs that must not compile. Expected errors hold the line numbers of
/// these.
const SKIPPED: &[&str] = &["target", "ui"];

/// Sources of the crates in which no two types have the same name.
const CRATES: &[&str] = &["cached-core/src", "cached-macros/src", "cached-redis/src", "src"];

/// Words for people, which stand for parts of the program.
const PEOPLE: &[&str] = &[
    "who",
    "whoever",
    "whom",
    "whose",
    "he",
    "his",
    "him",
    "she",
    "her",
    "nobody",
    "somebody",
    "everybody",
    "anybody",
    "everyone",
    "someone",
    "anyone",
    "no one",
    "one's",
];

/// Words that begin a clause in the place of a noun.
const CLAUSES: &[&str] = &["what", "whatever"];

/// Words for speech, which stand for messages.
const SPEECH: &[&str] = &[
    "tell",
    "tells",
    "told",
    "telling",
    "say",
    "says",
    "said",
    "saying",
    "word",
    "words",
    "hear",
    "hears",
    "heard",
    "hearing",
    "speak",
    "speaks",
    "at hand",
    "let go",
    "lets go",
    "as a rule",
    "stand on",
    "stands on",
    "stood on",
    "come by",
    "comes by",
    "see to it",
    "sees to it",
];

/// Words with which no description of an item begins: it would continue the description of another item.
const BEGINNINGS: &[&str] = &["Of", "For", "As", "The same", "Both", "It", "Its", "So", "And", "But", "Or"];

/// Greatest number of expressions of one list in 1,000 words.
const LIMIT: usize = 1;

#[test]
fn comments_are_plain_english() {
    for folder in SOURCES {
        let mut words = Words::default();
        for file in files(folder, "rs") {
            for comment in comments(&read(&file)) {
                words.count(&file, comment.line, &comment.text);
            }
        }
        words.check(folder);
    }
}

#[test]
fn documents_are_plain_english() {
    for document in DOCUMENTS {
        let mut words = Words::default();
        for file in files(document, "md") {
            let mut is_code = false;
            for (line, text) in (1..).zip(read(&file).lines()) {
                if text.trim_start().starts_with("```") {
                    is_code = !is_code;
                } else if !is_code {
                    words.count(&file, line, text);
                }
            }
        }
        words.check(document);
    }
}

#[test]
fn a_comment_describes_its_own_item_in_whole_sentences() {
    let mut wrong = Vec::new();
    for file in SOURCES.iter().flat_map(|folder| files(folder, "rs")) {
        let mut before: Option<Comment> = None;
        for comment in comments(&read(&file)) {
            let is_continued = before
                .as_ref()
                .is_some_and(|before| before.line + 1 == comment.line && before.kind == comment.kind);
            let text = comment.text.trim();
            let begins_with =
                |begin: &&str| text.strip_prefix(*begin).is_some_and(|rest| rest.starts_with([' ', ',']));
            let is_first = comment.kind == Kind::Item && !is_continued && !text.is_empty();
            let is_fragment =
                BEGINNINGS.iter().any(begins_with) || text.starts_with(|first: char| first.is_lowercase());
            if is_first && is_fragment {
                wrong.push(format!("{}:{}: {text}", file.display(), comment.line));
            }
            before = Some(comment);
        }
    }
    assert!(wrong.is_empty(), "these do not begin as a description of an item:\n{}", wrong.join("\n"));
}

#[test]
fn no_two_types_of_a_crate_have_the_same_name() {
    for folder in CRATES {
        let mut files_by_type: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for file in files(folder, "rs") {
            let shown = file.display().to_string();
            // Stubs for features that are off have the names of the types that they replace.
            let is_other = shown.ends_with("disabled.rs") || shown.contains("/tests");
            if !is_other {
                for name in types(&read(&file)) {
                    files_by_type.entry(name).or_default().push(shown.clone());
                }
            }
        }
        files_by_type.retain(|_, files| files.len() > 1);
        assert!(files_by_type.is_empty(), "in {folder}: {files_by_type:#?}");
    }
}

/// Number of words, and places of the expressions of each list.
#[derive(Default)]
struct Words {
    all: usize,
    found: [Vec<String>; 3],
}

impl Words {
    fn count(&mut self, file: &Path, line: usize, text: &str) {
        let text = without_code(text);
        let lower = text.to_lowercase();
        let words: Vec<_> = lower
            .split(|letter: char| !(letter.is_alphabetic() || letter == '\''))
            .filter(|word| !word.is_empty())
            .collect();
        self.all += words.len();
        for (list, found) in [PEOPLE, CLAUSES, SPEECH].into_iter().zip(&mut self.found) {
            for entry in list {
                let parts: Vec<_> = entry.split(' ').collect();
                let times = words.windows(parts.len()).filter(|window| **window == parts[..]).count();
                found.extend(
                    (0..times).map(|_| format!("{}:{line}: \"{entry}\": {}", file.display(), text.trim())),
                );
            }
        }
    }

    fn check(&self, place: &str) {
        let most = LIMIT * self.all / 1_000 + 1;
        for found in &self.found {
            assert!(
                found.len() <= most,
                "{place} has {} words, so at most {most} of these:\n{}",
                self.all,
                found.join("\n")
            );
        }
    }
}

/// Returns the text without code and addresses.
fn without_code(text: &str) -> String {
    let outside = text.split('`').step_by(2);
    outside
        .flat_map(|part| part.split(' '))
        .filter(|word| !word.contains("://"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `///`
    Item,
    /// `//!`
    Module,
    /// `//`
    Plain,
}

struct Comment {
    line: usize,
    kind: Kind,
    text: String,
}

/// Returns the lines of comments, without code in fences.
fn comments(source: &str) -> Vec<Comment> {
    let mut all = Vec::new();
    let mut is_code = false;
    for (line, text) in (1..).zip(source.lines()) {
        let text = text.trim_start();
        let kinds = [("///", Kind::Item), ("//!", Kind::Module), ("//", Kind::Plain)];
        let Some((text, kind)) =
            kinds.into_iter().find_map(|(start, kind)| Some((text.strip_prefix(start)?, kind)))
        else {
            is_code = false;
            continue;
        };
        if text.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            all.push(Comment { line, kind, text: text.to_owned() });
        }
    }
    all
}

/// Returns the types that a file defines outside of other items.
fn types(source: &str) -> Vec<String> {
    let mut is_stub = false;
    let mut all = Vec::new();
    for line in source.lines() {
        if line.starts_with("#[cfg(not(") {
            is_stub = true;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            let words: Vec<_> = line
                .split(|letter: char| !(letter.is_alphanumeric() || letter == '_'))
                .filter(|word| !word.is_empty())
                .collect();
            let after =
                words.iter().skip_while(|word| matches!(**word, "pub" | "crate" | "super" | "in" | "self"));
            let after: Vec<_> = after.copied().take(2).collect();
            let is_top = !line.starts_with(char::is_whitespace);
            if let (true, false, ["struct" | "enum" | "trait" | "type" | "union", name]) =
                (is_top, is_stub, &after[..])
            {
                all.push((*name).to_owned());
            }
            is_stub = false;
        }
    }
    all
}

fn read(file: &Path) -> String {
    fs::read_to_string(root().join(file)).expect("a file can be read")
}

/// Returns the files with an ending at or under a path, relative to the project.
fn files(path: &str, ending: &str) -> Vec<PathBuf> {
    let mut all = Vec::new();
    collect(Path::new(path), ending, &mut all);
    assert!(!all.is_empty(), "{path} has files");
    all.sort();
    all
}

fn collect(path: &Path, ending: &str, all: &mut Vec<PathBuf>) {
    let there = root().join(path);
    if there.is_file() {
        if path.extension().is_some_and(|found| found == ending) {
            all.push(path.to_owned());
        }
        return;
    }
    for entry in fs::read_dir(&there).expect("a folder can be read") {
        let name = entry.expect("a folder can be read").file_name();
        if !SKIPPED.iter().any(|skipped| name == *skipped) {
            collect(&path.join(name), ending, all);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
