//! Attributes on cached functions, bodies with macros, and names.

use cached_aside::cached;

use crate::support::Runs;

static RUNS: Runs = Runs::new();

/// Function with a doc comment.
#[must_use = "it is expensive"]
#[allow(clippy::needless_pass_by_value, non_snake_case)]
#[cached("attributes:allow", ttl = "1m")]
async fn allowed(Text: String) -> usize {
    RUNS.add();
    Text.len()
}

#[cached("attributes:expect", ttl = "1m")]
#[expect(clippy::too_many_arguments, unused_variables, reason = "the lints are the point")]
async fn expected(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> u32 {
    RUNS.add();
    1
}

#[expect(dead_code, reason = "no code calls it")]
#[cached("attributes:dead", ttl = "1m")]
async fn dead(a: u8) -> u8 {
    a
}

#[cached("attributes:old", ttl = "1m")]
#[deprecated = "use another one"]
async fn old(x: u32) -> u32 {
    RUNS.add();
    x
}

#[cfg(any())]
#[cached("attributes:off", ttl = "1m")]
async fn chosen(x: u32) -> String {
    not_compiled(x)
}

#[cached("attributes:off", ttl = "1m")]
#[cfg(any())]
async fn chosen(x: u32) -> String {
    not_compiled(x)
}

#[cached("attributes:on", ttl = "1m")]
#[cfg(not(any()))]
async fn chosen(#[allow(unused)] x: u32) -> u32 {
    RUNS.add();
    1
}

struct Repo;

impl Repo {
    /// Method with a doc comment.
    #[cached("attributes:method", ttl = "1m", skip(self), handle = noted_entry)]
    #[must_use]
    #[expect(unused_variables, reason = "the lint is the point")]
    async fn noted(&self, x: u32) -> u32 {
        RUNS.add();
        1
    }

    #[cached("attributes:old_method", ttl = "1m", skip(self), handle = old_entry)]
    #[deprecated]
    async fn old(&self, x: u32) -> u32 {
        RUNS.add();
        x
    }
}

#[tokio::test]
async fn attributes_survive() {
    for _ in 0..2 {
        assert_eq!(allowed("x".to_owned()).await, 1);
        assert_eq!(expected(1, 2, 3, 4, 5, 6, 7, 8).await, 1);
        assert_eq!(chosen(1).await, 1);
        assert_eq!(Repo.noted(1).await, 1);
        #[expect(deprecated)]
        let old = old(1).await + Repo.old(1).await;
        assert_eq!(old, 2);
    }
    assert_eq!(RUNS.take(), 6);
    chosen::invalidate(1).await.unwrap();
    Repo.old_entry(1).invalidate().await.unwrap();
    Repo.noted_entry(1).invalidate().await.unwrap();
}

static BODIES: Runs = Runs::new();

#[derive(Debug)]
struct ParseError(String);

impl From<std::num::ParseIntError> for ParseError {
    fn from(error: std::num::ParseIntError) -> Self {
        Self(error.to_string())
    }
}

#[cached("attributes:body", ttl = "1m")]
async fn body(text: &str) -> Result<Vec<u32>, ParseError> {
    BODIES.add();
    macro_rules! number {
        ($text:expr) => {
            $text.trim().parse::<u32>()?
        };
    }
    if text.is_empty() {
        return Ok(vec![]);
    }
    let mut numbers = Vec::new();
    'all: for part in text.split(',') {
        for c in part.chars() {
            if c == '!' {
                break 'all;
            }
        }
        numbers.push(number!(part));
    }
    let sum = async { numbers.iter().sum::<u32>() }.await;
    numbers.push(sum);
    Ok(numbers)
}

impl Repo {
    #[cached("attributes:method_body", ttl = "1m", skip(self))]
    async fn body(&self, text: &str) -> Result<Vec<u32>, ParseError> {
        BODIES.add();
        if text.is_empty() {
            return Ok(vec![]);
        }
        let numbers: Vec<u32> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let unreachable = || -> u32 { unreachable!("{text}") };
        if numbers.is_empty() {
            return Ok(vec![unreachable()]);
        }
        Ok(numbers)
    }

    #[cached("attributes:sync_body", ttl = "1m", local, skip(self))]
    fn sync_body(&self, text: &str) -> Option<u32> {
        BODIES.add();
        let first = text.split(',').next()?;
        if first.is_empty() {
            return None;
        }
        first.parse().ok()
    }

    #[cached("attributes:panics", ttl = "1m", skip(self))]
    async fn panics(&self, x: u32) -> u32 {
        panic!("no {x}")
    }
}

#[tokio::test]
async fn bodies() {
    for _ in 0..2 {
        assert_eq!(body("1, 2,!,3").await.unwrap(), [1, 2, 3]);
        assert!(body("").await.unwrap().is_empty());
        assert!(body("x").await.unwrap_err().0.contains("digit"));
        assert_eq!(Repo.body("1,2").await.unwrap(), [1, 2]);
        assert!(Repo.body("x").await.is_err());
        assert_eq!(Repo.sync_body("1,2"), Some(1));
        assert_eq!(Repo.sync_body(""), None);
    }
    assert_eq!(BODIES.take(), 2 + 2 + 1 + 2 + 1 + 2);
    let panicked = tokio::spawn(async { Repo.panics(1).await }).await;
    assert!(panicked.unwrap_err().is_panic());
}

static NAMES: Runs = Runs::new();

macro_rules! named {
    ($($name:ident)*) => {
        mod named {
            use cached_aside::cached;

            $(
                #[cached(ttl = "1m")]
                pub(super) async fn $name(x: u32) -> String {
                    super::NAMES.add();
                    format!("{} {x}", stringify!($name))
                }
            )*
        }

        #[tokio::test]
        async fn names_of_functions() {
            for _ in 0..2 {
                $(assert_eq!(named::$name(1).await, concat!(stringify!($name), " 1"));)*
            }
            assert_eq!(NAMES.take(), [$(stringify!($name)),*].len());
            $(
                named::$name::invalidate(1).await.unwrap();
                assert_eq!(named::$name::peek(1).await, None);
                named::$name::refresh(1).await;
                assert!(named::$name::key(1).is_ok());
            )*
        }
    };
}

named! { invalidate refresh peek key with new get call load call_spec spec main drop clone default call_type r#type r#async body held }

macro_rules! library {
    ($prefix:literal, $name:ident, $runs:ident) => {
        #[cached($prefix, ttl = "1m")]
        async fn $name(x: u32, y: &str) -> String {
            $runs.add();
            format!("{x} {y}")
        }

        impl Repo {
            #[cached("attributes:generated:{x}:{y}", ttl = "1m", skip(self), handle = generated_entry)]
            async fn $name(&self, x: u32, y: &str) -> String {
                $runs.add();
                format!("{x} {y}")
            }
        }
    };
}

static GENERATED: Runs = Runs::new();

library!("attributes:generated:{x}/{y}", generated, GENERATED);

#[tokio::test]
async fn functions_may_be_generated_by_a_macro() {
    for _ in 0..2 {
        assert_eq!(generated(1, "a").await, "1 a");
        assert_eq!(Repo.generated(1, "a").await, "1 a");
    }
    assert_eq!(GENERATED.take(), 2);
    generated::invalidate(1, "a").await.unwrap();
    Repo.generated_entry(1, "a").invalidate().await.unwrap();
    assert_eq!(generated::peek(1, "a").await, None);
}
