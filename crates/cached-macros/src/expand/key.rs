//! How the generated code writes its key.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{GenericParam, Ident, ext::IdentExt, spanned::Spanned};

use super::{Input, local};
use crate::{
    check::{Key, hidden_generics},
    template::{Piece, Placeholder},
};

/// The initialiser of the function's `Site`.
pub(super) fn site(input: &Input) -> TokenStream {
    let krate = &input.krate;
    let version = input.options.version.map(|version| quote!(.version(#version)));
    let max_entries = input.options.max_entries.map(|entries| quote!(.max_entries(#entries)));
    let is_local = input.options.local.as_ref().map(|_| quote!(.local()));
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
            let name = format!("::{}", input.function.sig.ident.unraw());
            quote!(prefix(::core::concat!(::core::module_path!(), #name)))
        }
    };
    quote!(#krate::__private::Site::#base #version #max_entries #is_local)
}

/// Statements to put first, and the closure that writes the key.
pub(super) fn writer(input: &Input) -> (TokenStream, TokenStream) {
    let krate = &input.krate;
    let (writer, key) = (local("__cached_writer"), local("__cached_key"));
    let mut bindings = TokenStream::new();
    let mut steps = TokenStream::new();
    match &input.key {
        Key::Arguments(names) => {
            for name in names {
                steps.extend(part(input, &quote!(#name), name.span(), false));
            }
        }
        Key::Template => {
            for piece in input.template.iter().flat_map(|template| &template.pieces) {
                steps.extend(match piece {
                    Piece::Text(text) => quote!(#writer.literal(#text);),
                    Piece::Placeholder(placeholder) => {
                        let span = span(input, placeholder);
                        part(input, &path(input, placeholder), span, placeholder.is_hash)
                    }
                });
            }
        }
        Key::Expr(expr) => {
            bindings = quote!(let #key = #expr;);
            let text = input.template.as_ref().map(|template| format!("{}:", template.canonical()));
            steps.extend(text.map(|text| quote!(#writer.literal(#text);)));
            steps.extend(part(input, &quote!(#key), expr.span(), false));
        }
    }
    let scopes = scopes(input);
    let write = quote! {
        |#writer: &mut #krate::__private::KeyWriter<'_>| -> #krate::__private::Result<(), #krate::__private::Error> {
            #[allow(unused_imports)]
            use #krate::__private::RefuseKey as _;
            #steps
            #scopes
            #krate::__private::Result::Ok(())
        }
    };
    (bindings, write)
}

fn part(input: &Input, value: &TokenStream, span: Span, is_hash: bool) -> TokenStream {
    let krate = &input.krate;
    let writer = local("__cached_writer");
    let method = Ident::new(if is_hash { "digest" } else { "part" }, span);
    quote_spanned!(span=> #krate::__private::KeyArg(&#value).#method(#writer)?;)
}

/// An argument as a whole is to blame at its place in the signature, a field at the template.
fn span(input: &Input, placeholder: &Placeholder) -> Span {
    match input.function.argument(&placeholder.argument) {
        Some(argument) if placeholder.fields.is_empty() => argument.name.span(),
        _ => placeholder.argument.span(),
    }
}

/// `arg.field` with the argument's own name, which may be a raw identifier.
fn path(input: &Input, placeholder: &Placeholder) -> TokenStream {
    let name =
        input.function.argument(&placeholder.argument).map_or(&placeholder.argument, |known| &known.name);
    let fields = &placeholder.fields;
    quote!(#name #(.#fields)*)
}

/// What tells apart functions and instances of functions that have the same prefix and the same arguments.
fn scopes(input: &Input) -> TokenStream {
    let krate = &input.krate;
    let writer = local("__cached_writer");
    let type_name = |of: TokenStream| quote!(::core::any::type_name::<#of>());
    let own = match (input.is_method(), &input.template) {
        (true, Some(_)) => {
            let name = type_name(quote!(Self));
            quote!(#writer.self_scope(#name)?;)
        }
        // A path is no more than a module and a name: two types, or two functions around it, may share it.
        (_, None) => {
            let name = type_name(quote!(Self));
            quote!(#writer.scope(#name)?;)
        }
        (false, Some(_)) => TokenStream::new(),
    };
    let generics = hidden_generics(&input.function, &input.key).into_iter().map(|param| match param {
        GenericParam::Const(param) => {
            let name = &param.ident;
            quote!(#writer.scope_value(&#name)?;)
        }
        GenericParam::Type(param) => {
            let name = &param.ident;
            let name = type_name(quote!(#name));
            quote!(#writer.scope(#name)?;)
        }
        GenericParam::Lifetime(_) => quote!(#krate),
    });
    quote!(#own #(#generics)*)
}
