//! How the generated code writes its key.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{GenericParam, Ident, Member, Type, ext::IdentExt, spanned::Spanned};

use super::{Input, local};
use crate::{
    check::{Key, hidden_generics, hidden_opaque},
    function::Argument,
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
            let path = path(input);
            quote!(prefix(#path))
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
            let arguments = input.function.arguments.iter();
            let keyed = arguments.filter(|argument| names.contains(&argument.name));
            steps.extend(keyed.map(|argument| whole(input, argument, false)));
        }
        Key::Template => {
            for piece in input.template.iter().flat_map(|template| &template.pieces) {
                steps.extend(match piece {
                    Piece::Text(text) => quote!(#writer.literal(#text);),
                    Piece::Placeholder(placeholder) => placeholder_part(input, placeholder),
                });
            }
        }
        Key::Expr(expr) => {
            bindings = quote!(let #key = #expr;);
            let text = input.template.as_ref().map(|template| format!("{}:", template.canonical()));
            steps.extend(text.map(|text| quote!(#writer.literal(#text);)));
            steps.extend(part(input, &quote!(#key), false, expr.span(), false));
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

/// One part of the key. A reference is taken as it is, so that messages name what it points to.
fn part(input: &Input, value: &TokenStream, is_reference: bool, span: Span, is_hash: bool) -> TokenStream {
    let krate = &input.krate;
    let writer = local("__cached_writer");
    let method = Ident::new(if is_hash { "__cached_digest" } else { "__cached_part" }, span);
    let borrow = (!is_reference).then(|| quote!(&));
    quote_spanned!(span=> #krate::__private::KeyArg(#borrow #value).#method(#writer)?;)
}

fn placeholder_part(input: &Input, placeholder: &Placeholder) -> TokenStream {
    let Placeholder { argument, fields, is_hash } = placeholder;
    let known = input.function.argument(argument);
    let literal = argument.span();
    // An argument as a whole is to blame at its place in the signature, a field at the template.
    match known {
        Some(known) if fields.is_empty() => whole(input, known, *is_hash),
        _ => {
            let own = input.function.sig.receiver().map(|receiver| Ident::from(receiver.self_token));
            let name = known.map(|known| &known.name).or(own.as_ref()).unwrap_or(argument);
            // The compiler would offer to write the field in the place of the whole template.
            let at = Span::mixed_site().located_at(literal);
            let fields = fields.iter().map(|field| at_span(field, at));
            part(input, &quote!(#name #(.#fields)*), false, literal, *is_hash)
        }
    }
}

fn whole(input: &Input, argument: &Argument, is_hash: bool) -> TokenStream {
    let name = &argument.name;
    let is_reference = matches!(argument.ty, Type::Reference(_));
    part(input, &quote!(#name), is_reference, name.span(), is_hash)
}

fn at_span(field: &Member, span: Span) -> Member {
    let mut field = field.clone();
    match &mut field {
        Member::Named(name) => name.set_span(span),
        Member::Unnamed(index) => index.span = span,
    }
    field
}

/// What tells apart functions and instances of functions that have the same prefix and the same arguments.
fn scopes(input: &Input) -> TokenStream {
    let krate = &input.krate;
    let writer = local("__cached_writer");
    if input.is_method() {
        // The closure's type names all that the method is generic over: its own parameters, `Self`, and those of a trait.
        let closure = quote!(#krate::__private::name_of(&|| ()));
        return match &input.template {
            None => quote!(#writer.scope(#closure)?;),
            Some(_) => quote! {
                enum __CachedHere {}
                #krate::__private::method_scope(#writer, #closure, ::core::any::type_name::<__CachedHere>())?;
            },
        };
    }
    let own = input.template.is_none().then(|| {
        let path = path(input);
        quote! {
            #krate::__private::free_scope(
                #writer, #path, ::core::any::type_name::<Self>(), (::core::line!(), ::core::column!()),
            )?;
        }
    });
    let generics = hidden_generics(&input.function, &input.key).into_iter().map(|param| match param {
        GenericParam::Const(param) => {
            let name = &param.ident;
            quote!(#writer.scope_value(&#name)?;)
        }
        GenericParam::Type(param) => {
            let name = &param.ident;
            quote!(#writer.scope(::core::any::type_name::<#name>())?;)
        }
        GenericParam::Lifetime(_) => TokenStream::new(),
    });
    let opaque = hidden_opaque(&input.function, &input.key).into_iter().map(|argument| {
        let name = &argument.name;
        quote!(#writer.scope(#krate::__private::name_of(&#name))?;)
    });
    quote!(#own #(#generics)* #(#opaque)*)
}

/// Module and name.
fn path(input: &Input) -> TokenStream {
    let name = format!("::{}", input.function.sig.ident.unraw());
    quote!(::core::concat!(::core::module_path!(), #name))
}
