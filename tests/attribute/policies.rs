//! Options about values: which of them are cached, and for how long.

use std::{sync::LazyLock, time::Duration};

use cached_aside::{Cache, cached, testing::ManualClock};

use crate::support::{DbError, Runs};

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

static FALSY: Runs = Runs::new();

macro_rules! falsy {
    ($($name:ident: $ty:ty = $value:expr;)*) => {
        $(
            #[cached(ttl = "1m")]
            async fn $name() -> $ty {
                FALSY.add();
                $value
            }
        )*

        #[tokio::test]
        async fn falsy_values_are_values() {
            $(
                for _ in 0..2 {
                    assert_eq!($name().await, $value);
                }
                assert_eq!(FALSY.take(), 1, stringify!($name));
            )*
        }
    };
}

falsy! {
    zero: u32 = 0;
    zero_float: f64 = -0.0;
    no: bool = false;
    empty: String = String::new();
    list: Vec<u8> = Vec::<u8>::new();
    nothing: () = ();
    inner: Option<Option<u8>> = Some(None);
    nested: Option<Result<u8, ()>> = Some(Err(()));
    ok: Result<u32, ()> = Ok(0);
}

static NONE: Runs = Runs::new();

#[cached("policies:none", ttl = "1m", cache_none)]
async fn with_none(x: u32) -> Option<u32> {
    NONE.add();
    (x > 0).then_some(x)
}

#[cached("policies:local_none", ttl = "1m", cache_none, local)]
fn local_with_none(x: u32) -> Result<Option<u32>, DbError> {
    NONE.add();
    Ok((x > 0).then_some(x))
}

#[tokio::test]
async fn cache_none() {
    assert_eq!((with_none(0).await, with_none(0).await), (None, None));
    assert_eq!(NONE.take(), 1);
    assert_eq!(with_none::peek(0).await, Some(None));
    assert_eq!((local_with_none(0), local_with_none(0)), (Ok(None), Ok(None)));
    assert_eq!(NONE.take(), 1);
}

static ERRORS: Runs = Runs::new();

#[derive(Clone, Debug, PartialEq)]
enum ApiError {
    Missing,
    Busy,
}

type ApiResult<T> = Result<T, ApiError>;

#[cached("policies:err", ttl = "1h", cache_err = "5s", cache = cache, skip(cache))]
async fn with_errors(cache: &Cache, x: u32) -> ApiResult<u32> {
    ERRORS.add();
    if x == 0 { Err(ApiError::Missing) } else { Ok(x) }
}

#[cached("policies:err_if", ttl = "1h", cache_err = Duration::from_secs(5) if |e| *e == ApiError::Missing)]
async fn with_some_errors(x: u32) -> ApiResult<u32> {
    ERRORS.add();
    match x {
        0 => Err(ApiError::Missing),
        1 => Err(ApiError::Busy),
        _ => Ok(x),
    }
}

#[tokio::test]
async fn cache_err() {
    let clock = ManualClock::new();
    let cache = Cache::builder().clock(clock.clock()).build().unwrap();
    for _ in 0..2 {
        assert_eq!(with_errors(&cache, 0).await, Err(ApiError::Missing));
        assert_eq!(with_errors(&cache, 1).await, Ok(1));
    }
    assert_eq!(ERRORS.take(), 2);
    clock.advance(Duration::from_secs(5));
    let _ = (with_errors(&cache, 0).await, with_errors(&cache, 1).await);
    assert_eq!(ERRORS.take(), 1, "an error lives for five seconds, a value for an hour");

    for _ in 0..2 {
        assert_eq!(with_some_errors(0).await, Err(ApiError::Missing));
        assert_eq!(with_some_errors(1).await, Err(ApiError::Busy));
        assert_eq!(with_some_errors(2).await, Ok(2));
    }
    assert_eq!(ERRORS.take(), 4);
}

static KEPT: Runs = Runs::new();

#[cached("policies:if", ttl = "1m", cache_if = |v| !v.is_empty())]
async fn kept_if(x: &str) -> String {
    KEPT.add();
    x.to_owned()
}

#[cached("policies:if_ok", ttl = "1m", cache_if = is_long)]
async fn kept_if_long(x: &str) -> Result<Option<String>, DbError> {
    KEPT.add();
    Ok(Some(x.to_owned()))
}

#[allow(clippy::ref_option, reason = "the value's own type")]
fn is_long(value: &Option<String>) -> bool {
    value.as_ref().is_some_and(|text| text.len() > 2)
}

// The parameters of these closures have the names of arguments.
#[cached("policies:shadow", ttl_from = |x| Duration::from_secs(u64::from(*x)), cache_if = |x| { let y = *x; y > 1 })]
async fn shadow(x: u32, y: u32) -> u32 {
    KEPT.add();
    x + y
}

