//! Free function, and the struct of the same name that holds its companions.
//!
//! A braced struct is in the type namespace only. So `f(..)` and `f::invalidate(..)` are both found under one
//! name, and one `use` imports both.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::{Signature, ext::IdentExt};

use super::{Input, body, generated, generated_vis, lints, load, local};
use crate::parse::{
    function::{Function, Kind, mentions},
    template::Template,
};

pub(super) fn free_function(input: &Input) -> TokenStream {
    let Function { outer, inner, lint_levels, vis, sig, body, .. } = &input.function;
    let krate = &input.krate;
    let name = input.holder_name();
    let lints = lints();
    let names = input.argument_names();
    let turbofish = input.turbofish();
    let (hidden, conflict) = (hidden_name(), conflict_name());
    let plain = quote!(#name::#hidden #turbofish(#krate::__private::Intent::Plain, #(#names),*));
    let make = input.make_call(&plain);
    let outer_sig = input.outer_signature();

    let intent = local("__cached_intent");
    let hidden_sig = hidden_signature(input, &input.load_type());
    let call = input.call(&quote!(#intent));
    let mut body_sig: Signature = sig.clone();
    body_sig.ident = format_ident!("__cached_body", span = sig.ident.span());
    let used = input.argument_names().into_iter().filter(|name| input.option_uses(name));
    let body = body::mark_used(body, used);
    let helpers = load::helpers(input);
    let companions = companions(input);
    let holder = holder(input);

    quote! {
        const _: () = #name::#conflict;

        #(#outer)*
        #[allow(clippy::used_underscore_binding)]
        #vis #outer_sig { #make }

        #holder

        #lints
        #(#lint_levels)*
        impl #name {
            const #conflict: () = ();

            #companions

            #[doc(hidden)]
            #hidden_sig { #call }

            #helpers
        }

        impl #name {
            #(#inner)*
            // The body is async for its callers, even if it never waits. Lints about its signature were
            // reported above.
            #[allow(
                clippy::unused_async, clippy::too_many_arguments, clippy::type_complexity, clippy::option_option,
                clippy::ref_option, clippy::ptr_arg, clippy::multiple_bound_locations
            )]
            #body_sig #body
        }
    }
}

/// Generates the companions alone, without anything behind them.
pub(super) fn stubs(input: &Input) -> TokenStream {
    let name = input.holder_name();
    let (holder, companions, lints) = (holder(input), companions(input), lints());
    let hidden = hidden_signature(input, &input.no_load_type());
    let names = input.argument_names();
    quote! {
        #holder

        #lints
        impl #name {
            #companions
            #hidden { #(let _ = &#names;)* loop {} }
        }
    }
}

/// Generates the struct that holds the companions.
fn holder(input: &Input) -> TokenStream {
    let Function { vis, sig, .. } = &input.function;
    let (name, vis) = (generated(input.holder_name()), generated_vis(vis));
    let lints = lints();
    let doc = format!("Operations on the cache entries of [`{of}`](fn@{of}).", of = sig.ident);
    quote! {
        #[doc = #doc]
        #lints
        #vis struct #name {}
    }
}

fn hidden_name() -> Ident {
    Ident::new("__cached_call", Span::mixed_site())
}

/// Returns the name of a constant that the compiler reports as missing if a module has the name of the
/// function.
fn conflict_name() -> Ident {
    Ident::new("__cached_needs_this_name__or_the_option_companions", Span::mixed_site())
}

