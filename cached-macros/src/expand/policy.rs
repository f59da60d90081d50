//! Generated code that describes the return type and its policies to the runtime.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Expr, spanned::Spanned};

use super::{Input, generated, local};
use crate::parse::{
    function::mentions,
    options::CacheNone,
    value::{Time, duration},
};

/// Generates the `CallSpec` of the function.
pub(super) fn call_spec(input: &Input) -> TokenStream {
    let krate = &input.krate;
    let policy = policy(input);
    quote! {
        #krate::__private::CallSpec { spec: &__CACHED_SITE, new_policy: || { #policy } }
    }
}

/// Generates the closure that makes a return value from a slot.
pub(super) fn restore(input: &Input) -> TokenStream {
    let krate = &input.krate;
    let output = &input.function.output;
    let slot = local("__cached_slot");
    quote! {
        |#slot| {
            use #krate::__private::{NeverHit as _, PlainKind as _};
            #krate::__private::Probe::<#output>::new().__cached_kind().__cached_hit(#slot)
        }
    }
}

#[allow(clippy::too_many_lines, reason = "it handles one option after the other")]
fn policy(input: &Input) -> TokenStream {
    let krate = &input.krate;
    let options = &input.options;
    let output = &input.function.output;
    let policy = local("__cached_policy");
    let (empty, sharing, heap) = (local("__cached_empty"), local("__cached_sharing"), local("__cached_heap"));
    let words = local("__cached_error_text");

    // The tokens of each option have the span of its value, to which type errors then point.
    let setter = |name: &str, arguments: &TokenStream, at: Span| {
        let at = Span::mixed_site().located_at(at);
        let name = Ident::new(name, at);
        quote_spanned!(at=> let #policy = #policy.#name(#arguments);)
    };
    let ttl = options.ttl.as_ref().map(|ttl| {
        let tokens = ttl.tokens(krate);
        setter("ttl", &quote_spanned!(ttl.span()=> || #tokens), ttl.span())
    });
    let set_from_expr = |name, expr: &Option<Expr>| {
        expr.as_ref().map(|expr| setter(name, &expr.to_token_stream(), expr.span()))
    };
    let ttl_from = set_from_expr("ttl_from", &options.ttl_from);
    let cache_if = set_from_expr("cache_if", &options.cache_if);
    let weight = set_from_expr("weight", &options.weight);
    let tags_from = set_from_expr("tags_from", &options.tags_from);
    let jitter = options.jitter.as_ref().map(|jitter| quote!(let #policy = #policy.jitter(#jitter);));
    let cache_none = options.cache_none.as_ref().map(|CacheNone { name, ttl }| {
        let ttl = ttl.map(|ttl| {
            let ttl = duration(krate, ttl);
            quote!(let #policy = #policy.empty_ttl(#ttl);)
        });
        quote_spanned! {name.span()=>
            #krate::__private::value_of(&#policy).__cached_needs_option();
            let #policy = #policy.cache_none();
            #ttl
        }
    });
    let stale = options.stale.as_ref().map(|stale| {
        let tokens = stale.tokens(krate);
        setter("stale", &quote_spanned!(stale.span()=> || #tokens), stale.span())
    });
    let refresh_ahead = options.refresh_ahead.as_ref().map(|refresh| {
        let part = &refresh.share;
        quote!(let #policy = #policy.refresh_ahead(#part);)
    });
    let load_timeout = options.load_timeout.as_ref().map(|limit| {
        let time = duration(krate, limit.time);
        let too_late = local("__cached_too_late");
        quote_spanned! {limit.name.span()=>
            #krate::__private::Probe::<#output>::new().__cached_may_fail();
            let #too_late = #krate::__private::error_of(&#policy).__cached_too_late();
            let #policy = #policy.load_timeout(#time, #too_late);
        }
    });
    let share_err = options.share_err.as_ref().map(|share_err| {
        let set_share_err = setter("share_err", &share_err.copy.to_token_stream(), share_err.copy.span());
        quote_spanned! {share_err.name.span()=>
            #krate::__private::Probe::<#output>::new().__cached_has_error();
            #set_share_err
        }
    });
    let cache_err = options.cache_err.as_ref().map(|cache_err| {
        let ttl = cache_err.ttl.tokens(krate);
        let (condition_tokens, at) = match &cache_err.condition {
            Some(condition) => (condition.to_token_stream(), condition.span()),
            None => (quote!(|_| true), cache_err.name.span()),
        };
        let set_cache_err = setter("cache_err", &quote!(#ttl, #condition_tokens), at);
        // With `share_err`, the error that its closure returns is kept.
        let keeps = options.share_err.is_none().then(|| {
            let at = Span::mixed_site().located_at(cache_err.name.span());
            quote_spanned! {at=>
                (&#krate::__private::error_of(&#policy)).__cached_keeps_error();
            }
        });
        quote_spanned! {cache_err.name.span()=>
            #krate::__private::Probe::<#output>::new().__cached_needs_error();
            #keeps
            #set_cache_err
        }
    });
    let method = |name| Ident::new(name, input.function.value_span());
    let shared = options.local.is_none().then(|| {
        let shared = method("__cached_shared");
        quote!(let #policy = #policy.#shared();)
    });
    let weight = weight.unwrap_or_else(|| {
        // The values of a function with `max_entries` need not be measured, and those of a shared tier are
        // `Serialize`.
        let is_bounded = options.max_entries.is_some() || options.local.is_none();
        let other = if is_bounded { quote!(ContainerHeap) } else { quote!(RefuseHeap) };
        let estimate = method("__cached_heap");
        quote! {
            let #heap = {
                use #krate::__private::{
                    AnyHeap as _, CopyHeap as _, FlatHeap as _, NestedHeap as _, SerializeHeap as _, #other as _,
                };
                (&&&&&#krate::__private::value_of(&#policy)).#estimate()
            };
            let #policy = #policy.heap(#heap);
        }
    });
    let boxed = method("__cached_boxed");
    let arguments = absent_arguments(input);
    quote! {
        use #krate::__private::{
            KeepsTarget as _, KeepsWords as _, NeverEmpty as _, NoError as _, NoErrorToShare as _,
            NoOption as _, NoWords as _, PlainKind as _, RefuseShared as _, RefuseTimeout as _, RefuseValue as _,
            SureValue as _, Unshared as _, UnsharedError as _, WordsOfTarget as _, WordsOfText as _,
        };
        #arguments
        let #policy = #krate::__private::Probe::<#output>::new().__cached_kind();
        let #empty = #krate::__private::value_of(&#policy).__cached_empty();
        let #sharing = #krate::__private::error_of(&#policy).__cached_sharing();
        let #words = (&#krate::__private::error_of(&#policy)).__cached_error_text();
        let #policy = #policy.empty_if(#empty).share_errors(#sharing, #words);
        #ttl
        #ttl_from
        #stale
        #refresh_ahead
        #load_timeout
        #jitter
        #cache_if
        #tags_from
        #cache_none
        #share_err
        #cache_err
        #shared
        #weight
        #policy.#boxed()
    }
}

/// Generates one function for each argument that a policy names. Policies hold for every call, so they cannot
/// use the arguments of one. The function takes the place of the argument, and its type explains the error.
fn absent_arguments(input: &Input) -> TokenStream {
    let krate = &input.krate;
    let options = &input.options;
    let ttls = options.ttl.iter().chain(&options.stale);
    let ttls = ttls.chain(options.cache_err.iter().map(|cache_err| &cache_err.ttl));
    let conditions = options.cache_err.iter().filter_map(|cache_err| cache_err.condition.as_ref());
    let exprs: Vec<_> = ttls
        .filter_map(Time::expr)
        .chain(&options.ttl_from)
        .chain(&options.cache_if)
        .chain(&options.weight)
        .chain(&options.tags_from)
        .chain(conditions)
        .chain(options.share_err.as_ref().map(|share_err| &share_err.copy))
        .collect();
    let is_named = |name: &Ident| exprs.iter().any(|expr| mentions(expr.to_token_stream(), name));
    let names = input.argument_names().into_iter().filter(|name| is_named(name)).map(generated);
    quote! {
        #(
            fn #names(_: #krate::__private::NoArgumentsHere) {}
        )*
    }
}
