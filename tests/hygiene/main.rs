//! Generated code beside names that it must not see, and under every lint.
#![deny(
    warnings,
    unused,
    nonstandard_style,
    rust_2018_idioms,
    missing_docs,
    missing_debug_implementations,
    missing_copy_implementations,
    unreachable_pub,
    unused_qualifications,
    unused_lifetimes,
    single_use_lifetimes,
    clippy::all,
    clippy::pedantic,
    clippy::nursery
)]
#![allow(clippy::redundant_pub_crate, reason = "unreachable_pub wants the opposite")]
#![allow(clippy::unused_self, clippy::missing_const_for_fn, reason = "the forms matter, not the bodies")]
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};

static RUNS: AtomicUsize = AtomicUsize::new(0);

fn run() {
    RUNS.fetch_add(1, Ordering::SeqCst);
}

fn runs() -> usize {
    RUNS.swap(0, Ordering::SeqCst)
}

/// Other meanings for names of the prelude, of crates and of macros.
#[allow(dead_code, missing_debug_implementations, missing_copy_implementations, reason = "names only")]
#[allow(unused_macros, unused_imports, clippy::module_inception, clippy::items_after_statements)]
mod shadowed {
    use ::cached_aside::{cached, invalidates};

    pub(super) struct String;
    pub(super) struct Vec;
    pub(super) struct Box;
    pub(super) struct Duration;
    pub(super) struct Cache;
    pub(super) struct Error;
    pub(super) struct Pin;
    pub(super) struct Arc;
    pub(super) struct PhantomData;
    pub(super) enum Option {
        Some,
        None,
    }
    pub(super) enum Result {
        Ok,
        Err,
    }
    pub(super) use Option::{None, Some};
    pub(super) use Result::{Err, Ok};

    trait Clone {}
    trait Copy {}
    trait Send {}
    trait Sync {}
    trait Into {}
    trait From {}
    trait Future {}
    trait Fn {}
    trait FnOnce {}
    trait Default {}
    trait Drop {}
    trait ToOwned {}
    trait Borrow {}
    trait Serialize {}
    trait Iterator {}

    mod std {}
    mod core {}
    mod alloc {}
    mod cached_core {}
    mod cached_aside {}
    mod __private {}

    macro_rules! concat {
        ($($any:tt)*) => {
            ::core::compile_error!("the crate's own")
        };
    }
    macro_rules! module_path {
        ($($any:tt)*) => {
            ::core::compile_error!("the crate's own")
        };
    }
    macro_rules! line {
        ($($any:tt)*) => {
            ::core::compile_error!("the crate's own")
        };
    }

    fn drop() {}

    #[cached("hygiene:{x}:{y}:{hash(z)}", ttl = "1m", version = 1, max_entries = 100, jitter = 0.1)]
    pub(super) async fn template(x: u32, y: &str, z: ::core::option::Option<&u32>) -> u32 {
        super::run();
        let _ = (y, z);
        x
    }

    #[cached("hygiene:none", ttl = 60, cache_none, cache_err = "5s")]
    pub(super) async fn fallible(x: &str) -> ::core::result::Result<::core::option::Option<u32>, ()> {
        super::run();
        if x.is_empty() {
            ::core::result::Result::Err(())
        } else {
            ::core::result::Result::Ok(::core::option::Option::None)
        }
    }

    #[cached(ttl = "1m", local, ttl_from = |_| ::core::time::Duration::from_secs(5), cache_if = |v| *v > 0)]
    pub(super) fn blocking(x: u32) -> u32 {
        super::run();
        x
    }

    #[cached("hygiene:kept:{x}:{y}", ttl = "1m", keep_warm = 3, skip(z))]
    pub(super) async fn kept(x: &str, y: ::core::option::Option<&u32>, z: ::std::string::String) -> u32 {
        super::run();
        let _ = (x, y, z);
        1
    }

    #[cached(ttl = "1m", skip(y))]
    pub(super) async fn generic<T: ::serde::Serialize + ::core::marker::Send, const N: usize>(
        x: T,
        y: u32,
    ) -> u32 {
        super::run();
        let _ = x;
        y
    }

    pub(super) struct Repo;