#[tokio::test]
async fn cache_if() {
    for _ in 0..2 {
        kept_if("x").await;
        kept_if("").await;
    }
    assert_eq!(KEPT.take(), 3);
    for _ in 0..2 {
        kept_if_long("long").await.unwrap();
        kept_if_long("x").await.unwrap();
    }
    assert_eq!(KEPT.take(), 3);
    for _ in 0..2 {
        shadow(1, 1).await;
        shadow(1, 0).await;
    }
    assert_eq!(KEPT.take(), 3);
}

static TTLS: Runs = Runs::new();

const HOUR: Duration = Duration::from_secs(3600);

struct Settings;

impl Settings {
    const TTL: Duration = HOUR;

    fn ttl() -> Duration {
        HOUR
    }

    #[cached("policies:self_ttl", ttl = Self::TTL, cache = *cache, skip(cache), method)]
    async fn associated(cache: &Cache, x: u32) -> u32 {
        TTLS.add();
        x
    }
}

#[cached("policies:text", ttl = "1h", cache = *cache, skip(cache))]
async fn text(cache: &Cache, x: u32) -> u32 {
    TTLS.add();
    x
}

#[cached("policies:seconds", ttl = 3_600, cache = *cache, skip(cache))]
async fn seconds(cache: &Cache, x: u32) -> u32 {
    TTLS.add();
    x
}

#[cached("policies:constant", ttl = HOUR, cache = *cache, skip(cache))]
async fn constant(cache: &Cache, x: u32) -> u32 {
    TTLS.add();
    x
}

#[cached("policies:call", ttl = Settings::ttl() / 2 * 2, cache = *cache, skip(cache))]
async fn called(cache: &Cache, x: u32) -> u32 {
    TTLS.add();
    x
}

#[cached("policies:from", ttl_from = |minutes| Duration::from_secs(60 * minutes), cache = *cache, skip(cache))]
async fn from_value(cache: &Cache, x: u64) -> Result<u64, DbError> {
    TTLS.add();
    Ok(x)
}

#[cached("policies:both", ttl = "1h", ttl_from = |_| minutes(30), cache = *cache, skip(cache))]
async fn both(cache: &Cache, x: u64) -> Option<u64> {
    TTLS.add();
    Some(x)
}

#[tokio::test]
async fn ttls() {
    let clock = ManualClock::new();
    let cache = Cache::builder().clock(clock.clock()).build().unwrap();
    macro_rules! all {
        ($($call:expr),*) => {{ $($call.await;)* TTLS.take() }};
    }
    macro_rules! hours {
        () => {
            all!(
                text(&cache, 1),
                seconds(&cache, 1),
                constant(&cache, 1),
                called(&cache, 1),
                Settings::associated(&cache, 1)
            )
        };
    }
    assert_eq!(hours!(), 5);
    from_value(&cache, 59).await.unwrap();
    from_value(&cache, 61).await.unwrap();
    both(&cache, 1).await;
    assert_eq!(TTLS.take(), 3);

    clock.advance(minutes(59));
    assert_eq!(hours!(), 0);
    from_value(&cache, 59).await.unwrap();
    from_value(&cache, 61).await.unwrap();
    both(&cache, 1).await;
    assert_eq!(TTLS.take(), 2);

    clock.advance(minutes(1));
    assert_eq!(hours!(), 5);
    from_value(&cache, 61).await.unwrap();
    assert_eq!(TTLS.take(), 0);
}

static JITTER: Runs = Runs::new();

#[cached("policies:jitter", ttl = "1h", jitter = 0.5, cache = *cache, skip(cache))]
async fn spread(cache: &Cache, x: u32) -> u32 {
    JITTER.add();
    x
}

#[tokio::test]
async fn jitter() {
    let clock = ManualClock::new();
    let cache = Cache::builder().clock(clock.clock()).build().unwrap();
    for x in 0..100 {
        spread(&cache, x).await;
    }
    assert_eq!(JITTER.take(), 100);
    clock.advance(minutes(30) - Duration::from_secs(1));
    for x in 0..100 {
        spread(&cache, x).await;
    }
    assert_eq!(JITTER.take(), 0);
    clock.advance(minutes(15));
    for x in 0..100 {
        spread(&cache, x).await;
    }
    let early = JITTER.take();
    assert!((10..90).contains(&early), "{early} of 100 after three quarters");
}

static VERSIONS: Runs = Runs::new();

