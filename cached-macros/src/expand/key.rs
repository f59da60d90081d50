//! Generated code that describes a function and writes its key.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{GenericParam, ext::IdentExt, spanned::Spanned};

use super::{Input, local, write};
use crate::{
    check::key::{Key, unkeyed_generics, unkeyed_opaque},
    parse::value::duration,
};

/// Generates the initialiser of the function's `FunctionSpec`.
pub(super) fn spec(input: &Input) -> TokenStream {
    let krate = &input.krate;
    let version = input.options.version.map(|version| quote!(.version(#version)));
    let owner = match &input.options.schema {
        Some(name) => quote!(.schema(#name)),
        None => {
            let path = path(input);
            quote!(.owner(#path))
        }
    };
    let max_entries = input.options.max_entries.map(|entries| quote!(.max_entries(#entries)));
    let is_local = input.options.local.as_ref().map(|_| quote!(.local()));
    let soft_timeout = input.options.soft_timeout.as_ref().map(|limit| {
        let limit = duration(krate, limit.time);
        quote!(.soft_timeout(#limit))
    });
    let max_loads = input.options.max_loads.map(|loads| quote!(.max_loads(#loads)));
    let tier_timeout = input.options.tier_timeout.as_ref().map(|limit| {
        let limit = duration(krate, limit.time);
        quote!(.tier_timeout(#limit))
    });
    let keep_warm = input.options.keep_warm.as_ref().map(|keep_warm| {
        let keys = keep_warm.keys;
        quote!(.keep_warm(#keys))
    });
    let bound = input.options.bound.as_ref().map(|bound| {
        let bound = duration(krate, bound.time);
        quote!(.bound(#bound))
    });
    let coalesce = input.options.coalesce.as_ref().filter(|coalesce| coalesce.is_local);
    let coalesce = coalesce.map(|_| quote!(.coalesce_local()));
    let base = match (&input.template, &input.key) {
        (Some(template), Key::Arguments(_)) => {
            let prefix = template.canonical();
            quote!(prefix(#prefix))
        }
        (Some(template), Key::Template) => {
            let canonical = template.canonical();
            quote!(templated(#canonical))
        }
        (Some(template), Key::Expr(_)) => {
            let canonical = format!("{}:{{}}", template.canonical());
            quote!(templated(#canonical))
        }
        (None, _) => {
            let path = path(input);
            quote!(prefix(#path))
        }
    };
    quote! {
        #krate::__private::FunctionSpec::#base #owner #version #max_entries #is_local #bound #coalesce #soft_timeout #max_loads
            #tier_timeout #keep_warm
    }
}

/// Returns the statements that come first, and the parts of the key.
pub(super) fn parts(input: &Input) -> (TokenStream, TokenStream) {
    let Input { krate, function, .. } = input;
    let key = local("__cached_key");
    let mut bindings = TokenStream::new();
    let mut parts = Vec::new();
    match &input.key {
        Key::Arguments(names) => {
            let arguments = function.arguments.iter();
            let keyed = arguments.filter(|argument| names.contains(&argument.name));
            parts.extend(
                keyed.map(|argument| write::whole_argument(krate, argument, argument.name.span(), false)),
            );
        }
        Key::Template => {
            parts.extend(input.template.iter().flat_map(|it| write::pieces(krate, function, it)));
        }
        Key::Expr(expr) => {
            bindings = quote!(let #key = #expr;);
            let text = input.template.as_ref().map(|template| format!("{}:", template.canonical()));
            parts.extend(text.map(|text| quote!(#krate::__private::Literal(#text))));
            parts.push(write::part(krate, &quote!(#key), false, expr.span(), false));
        }
    }
    parts.extend(scopes(input));
    (bindings, write::parts(krate, &local("RefuseKey"), &parts))
}

/// Returns the parts of the key that separate functions, and instances of functions, with the same prefix and
/// the same arguments.
fn scopes(input: &Input) -> Vec<TokenStream> {
    let krate = &input.krate;
    if input.is_method() {
        // The type name of the closure contains all generic parameters: those of the method, `Self`, and
        // those of a trait.
        let closure = quote!(#krate::__private::name_of(&|| ()));
        return vec![match &input.template {
            None => quote!(#krate::__private::Scope(#closure)),
            Some(_) => quote!({
                enum __CachedHere {}
                #krate::__private::method_scope(#closure, ::core::any::type_name::<__CachedHere>())
            }),
        }];
    }
    let own = input.template.is_none().then(|| {
        let path = path(input);
        quote! {
            #krate::__private::free_scope(
                #path, ::core::any::type_name::<Self>(), (::core::line!(), ::core::column!()),
            )
        }
    });
    let generics = unkeyed_generics(&input.function, &input.key).into_iter().map(|param| match param {
        GenericParam::Const(param) => {
            let name = &param.ident;
            Some(quote!(#krate::__private::ScopeValue(#name)))
        }
        GenericParam::Type(param) => {
            let name = &param.ident;
            Some(quote!(#krate::__private::Scope(::core::any::type_name::<#name>())))
        }
        GenericParam::Lifetime(_) => None,
    });
    let opaque = unkeyed_opaque(&input.function, &input.key).into_iter().map(|argument| {
        let name = &argument.name;
        quote!(#krate::__private::Scope(#krate::__private::name_of(&#name)))
    });
    own.into_iter().chain(generics.flatten()).chain(opaque).collect()
}

/// Generates the path of the function: its module and its name.
fn path(input: &Input) -> TokenStream {
    let name = format!("::{}", input.function.sig.ident.unraw());
    quote!(::core::concat!(::core::module_path!(), #name))
}