    impl Repo {
        #[cached("hygiene:method:{x}", ttl = "1m", skip(self), handle = entry)]
        pub(super) async fn method(&self, x: u32) -> u32 {
            super::run();
            x
        }

        #[cached("hygiene:tags:{x}", ttl = "1m", skip(self), bound = "1s", coalesce = local, tags = ["x:{x}"])]
        pub(super) async fn tagged(&self, x: u32) -> u32 {
            super::run();
            x
        }

        #[invalidates(blocking(x), self.entry(x), tags = ["x:{x}"], prefix = "hygiene:")]
        #[invalidates(template(x, "y", ::core::option::Option::Some(&1)))]
        pub(super) async fn write(&self, x: u32) -> ::core::result::Result<u32, ()> {
            if x > 0 { ::core::result::Result::Ok(x) } else { ::core::result::Result::Err(()) }
        }

        #[invalidates(clear)]
        pub(super) fn boxed(
            &self,
        ) -> ::core::pin::Pin<::std::boxed::Box<dyn ::core::future::Future<Output = ()> + '_>> {
            ::std::boxed::Box::pin(async {})
        }

        #[cached(ttl = "1m", skip(self), detach = true)]
        pub(super) async fn detached(self: ::std::sync::Arc<Self>, x: u32) -> u32 {
            super::run();
            x
        }

        #[cached(ttl = "1m", skip(self), local, key = x)]
        pub(super) fn blocking(&self, x: u32) -> u32 {
            super::run();
            x
        }
    }
}

/// A trait that gives every type methods with names that the runtime uses too.
#[allow(dead_code, clippy::wrong_self_convention, clippy::new_ret_no_self, reason = "they are not called")]
mod blanket {
    use cached_aside::{cached, invalidates};

    macro_rules! methods {
        ($($name:ident)*) => {
            trait Everything: Sized {
                $(fn $name(self) { unreachable!(stringify!($name)) })*
            }

            impl<T> Everything for T {}
        };
    }

    methods! {
        part digest literal scope scope_value key kind hit empty sharing heap hold place lend ownership_mark load only boxed shared
        value error new get with refresh peek invalidate ttl ttl_from jitter cache_if cache_none cache_err empty_if
        share_errors restore_value needs_option needs_error needs_clone version max_entries weight local prefix templated
        detached to_owned borrow name_of tag tags tags_from bound coalesce_local entry pattern clear settle
        invalidation and into_future poll counted recipe keep keep_warm again warm
    }

    #[cached("blanket:{hash(x)}:{y}", ttl = "1m", cache_none, cache_err = "5s" if |()| true, version = 1)]
    pub(super) async fn shared_tier(x: &str, y: Option<&str>) -> Result<Option<u32>, ()> {
        super::run();
        let _ = y;
        x.parse().map(Some).map_err(|_| ())
    }

    #[cached("blanket:kept", ttl = "1m", keep_warm = 3, max_loads = 2)]
    pub(super) async fn kept(x: String, y: Option<&str>) -> usize {
        super::run();
        x.len() + y.map_or(0, str::len)
    }

    #[cached("blanket:local", ttl = "1m", local, jitter = 0.1, cache_if = |v| *v > 0, weight = |v| size_of_val(v))]
    pub(super) fn in_process(x: u32) -> u32 {
        super::run();
        x
    }

    #[cached(ttl_from = |_| std::time::Duration::from_secs(9), detach = true, max_entries = 100)]
    pub(super) async fn detached_load(x: &str) -> u32 {
        super::run();
        u32::try_from(x.len()).unwrap_or_default()
    }

    #[cached(ttl = "1m")]
    pub(super) async fn generic_load<T: serde::Serialize + Send, const N: usize>(x: T) -> u32 {
        super::run();
        let _ = x;
        1
    }

    /// Value without `Serialize`, and without anything else that the runtime might require.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Bare(pub(super) u32);

    /// Value that cannot be copied.
    #[derive(Debug, serde::Serialize, PartialEq, Eq)]
    pub(super) struct Unique(pub(super) u32);

    #[cached("blanket:bare", ttl = "1m", local)]
    pub(super) async fn inline_load(x: &Unique, y: Option<&Unique>) -> Result<Bare, Unique> {
        super::run();
        if x.0 == 0 { Err(Unique(y.map_or(0, |y| y.0))) } else { Ok(Bare(x.0)) }
    }

