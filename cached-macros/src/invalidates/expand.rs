//! Code generation for `#[invalidates]`: collects the invalidations, runs the body, and leaves the rest to
//! the runtime.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{ExprPath, Ident, PathArguments, PathSegment, Token, spanned::Spanned};

use super::{
    check::Templates,
    targets::{Entry, Targets},
};
use crate::{
    expand::{body, cache, local, runtime, write},
    parse::function::{Function, Kind},
};

pub(super) fn expand(targets: &Targets, function: &Function, templates: &Templates) -> TokenStream {
    let Function { attributes, vis, sig, kind, .. } = function;
    let krate = &runtime(targets.krate.as_ref());
    let (after, settle, out) = (local("__cached_after"), local("__cached_settle"), local("__cached_out"));
    let invalidations = collect_invalidations(targets, function, templates, krate);
    let body = body::in_place(krate, function, &TokenStream::new(), Span::mixed_site());
    let run = quote! {
        let #after = { #invalidations };
        let #settle = {
            use #krate::__private::Always as _;
            match #krate::__private::Outcome(#body.await, #after).__cached_settle() {
                #krate::__private::Result::Ok(#settle) => #settle,
                #krate::__private::Result::Err(#out) => return #out,
            }
        };
        #settle.await
    };
    let run = match kind {
        Kind::Sync | Kind::Async => run,
        Kind::Boxed => quote!(#krate::__private::Box::pin(async move { #run })),
        Kind::Opaque => quote!(async move { #run }),
    };
    quote!(#(#attributes)* #vis #sig { #run })
}

/// Generates the code that makes keys from the arguments.
fn collect_invalidations(
    targets: &Targets,
    function: &Function,
    templates: &Templates,
    krate: &TokenStream,
) -> TokenStream {
    let (after, cache_ref) = (local("__cached_after"), local("__cached_cache"));
    let entries = targets.entries.iter().map(|entry| {
        let entry = invalidation(entry, krate);
        quote!(let #after = #after.entry(#entry);)
    });
    let template = |template| write::template(krate, function, template);
    let tags = templates.tags.iter().map(template);
    let patterns = templates.patterns.iter().map(template);
    let clear = targets.clear.as_ref().map(|_| quote!(let #after = #after.clear(#cache_ref);));
    let needs_cache = !templates.tags.is_empty() || !templates.patterns.is_empty() || clear.is_some();
    let cache = needs_cache.then(|| {
        let cache = cache(targets.cache.as_ref().map(|(_, cache)| cache), krate);
        quote!(let #cache_ref: &#krate::__private::Cache = #cache;)
    });
    quote! {
        let #after = #krate::__private::After::new();
        #(#entries)*
        #cache
        #(let #after = #after.tag(#cache_ref, #tags);)*
        #(let #after = #after.pattern(#cache_ref, #patterns);)*
        #clear
        #after
    }
}

fn invalidation(entry: &Entry, krate: &TokenStream) -> TokenStream {
    match entry {
        Entry::Function(path, call) => {
            let path = companion(path);
            let arguments = &call.args;
            quote_spanned!(call.span()=> #path(#arguments))
        }
        Entry::Handle(handle) => quote_spanned!(handle.span()=> #krate::__private::invalidation(#handle)),
    }
}

/// Turns `notes::note::<T>` into `notes::note::__cached_invalidation::<T>`.
fn companion(path: &ExprPath) -> ExprPath {
    let mut path = path.clone();
    let segments = &mut path.path.segments;
    if let Some(last) = segments.last_mut() {
        let arguments = std::mem::replace(&mut last.arguments, PathArguments::None);
        let ident = Ident::new("__cached_invalidation", last.ident.span());
        segments.push_punct(<Token![::]>::default());
        segments.push_value(PathSegment { ident, arguments });
    }
    path
}
