//! Generated code that writes arguments into the name of a key, a tag or a pattern.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Ident, Member, Type};

use super::local;
use crate::parse::{
    function::{Argument, Function},
    template::{Piece, Placeholder, Role, Template},
};

/// Generates the parts as a nested list. The trait `refuse` has the message for arguments that cannot be
/// written.
pub(crate) fn parts(krate: &TokenStream, refuse: &Ident, parts: &[TokenStream]) -> TokenStream {
    let chain = parts.iter().rev().fold(quote!(()), |after, part| quote!((#part, #after)));
    quote! {
        &{
            use #krate::__private::#refuse as _;
            #chain
        }
    }
}

/// Generates the parts of a tag or a pattern.
pub(crate) fn template(krate: &TokenStream, function: &Function, template: &Template) -> TokenStream {
    parts(krate, &local("RefuseTag"), &pieces(krate, function, template))
}

/// Generates the pieces of a template.
pub(super) fn pieces(krate: &TokenStream, function: &Function, template: &Template) -> Vec<TokenStream> {
    let piece = |piece: &Piece| match piece {
        Piece::Text(text) => quote!(#krate::__private::Literal(#text)),
        Piece::Placeholder(placeholder) => self::placeholder(krate, function, template.role, placeholder),
    };
    template.pieces.iter().map(piece).collect()
}

fn placeholder(
    krate: &TokenStream,
    function: &Function,
    role: Role,
    placeholder: &Placeholder,
) -> TokenStream {
    let Placeholder { argument, fields, is_hash } = placeholder;
    let known = function.argument(argument);
    let literal = argument.span();
    // In a key, an error about an argument as a whole points to the signature. All other errors point to the
    // template.
    match known {
        Some(known) if fields.is_empty() => {
            let at = if role == Role::Prefix { known.name.span() } else { literal };
            whole_argument(krate, known, at, *is_hash)
        }
        _ => {
            let self_ident = function.sig.receiver().map(|receiver| Ident::from(receiver.self_token));
            let self_ident = self_ident.filter(|_| argument == "self");
            let bound = || function.bound_names().find(|name| name == argument);
            let name = known.map(|known| known.name.clone()).or(self_ident).or_else(bound);
            let name = name.unwrap_or_else(|| argument.clone());
            // With another span, the compiler would offer to write the field in place of the whole template.
            let at = Span::mixed_site().located_at(literal);
            let fields = fields.iter().map(|field| at_span(field, at));
            part(krate, &quote!(#name #(.#fields)*), false, literal, *is_hash)
        }
    }
}

pub(super) fn whole_argument(
    krate: &TokenStream,
    argument: &Argument,
    at: Span,
    is_hash: bool,
) -> TokenStream {
    let name = &argument.name;
    let is_reference = matches!(argument.ty, Type::Reference(_));
    part(krate, &quote!(#name), is_reference, at, is_hash)
}

/// Generates one part of the name. A reference is taken as it is, so that messages name the type behind it.
pub(super) fn part(
    krate: &TokenStream,
    value: &TokenStream,
    is_reference: bool,
    at: Span,
    is_hash: bool,
) -> TokenStream {
    let method = Ident::new(if is_hash { "__cached_digest" } else { "__cached_part" }, at);
    let borrow = (!is_reference).then(|| quote!(&));
    quote_spanned!(at=> #krate::__private::KeyArg(#borrow #value).#method())
}

fn at_span(field: &Member, span: Span) -> Member {
    let mut field = field.clone();
    match &mut field {
        Member::Named(name) => name.set_span(span),
        Member::Unnamed(index) => index.span = span,
    }
    field
}