/// Returns the signature of the hidden function that makes a call from arguments.
fn hidden_signature(input: &Input, future: &TokenStream) -> Signature {
    let krate = &input.krate;
    let intent = local("__cached_intent");
    input.signature(&hidden_name(), &quote!(#intent: #krate::__private::Intent), &input.call_type(future))
}

impl Input {
    /// Returns whether an option uses the argument, which then need not be used in the body.
    fn option_uses(&self, name: &Ident) -> bool {
        let exprs = [&self.options.cache, &self.options.key];
        exprs.into_iter().flatten().any(|expr| mentions(expr.to_token_stream(), name))
            || self
                .template
                .iter()
                .chain(&self.tags)
                .flat_map(Template::placeholders)
                .any(|of| of.argument.unraw() == name.unraw())
    }
}

fn companions(input: &Input) -> TokenStream {
    let krate = &input.krate;
    let output = &input.function.output;
    let one = |name: &str, doc: &str, returns: TokenStream, is_async: bool| {
        companion(input, name, doc, &TokenStream::new(), &TokenStream::new(), &returns, is_async)
    };
    let unit = quote!(#krate::__private::Result<(), #krate::__private::Error>);
    let text = quote!(#krate::__private::Result<#krate::__private::String, #krate::__private::Error>);
    let is_sync = input.function.kind == Kind::Sync;
    let invalidation = quote!(#krate::__private::Invalidation);
    let invalidate = one(
        "invalidate",
        "Removes the value for these arguments from every tier, and prevents loads in progress from storing \
         one.",
        if is_sync { unit } else { invalidation.clone() },
        false,
    );
    let hidden = hidden_invalidation(input, &invalidation);
    let refresh = one(
        "refresh",
        "Runs the function and caches the new value, even if a value is cached.",
        quote!(#output),
        true,
    );
    let warm = one(
        "warm",
        "Loads the value if it is not cached, and returns the outcome only: for `cached_aside::warm`.",
        quote!(#krate::__private::Warmed),
        true,
    );
    let peek = one(
        "peek",
        "Returns the cached return value, or `None` if there is none, without running the function.",
        quote!(#krate::__private::Option<#output>),
        true,
    );
    let key = one(
        "key",
        "Returns the name of the entry in the shared tier, for logs and for manual inspection.",
        text,
        false,
    );
    let with = companion(
        input,
        "with",
        "Calls the function under the given control, and returns the value with its source.",
        &quote!(__CachedMode: #krate::__private::LoadRule),
        &quote!(__cached_control: #krate::__private::CacheControl<__CachedMode>),
        &quote!(__CachedMode::Reply<#output>),
        true,
    );
    quote!(#invalidate #refresh #warm #peek #with #key #hidden)
}

/// Generates the companion for `#[invalidates]`, which does not know whether the function is async.
fn hidden_invalidation(input: &Input, invalidation: &TokenStream) -> TokenStream {
    let krate = &input.krate;
    let vis = generated_vis(&input.function.vis);
    let sig = input.signature(&format_ident!("__cached_invalidation"), &TokenStream::new(), invalidation);
    let (names, turbofish, hidden) = (input.argument_names(), input.turbofish(), hidden_name());
    quote! {
        #[doc(hidden)]
        #vis #sig {
            #krate::__private::invalidation(
                Self::#hidden #turbofish(#krate::__private::Intent::Companion, #(#names),*),
            )
        }
    }
}

fn companion(
    input: &Input,
    name: &str,
    doc: &str,
    generic: &TokenStream,
    first: &TokenStream,
    returns: &TokenStream,
    is_async: bool,
) -> TokenStream {
    let krate = &input.krate;
    let vis = generated_vis(&input.function.vis);
    let span = Span::mixed_site();
    let method = Ident::new(name, span);
    let ident = Ident::new(name, span.located_at(input.function.sig.ident.span()));
    let mut sig = input.signature(&ident, first, returns);
    if !generic.is_empty() {
        sig.generics.params.push(syn::parse_quote!(#generic));
    }
    let is_async = is_async && input.function.kind != Kind::Sync;
    sig.asyncness = is_async.then(Default::default);
    let awaiting = is_async.then(|| quote!(.await));
    let names = input.argument_names();
    let turbofish = input.turbofish();
    let hidden = hidden_name();
    let control = (!first.is_empty()).then(|| quote!(__cached_control));
    let call = quote_spanned! {span=>
        Self::#hidden #turbofish(#krate::__private::Intent::Companion, #(#names),*).#method(#control)#awaiting
    };
    quote! {
        #[doc = #doc]
        #vis #sig { #call }
    }
}