#[tokio::test]
async fn a_version_is_another_schema() {
    use cached_aside::testing::FakeTier;

    #[cached("policies:version", ttl = "1h", cache = *cache, skip(cache))]
    async fn before(cache: &Cache, x: u32) -> u32 {
        VERSIONS.add();
        x
    }
    #[cached("policies:version", ttl = "1h", version = 2, cache = *cache, skip(cache))]
    async fn after(cache: &Cache, x: u32) -> u32 {
        VERSIONS.add();
        x + 100
    }
    let tier = FakeTier::new(&ManualClock::new());
    let process = || Cache::builder().tier(tier.clone()).build().unwrap();
    let (a, b, c) = (process(), process(), process());
    assert_eq!(before(&a, 1).await, 1);
    a.flush().await;
    assert_eq!(before(&b, 1).await, 1);
    assert_eq!(VERSIONS.take(), 1, "the tier is shared");
    assert_eq!(after(&c, 1).await, 101);
    assert_eq!(VERSIONS.take(), 1);
}

static CAPPED: Runs = Runs::new();

#[cached("policies:capped", ttl = "1h", max_entries = 10, cache = *cache, skip(cache))]
async fn capped(cache: &Cache, x: u32) -> u32 {
    CAPPED.add();
    x
}

#[cached("policies:free", ttl = "1h", cache = *cache, skip(cache))]
async fn free(cache: &Cache, x: u32) -> u32 {
    CAPPED.add();
    x
}

#[tokio::test]
async fn max_entries() {
    let cache = Cache::builder().build().unwrap();
    for x in 0..1000 {
        capped(&cache, x).await;
        free(&cache, x).await;
    }
    CAPPED.take();
    for x in 0..1000 {
        free(&cache, x).await;
    }
    assert_eq!(CAPPED.take(), 0, "the cap is another function's");
    for x in (0..1000).rev() {
        capped(&cache, x).await;
    }
    let loads = CAPPED.take();
    assert!(loads > 900, "{loads} loads of 1000 keys, of which ten were kept");
}

static STATIC: LazyLock<Cache> = LazyLock::new(|| Cache::builder().build().unwrap());

fn chosen() -> &'static Cache {
    &STATIC
}

static OWN: Runs = Runs::new();

#[cached("policies:static", ttl = "1h", cache = STATIC)]
async fn in_static(x: u32) -> u32 {
    OWN.add();
    x
}

#[cached("policies:chosen", ttl = "1h", cache = chosen())]
async fn in_chosen(x: u32) -> u32 {
    OWN.add();
    x
}

#[cached("policies:argument", ttl = "1h", cache = cache, skip(cache))]
async fn in_argument(cache: &Cache, x: u32) -> u32 {
    OWN.add();
    x
}

#[tokio::test]
async fn functions_can_use_their_own_cache() {
    for _ in 0..2 {
        assert_eq!((in_static(1).await, in_chosen(1).await), (1, 1));
    }
    assert_eq!(OWN.take(), 2);
    assert_eq!(STATIC.stats().hits_l1, 2);
    in_static::invalidate(1).await.unwrap();
    in_static(1).await;
    assert_eq!(OWN.take(), 1);

    let (a, b) = (Cache::builder().build().unwrap(), Cache::builder().build().unwrap());
    for _ in 0..2 {
        in_argument(&a, 1).await;
        in_argument(&b, 1).await;
    }
    assert_eq!(OWN.take(), 2);
    assert_eq!((a.stats().hits_l1, b.stats().hits_l1), (1, 1));
}

mod vendor {
    pub(crate) mod cache {
        pub(crate) use cached_aside::*;
    }
}

mod reexport {
    use super::{Runs, vendor};

    static RUNS: Runs = Runs::new();

    #[vendor::cache::cached("policies:crate", ttl = "1h", crate = crate::policies::vendor::cache)]
    async fn renamed(x: u32) -> Option<u32> {
        RUNS.add();
        Some(x)
    }

    struct Repo;

    impl Repo {
        #[vendor::cache::invalidates(renamed(x), tags = ["x:{x}"], crate = vendor::cache)]
        async fn write(&self, x: u32) {}

        #[vendor::cache::cached("policies:crate:{x}", ttl = "1h", skip(self), crate = vendor::cache, handle = entry)]
        async fn method(&self, x: u32) -> Option<u32> {
            RUNS.add();
            Some(x)
        }
    }

    #[tokio::test]
    async fn crate_option_names_the_path_of_the_runtime() {
        for _ in 0..2 {
            assert_eq!((renamed(1).await, Repo.method(1).await), (Some(1), Some(1)));
        }
        assert_eq!(RUNS.take(), 2);
        renamed::invalidate(1).await.unwrap();
        Repo.entry(1).invalidate().await.unwrap();
        assert_eq!((renamed::peek(1).await, Repo.entry(1).peek().await), (None, None));
        renamed(2).await;
        Repo.write(2).await;
        assert_eq!(renamed::peek(2).await, None);
    }
}
