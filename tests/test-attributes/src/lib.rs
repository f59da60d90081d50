//! Attributes of the kinds that stand beside `#[cached]`: one that wants an `async fn` and goes around its body, and one that
//! writes something beside the function which names it.

use proc_macro::TokenStream;
use proc_macro2::{Delimiter, Group, Ident, TokenStream as Tokens, TokenTree};
use quote::quote;

/// As `#[async_backtrace::framed]`: calls `crate::framed("name")` before the body of an `async fn`, and goes around it.
#[proc_macro_attribute]
pub fn framed(_: TokenStream, item: TokenStream) -> TokenStream {
    let item = Tokens::from(item);
    let Some(name) = name(&item).filter(|_| is_async(&item)) else {
        return quote!(::core::compile_error! { "`#[framed]` goes on an async function" }).into();
    };
    let name = name.to_string();
    around(item, |body| quote!({ crate::framed(#name); async move #body.await })).into()
}

/// As `#[axum::debug_handler]`: leaves the function as it is, and writes beside it what must compile.
#[proc_macro_attribute]
pub fn checked(_: TokenStream, item: TokenStream) -> TokenStream {
    let item = Tokens::from(item);
    let Some(name) = name(&item).filter(|_| is_async(&item)) else {
        return quote!(::core::compile_error! { "`#[checked]` goes on an async function" }).into();
    };
    quote!(#item const _: () = { let _ = #name; };).into()
}

/// Whether `async` stands before `fn`.
fn is_async(item: &Tokens) -> bool {
    let words = item.clone().into_iter().take_while(|token| !is(token, "fn"));
    words.into_iter().any(|token| is(&token, "async"))
}

/// What follows `fn`.
fn name(item: &Tokens) -> Option<Ident> {
    match item.clone().into_iter().skip_while(|token| !is(token, "fn")).nth(1)? {
        TokenTree::Ident(name) => Some(name),
        _ => None,
    }
}

fn is(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

/// The function with another body.
fn around(item: Tokens, make: impl FnOnce(&Group) -> Tokens) -> Tokens {
    let mut tokens: Vec<_> = item.into_iter().collect();
    match tokens.pop() {
        Some(TokenTree::Group(body)) if body.delimiter() == Delimiter::Brace => {
            tokens.extend(make(&body));
        }
        other => tokens.extend(other),
    }
    tokens.into_iter().collect()
}