    pub(super) struct Repo;

    impl Repo {
        #[cached("blanket:method", ttl = "1m", skip(self), handle = entry)]
        pub(super) async fn method(&self, x: u32) -> u32 {
            super::run();
            x
        }

        #[cached("blanket:tags:{x}", ttl = "1m", skip(self), bound = 0, tags = ["x:{x}"], tags_from = |_| vec![cached_aside::tag!("x:{}", 1)])]
        pub(super) async fn tagged(&self, x: u32) -> u32 {
            super::run();
            x
        }

        #[invalidates(self.entry(x), in_process(x), tags = ["{hash(x)}"], prefix = "blanket:")]
        pub(super) async fn write(&self, x: u32) -> Result<Unique, Bare> {
            if x > 0 { Ok(Unique(x)) } else { Err(Bare(x)) }
        }

        #[invalidates(clear)]
        pub(super) async fn clear_all(&self) {}
    }
}

// Only one test counts at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn blanket_methods_do_not_shadow_those_of_generated_code() {
    use blanket::{
        Bare, Repo, Unique, detached_load, generic_load, in_process, inline_load, kept, shared_tier,
    };

    let _turn = TURN.lock().await;
    runs();
    for _ in 0..2 {
        assert_eq!(shared_tier("1", Some("y")).await, Ok(Some(1)));
        assert_eq!(shared_tier("x", None).await, Err(()));
        assert_eq!(in_process(1), 1);
        assert_eq!(detached_load("abc").await, 3);
        assert_eq!(generic_load::<_, 1>("abc").await, 1);
        assert_eq!(inline_load(&Unique(1), Some(&Unique(2))).await, Ok(Bare(1)));
        assert_eq!(inline_load(&Unique(0), Some(&Unique(2))).await, Err(Unique(2)));
        assert_eq!((Repo.method(1).await, Repo.tagged(1).await), (1, 1));
        assert_eq!(kept("a".to_owned(), Some("b")).await, 2);
    }
    // The error that is not cached was loaded twice.
    assert_eq!(runs(), 11);
    shared_tier::invalidate("1", Some("y")).await.unwrap();
    detached_load::refresh("abc").await;
    Repo.entry(1).invalidate().await.unwrap();
    assert_eq!(shared_tier::peek("1", Some("y")).await, None);
    assert_eq!(runs(), 1);
    assert_eq!(Repo.write(0).await, Err(Bare(0)));
    assert_eq!(in_process::peek(1), Some(1));
    assert_eq!(Repo.write(1).await, Ok(Unique(1)));
    assert_eq!(in_process::peek(1), None);
    Repo.clear_all().await;
}

#[tokio::test]
async fn shadowed_prelude_names_do_not_affect_generated_code() {
    use shadowed::{Repo, blocking, fallible, generic, kept, template};

    let _turn = TURN.lock().await;
    runs();
    for _ in 0..2 {
        assert_eq!(template(1, "y", Some(&1)).await, 1);
        assert_eq!(fallible("x").await, Ok(None));
        assert_eq!(fallible("").await, Err(()));
        assert_eq!(blocking(1), 1);
        assert_eq!(generic::<_, 3>("x", 1).await, 1);
        assert_eq!((Repo.method(1).await, Repo.tagged(1).await), (1, 1));
        assert_eq!(std::sync::Arc::new(Repo).detached(1).await, 1);
        assert_eq!(Repo.blocking(1), 1);
        assert_eq!(kept("x", None, String::new()).await, 1);
    }
    assert_eq!(runs(), 10);
    template::invalidate(1, "y", Some(&1)).await.unwrap();
    fallible::invalidate("x").await.unwrap();
    blocking::invalidate(1).unwrap();
    generic::invalidate::<_, 3>("x", 1).await.unwrap();
    Repo.entry(1).invalidate().await.unwrap();
    assert_eq!(template::peek(1, "y", Some(&1)).await, None);
    assert_eq!((Repo.write(0).await, Repo.write(1).await), (Err(()), Ok(1)));
    Repo.boxed().await;
    assert_eq!(runs(), 0);
}
