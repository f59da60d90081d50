//! Type and const parameters: instances of one function are different functions.

use std::{fmt::Debug, marker::PhantomData};

use cached_aside::cached;
use serde::{Serialize, Serializer, de::DeserializeOwned};

use crate::support::Runs;

static TURBOFISH: Runs = Runs::new();

trait Named {
    const NAME: &'static str;
}

struct A;
struct B;

impl Named for A {
    const NAME: &'static str = "a";
}

impl Named for B {
    const NAME: &'static str = "b";
}

#[cached("generics:turbofish", ttl = "1m")]
async fn turbofish<T: Named, const N: usize>(x: u32) -> String {
    TURBOFISH.add();
    format!("{} {N} {x}", T::NAME)
}

#[cached("generics:template:{x}", ttl = "1m")]
async fn template<T: Named, const N: usize>(x: u32) -> String {
    TURBOFISH.add();
    format!("{} {N} {x}", T::NAME)
}

#[cached("generics:key", ttl = "1m", key = x % 10)]
async fn key<T: Named>(x: u32) -> String {
    TURBOFISH.add();
    format!("{} {x}", T::NAME)
}

#[tokio::test]
async fn instances_chosen_by_turbofish_share_nothing() {
    for _ in 0..2 {
        assert_eq!(turbofish::<A, 1>(1).await, "a 1 1");
        assert_eq!(turbofish::<B, 1>(1).await, "b 1 1");
        assert_eq!(turbofish::<A, 2>(1).await, "a 2 1");
        assert_eq!(template::<A, 1>(1).await, "a 1 1");
        assert_eq!(template::<B, 1>(1).await, "b 1 1");
        assert_eq!(template::<A, 2>(1).await, "a 2 1");
        assert_eq!(key::<A>(1).await, "a 1");
        assert_eq!(key::<B>(1).await, "b 1");
    }
    assert_eq!(TURBOFISH.take(), 8);
    assert_ne!(template::key::<A, 1>(1).unwrap(), template::key::<B, 1>(1).unwrap());
    turbofish::invalidate::<A, 1>(1).await.unwrap();
    assert_eq!(turbofish::peek::<A, 1>(1).await, None);
    assert!(turbofish::peek::<B, 1>(1).await.is_some());
    let control = cached_aside::CacheControl::new();
    assert!(!turbofish::with::<A, 1, _>(control, 1).await.outcome.is_hit());
    assert_eq!(TURBOFISH.take(), 1);
}

static VALUES: Runs = Runs::new();

#[cached("generics:values", ttl = "1m")]
async fn value<T>(x: u8) -> Option<T>
where
    T: Clone + Debug + From<u8> + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    VALUES.add();
    Some(T::from(x))
}

#[cached("generics:local", ttl = "1m", local, max_entries = 10)]
fn local<T: Clone + From<u8> + Send + Sync + 'static>(x: u8) -> Result<T, String> {
    VALUES.add();
    Ok(T::from(x))
}

#[tokio::test]
async fn generic_values() {
    for _ in 0..2 {
        assert_eq!(value::<u64>(1).await, Some(1));
        assert_eq!(value::<f32>(1).await, Some(1.0));
        assert_eq!(local::<u64>(1), Ok(1));
        assert_eq!(local::<u16>(1), Ok(1));
    }
    assert_eq!(VALUES.take(), 4);
}

static DETERMINED: Runs = Runs::new();

struct Row<const N: usize>([u8; N]);

impl<const N: usize> Serialize for Row<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

#[cached("generics:determined", ttl = "1m", skip(how))]
async fn determined<T, K: ?Sized, F, const N: usize>(x: T, key: &K, many: &Row<N>, how: F) -> String
where
    T: Serialize + ToString + Send + Sync,
    K: Serialize + Sync,
    F: Fn(&T) -> String + Send,
{
    DETERMINED.add();
    let _ = (key, many);
    how(&x)
}

#[tokio::test]
async fn where_clauses_and_parameters_of_arguments() {
    for _ in 0..2 {
        assert_eq!(determined(1, "k", &Row([0, 1]), ToString::to_string).await, "1");
        assert_eq!(determined("1", "k", &Row([0, 1]), ToString::to_string).await, "1");
        assert_eq!(determined(1, "k", &Row([0]), ToString::to_string).await, "1");
        assert_eq!(determined(1, &[1, 2], &Row([0]), ToString::to_string).await, "1");
    }
    assert_eq!(DETERMINED.take(), 4);
}

static SKIPPED: Runs = Runs::new();

struct Wrapper<T> {
    id: u32,
    marker: PhantomData<T>,
}

impl<T> Wrapper<T> {
    fn new(id: u32) -> Self {
        Self { id, marker: PhantomData }
    }
}

// The part of the argument that is in the key does not depend on the type.
#[cached("generics:field:{of.id}", ttl = "1m")]
async fn field<T: Named + Send + Sync>(of: &Wrapper<T>) -> String {
    SKIPPED.add();
    format!("{} {}", T::NAME, of.id)
}

trait Model: Sync {
    fn answer(&self) -> String;
}

impl Model for A {
    fn answer(&self) -> String {
        "a".to_owned()
    }
}

impl Model for B {
    fn answer(&self) -> String {
        "b".to_owned()
    }
}

#[cached("generics:model", ttl = "1m", skip(model))]
async fn ask(model: &impl Model, question: &str) -> String {
    SKIPPED.add();
    let _ = question;
    model.answer()
}

#[tokio::test]
async fn type_parameters_of_skipped_arguments_are_part_of_the_key() {
    for _ in 0..2 {
        assert_eq!(field(&Wrapper::<A>::new(1)).await, "a 1");
        assert_eq!(field(&Wrapper::<B>::new(1)).await, "b 1");
        assert_eq!(ask(&A, "?").await, "a");
        assert_eq!(ask(&B, "?").await, "b");
    }
    assert_eq!(SKIPPED.take(), 4);
}
