use super::*;

fn runs() -> usize {
    RUNS.swap(0, Ordering::SeqCst)
}

/// Calls each function with arguments that live only as long as the call.
async fn with_short_lives(round: usize) {
    let (text, other) = (String::from("text"), String::from("x"));
    let repo = Repo { tenant: 1 };
    let many = [text.as_str(), other.as_str()];
    assert_eq!(borrowed(&text, &many, Some(&other), Cow::Borrowed(&text)).await, 11);
    assert_eq!(detached(&text, &[1]).await.as_deref(), Some("text1"));
    assert_eq!(fallible("12").await, Ok(12));
    assert_eq!(blocking(&text), 4);
    assert_eq!(boxed(&text).await, 4);
    assert_eq!(generic(&[1, 2], &other).await, 2);
    assert_eq!(private_len(&text).await, 4);
    assert_eq!(repo.method(&text).await, 4);
    assert_eq!(repo.sync_method(&text), 4);
    assert_eq!(repo.generic_method(&[1, 2]).await, 2);
    assert_eq!(repo.plain(&text, Some(&other)).await, 5);
    assert_eq!(runs(), if round == 0 { 11 } else { 0 });
}

#[tokio::test]
async fn calls_companions_and_handles_borrow() {
    with_short_lives(0).await;
    with_short_lives(1).await;

    let (text, other) = (String::from("text"), String::from("x"));
    let many = [text.as_str(), other.as_str()];
    borrowed::invalidate(&text, &many, Some(&other), Cow::Borrowed(&text)).await.unwrap();
    assert_eq!(borrowed::peek(&text, &many, Some(&other), Cow::Borrowed(&text)).await, None);
    detached::invalidate(&text, &[1]).await.unwrap();
    assert!(fallible::peek("12").await.is_some());
    blocking::invalidate(&text).unwrap();
    boxed::invalidate(&text).await.unwrap();
    generic::invalidate(&[1, 2], &other).await.unwrap();
    private::invalidate(&text).await.unwrap();
    assert!(private::key(&text).is_ok());

    let repo = Repo { tenant: 1 };
    let entry = repo.method_entry(&text);
    entry.invalidate().await.unwrap();
    assert!(repo.method_entry(&text).peek().await.is_none());
    repo.sync_method_entry(&text).invalidate().unwrap();
    repo.generic_entry(&[1, 2]).invalidate().await.unwrap();
    assert!(repo.generic_entry(&[1, 2]).peek().await.is_none());
    assert_eq!(runs(), 0);
    assert_eq!(detached::refresh(&text, &[1]).await.as_deref(), Some("text1"));
    assert_eq!(repo.method(&text).await, 4);
    assert_eq!(runs(), 2);
}

#[tokio::test]
async fn writers_borrow() {
    let text = String::from("0");
    assert_eq!(write(&text, &["a"]).await, Ok("a"));
    assert!(write("x", &[]).await.is_err());
    let mut repo = Repo { tenant: 1 };
    assert_eq!(repo.write(&text).await, 1);
    repo.change("").await;
    assert_eq!(repo.tenant, 2);
}
