//! Programs with many cached functions of five shapes, as an application has them.

/// A way to cache all functions of a program.
pub(crate) struct ManyProgram {
    pub(crate) name: &'static str,
    /// Lines of `Cargo.toml`; `{root}` stands for the path of this repository.
    pub(crate) dependencies: &'static str,
    /// Attributes of the shapes, in their order. `{n}` stands for the number of the function.
    attributes: [&'static str; 5],
    is_async: bool,
    /// Makes every function return a `Result`, which the attribute requires.
    is_fallible: bool,
}

/// One shape of functions.
///
/// `{n}` is the number of the function, and `{edit}` a number that an edit of the body changes.
struct Shape {
    signature: &'static str,
    result: &'static str,
    /// Expression of the type `result`.
    body: &'static str,
    call: &'static str,
}

const SHAPES: [Shape; 5] = [
    Shape {
        signature: "user{n}(id: u64)",
        result: "Result<User, Error>",
        body: r#"if id == {edit} { Err(Error(format!("no user {id}"))) } else { Ok(User::new(id, "{n}")) }"#,
        call: "user{n}(7)",
    },
    Shape {
        signature: "list{n}(name: &str, page: u32)",
        result: "Vec<User>",
        body: "(0..page).map(|id| User::new(u64::from(id) + {edit}, name)).collect()",
        call: "list{n}(\"ada\", 3)",
    },
    Shape {
        signature: "title{n}(id: u64)",
        result: "Option<String>",
        body: r#"(id > {edit}).then(|| format!("title {id} of {n}"))"#,
        call: "title{n}(7)",
    },
    Shape { signature: "count{n}(id: u64)", result: "u64", body: "id * 3 + {edit}", call: "count{n}(7)" },
    Shape {
        signature: "find{n}(&self, id: u64)",
        result: "Result<Option<User>, Error>",
        body: r#"Ok((id > {edit}).then(|| User::new(id, &self.name)))"#,
        call: "service.find{n}(7)",
    },
];

const PRELUDE: &str = "\
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct User { id: u64, name: String, roles: Vec<String> }

impl User {
    fn new(id: u64, name: &str) -> Self {
        Self { id, name: format!(\"{name} {id}\"), roles: vec![\"reader\".to_owned()] }
    }
}

#[derive(Clone, Debug)]
pub struct Error(pub String);

pub struct Service { name: String }
";

/// Attributes of the crate `cached` with the same options for all shapes.
macro_rules! in_impl {
    ($attribute:literal) => {
        [
            concat!($attribute, ")]"),
            concat!($attribute, ")]"),
            concat!($attribute, ")]"),
            concat!($attribute, ")]"),
            concat!($attribute, ", in_impl = true)]"),
        ]
    };
}

/// Attribute of the crate `cached` for values in Redis, without its end.
macro_rules! redis {
    () => {
        "#[cached::macros::concurrent_cached(redis = true, ttl_secs = 60, \
         cache_prefix_block = { \"{n}\" }, map_error = |error| Error(format!(\"{error:?}\"))"
    };
}

/// All ways. The first two have no cache.
pub(crate) const PROGRAMS: &[ManyProgram] = &[
    ManyProgram {
        name: "no cache, async",
        dependencies: "",
        attributes: [""; 5],
        is_async: true,
        is_fallible: false,
    },
    ManyProgram {
        name: "no cache, sync",
        dependencies: "",
        attributes: [""; 5],
        is_async: false,
        is_fallible: false,
    },
    ManyProgram {
        name: "cached-aside, async",
        dependencies: r#"cached-aside = { path = "{root}" }"#,
        attributes: [
            r#"#[cached_aside::cached("user{n}:{id}", ttl = "1m")]"#,
            r#"#[cached_aside::cached("list{n}", ttl = "1m")]"#,
            r#"#[cached_aside::cached("title{n}:{id}", ttl = "1m")]"#,
            r#"#[cached_aside::cached("count{n}:{id}", ttl = "1m")]"#,
            r#"#[cached_aside::cached("find{n}:{id}", ttl = "1m", skip(self), handle = find{n}_entry)]"#,
        ],
        is_async: true,
        is_fallible: false,
    },
    ManyProgram {
        name: "cached-aside, sync local, no default features",
        dependencies: r#"cached-aside = { path = "{root}", default-features = false }"#,
        attributes: [
            r#"#[cached_aside::cached("user{n}:{id}", ttl = "1m", local)]"#,
            r#"#[cached_aside::cached("list{n}", ttl = "1m", local)]"#,
            r#"#[cached_aside::cached("title{n}:{id}", ttl = "1m", local)]"#,
            r#"#[cached_aside::cached("count{n}:{id}", ttl = "1m", local)]"#,
            r#"#[cached_aside::cached("find{n}:{id}", ttl = "1m", local, skip(self), handle = find{n}_entry)]"#,
        ],
        is_async: false,
        is_fallible: false,
    },
    ManyProgram {
        name: "cached, #[cached], async",
        dependencies: r#"cached = { version = "4", features = ["async"] }"#,
        attributes: in_impl!("#[cached::macros::cached(max_size = 1000, ttl_secs = 60"),
        is_async: true,
        is_fallible: false,
    },
    ManyProgram {
        name: "cached, #[cached], sync",
        dependencies: r#"cached = "4""#,
        attributes: in_impl!("#[cached::macros::cached(max_size = 1000, ttl_secs = 60"),
        is_async: false,
        is_fallible: false,
    },
    ManyProgram {
        name: "cached, #[concurrent_cached], sync",
        dependencies: r#"cached = "4""#,
        attributes: in_impl!("#[cached::macros::concurrent_cached(max_size = 1000, ttl_secs = 60"),
        is_async: false,
        is_fallible: false,
    },
    ManyProgram {
        name: "cached, #[concurrent_cached], redis, async",
        dependencies: r#"cached = { version = "4", features = ["async", "redis_tokio"] }"#,
        attributes: [
            concat!(redis!(), ")]"),
            concat!(redis!(), r#", key = "String", convert = { format!("{name}:{page}") })]"#),
            concat!(redis!(), ")]"),
            concat!(redis!(), ")]"),
            concat!(redis!(), ", in_impl = true)]"),
        ],
        is_async: true,
        is_fallible: true,
    },
];

impl ManyProgram {
    /// Returns the source of a program with a number of functions, which all are called.
    ///
    /// Each edit changes the body of one function, and the next edit that of the next shape.
    pub(crate) fn source(&self, functions: usize, edits: usize) -> String {
        let (mut free, mut methods, mut groups, mut calls) =
            (String::new(), String::new(), String::new(), String::new());
        let (word, wait) = if self.is_async { ("async ", ".await") } else { ("", "") };
        for number in 0..functions {
            let index = number % SHAPES.len();
            let shape = &SHAPES[index];
            let is_edited = number / SHAPES.len() == functions / SHAPES.len() / 2;
            let edit = if is_edited { (edits + SHAPES.len() - 1 - index) / SHAPES.len() } else { 0 };
            let filled =
                |text: &str| text.replace("{n}", &number.to_string()).replace("{edit}", &edit.to_string());
            let is_result = shape.result.starts_with("Result");
            let (result, body) = match self.is_fallible && !is_result {
                true => (format!("Result<{}, Error>", shape.result), format!("Ok({})", shape.body)),
                false => (shape.result.to_owned(), shape.body.to_owned()),
            };
            let attribute = filled(self.attributes[index]);
            let function = format!(
                "{attribute}\npub {word}fn {} -> {result} {{\n    {}\n}}\n\n",
                filled(shape.signature),
                filled(&body)
            );
            if shape.signature.contains("&self") { &mut methods } else { &mut free }.push_str(&function);
            if index == 0 {
                groups += &format!("}}\n\n{word}fn group{number}(service: &Service) {{\n");
                calls += &format!("    group{number}(&service){wait};\n");
            }
            groups += &format!("    println!(\"{{:?}}\", {}{wait});\n", filled(shape.call));
        }
        // The brace before the first group closes nothing.
        let groups = groups.trim_start_matches("}\n\n");
        format!(
            "{PRELUDE}\n{free}impl Service {{\n{methods}}}\n\n{groups}}}\n\n\
             #[tokio::main]\nasync fn main() {{\n    let service = Service {{ name: \"ada\".to_owned() }};\n{calls}}}\n"
        )
    }
}
