//! Keys: when calls share an entry.

use cached_aside::cached;
use serde::Serialize;

use crate::support::Runs;

static TEMPLATES: Runs = Runs::new();

#[derive(Serialize)]
struct Pair(u32, Inner);

#[derive(Serialize)]
struct Inner {
    name: String,
}

struct Llm;

#[cached("keys:{user_id}:{note_id}:{hash(question)}", ttl = 1800, skip(llm))]
async fn answer(llm: &Llm, user_id: u64, note_id: u64, question: &str) -> String {
    TEMPLATES.add();
    let _ = llm;
    format!("{user_id} {note_id} {question}")
}

#[cached("keys:fields:{pair.0}/{pair.1.name}", ttl = 1800)]
async fn fields(pair: &Pair) -> String {
    TEMPLATES.add();
    pair.1.name.clone()
}

#[cached("keys:raw:{type}:{{x}}", ttl = "1m")]
async fn r#match(r#type: u32) -> u32 {
    TEMPLATES.add();
    r#type
}

#[tokio::test]
async fn templates() {
    for _ in 0..2 {
        assert_eq!(answer(&Llm, 1, 2, "why?").await, "1 2 why?");
        assert_eq!(answer(&Llm, 1, 2, "how?").await, "1 2 how?");
        assert_eq!(answer(&Llm, 12, 0, "why?").await, "12 0 why?");
        assert_eq!(r#match(3).await, 3);
    }
    assert_eq!(TEMPLATES.take(), 4);
    let key = answer::key(&Llm, 1, 2, "why?").unwrap();
    assert!(key.starts_with("cached-aside:keys:1:2:"), "{key}");
    assert_eq!(r#match::key(3).unwrap(), "cached-aside:keys:raw:3:{x}");

    let pair = |name: &str| Pair(1, Inner { name: name.to_owned() });
    for _ in 0..2 {
        assert_eq!(fields(&pair("a")).await, "a");
        assert_eq!(fields(&pair("b")).await, "b");
    }
    assert_eq!(TEMPLATES.take(), 2);
    assert_eq!(fields::key(&pair("a:b")).unwrap(), "cached-aside:keys:fields:1/a%3Ab");
}

static EXPRS: Runs = Runs::new();

struct User {
    id: u64,
    name: String,
}

#[cached("keys:user", ttl = "1m", key = user.id)]
async fn by_expr(user: &User) -> String {
    EXPRS.add();
    user.name.clone()
}

#[cached("keys:pair", ttl = "1m", key = (x % 10, text.trim()))]
async fn by_tuple(x: u32, text: &str) -> String {
    EXPRS.add();
    format!("{x}{text}")
}

impl User {
    #[cached("keys:method", ttl = "1m", key = (self.id, x))]
    async fn method(&self, x: u32) -> String {
        EXPRS.add();
        format!("{} {x}", self.name)
    }

    #[cached("keys:skip", ttl = "1m", key = x, skip(self))]
    async fn skip(&self, x: u32, _y: u32) -> String {
        EXPRS.add();
        format!("{} {x}", self.name)
    }
}

#[tokio::test]
async fn expressions() {
    let user = |id, name: &str| User { id, name: name.to_owned() };
    assert_eq!(by_expr(&user(1, "a")).await, "a");
    assert_eq!(by_expr(&user(1, "b")).await, "a", "the same key");
    assert_eq!(by_expr(&user(2, "b")).await, "b");
    assert_eq!(EXPRS.take(), 2);
    assert_eq!((by_tuple(11, " x").await, by_tuple(1, "x ").await), ("11 x".into(), "11 x".into()));
    assert_eq!(by_tuple(2, "x").await, "2x");
    assert_eq!(EXPRS.take(), 2);
    assert_eq!(user(1, "a").method(1).await, "a 1");
    assert_eq!(user(1, "b").method(1).await, "a 1");
    assert_eq!(user(1, "a").method(2).await, "a 2");
    assert_eq!(EXPRS.take(), 2);
    assert_eq!((user(1, "a").skip(1, 1).await, user(2, "b").skip(1, 2).await), ("a 1".into(), "a 1".into()));
    assert_eq!(EXPRS.take(), 1);
    by_expr::invalidate(&user(1, "c")).await.unwrap();
    assert_eq!(by_expr(&user(1, "c")).await, "c");
}

mod one {
    #[cached_aside::cached(ttl = "1m")]
    pub(super) async fn unnamed(x: u32) -> String {
        format!("one {x}")
    }
}

mod two {
    #[cached_aside::cached(ttl = "1m")]
    pub(super) async fn unnamed(x: u32) -> String {
        format!("two {x}")
    }
}

#[tokio::test]
async fn functions_without_a_prefix_share_nothing() {
    static RUNS: Runs = Runs::new();

    assert_eq!((one::unnamed(1).await, two::unnamed(1).await), ("one 1".into(), "two 1".into()));

    async fn first(x: u32) -> String {
        #[cached(ttl = "1m")]
        async fn unnamed(x: u32) -> String {
            RUNS.add();
            format!("first {x}")
        }
        unnamed(x).await
    }

    async fn second(x: u32) -> String {
        #[cached(ttl = "1m")]
        async fn unnamed(x: u32) -> String {
            RUNS.add();
            format!("second {x}")
        }
        unnamed(x).await
    }

    for _ in 0..2 {
        assert_eq!((first(1).await, second(1).await), ("first 1".into(), "second 1".into()));
    }
    assert_eq!(RUNS.take(), 2);

    // Two blocks of one function have the same path.
    for _ in 0..2 {
        {
            #[cached(ttl = "1m")]
            async fn unnamed(x: u32) -> String {
                RUNS.add();
                format!("a {x}")
            }
            assert_eq!(unnamed(1).await, "a 1");
        }
        {
            #[cached(ttl = "1m")]
            async fn unnamed(x: u32) -> String {
                RUNS.add();
                format!("b {x}")
            }
            assert_eq!(unnamed(1).await, "b 1");
        }
    }
    assert_eq!(RUNS.take(), 2);
}

#[tokio::test]
async fn functions_with_one_template_and_one_schema_share_their_entries() {
    static RUNS: Runs = Runs::new();

    mod reader {
        #[super::cached("keys:shared:{id}", ttl = "1m", schema = "number")]
        pub(super) async fn read(id: u32) -> u32 {
            super::super::keys::tests_add(id)
        }
    }

    #[cached("keys:shared:{number}", ttl = "1m", schema = "number")]
    async fn also(number: u32) -> u32 {
        RUNS.add();
        number
    }
    assert_eq!((reader::read(1).await, also(1).await), (1, 1));
    assert_eq!(RUNS.take(), 0);
    reader::read::invalidate(1).await.unwrap();
    also(1).await;
    assert_eq!(RUNS.take(), 1);
}

fn tests_add(id: u32) -> u32 {
    id
}
