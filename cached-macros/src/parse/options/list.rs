//! Parser of options that are lists, and of the list of options itself.

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Error, Ident, LitStr, Result, Token, bracketed, ext::IdentExt, parenthesized, parse::ParseStream,
    punctuated::Punctuated,
};

/// Splits tokens at commas, except those between the bars of a closure and those between angle brackets.
pub(crate) fn split(tokens: TokenStream) -> Vec<TokenStream> {
    let mut items = vec![TokenStream::new()];
    let (mut in_bars, mut angles, mut may_open) = (false, 0_usize, true);
    let mut before = None;
    for token in tokens {
        let punct = match &token {
            TokenTree::Punct(punct) => Some(punct.as_char()),
            _ => None,
        };
        match punct {
            // A bar opens a closure only where an expression begins; elsewhere it is an operator.
            Some('|') => in_bars = !in_bars && may_open,
            // An angle bracket opens a list there as well, or after a path: `f::<A, B>(x)`.
            Some('<') if angles > 0 || may_open || before == Some(':') => angles += 1,
            Some('>') if before != Some('-') => angles = angles.saturating_sub(1),
            Some(',') if !in_bars && angles == 0 => {
                items.push(TokenStream::new());
                (may_open, before) = (true, None);
                continue;
            }
            _ => {}
        }
        let is_keyword = matches!(&token, TokenTree::Ident(ident) if ident == "move" || ident == "if");
        may_open = is_keyword || punct == Some('=');
        before = punct;
        if let Some(last) = items.last_mut() {
            last.extend([token]);
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

/// Parses the names in parentheses after `skip`.
pub(crate) fn names(name: &Ident, input: ParseStream<'_>) -> Result<Vec<Ident>> {
    const WHAT: &str = "`skip` needs names of arguments: `skip(db, self)`";
    if !input.peek(syn::token::Paren) {
        return Err(Error::new(name.span(), WHAT));
    }
    let list;
    parenthesized!(list in input);
    let names = Punctuated::<Ident, Token![,]>::parse_terminated_with(&list, Ident::parse_any)
        .map_err(|error| Error::new(error.span(), WHAT))?;
    if names.is_empty() {
        return Err(Error::new(name.span(), WHAT));
    }
    for (index, name) in names.iter().enumerate() {
        if names.iter().take(index).any(|before| before == name) {
            return Err(Error::new(name.span(), format!("`{name}` is skipped twice")));
        }
    }
    Ok(names.into_iter().collect())
}

/// Parses strings in brackets: at least one, and none of them twice.
pub(crate) fn literals(name: &Ident, input: ParseStream<'_>, example: &str) -> Result<Vec<LitStr>> {
    let what = format!("`{name}` must be a list of strings: `{example}`");
    if !input.peek(syn::token::Bracket) {
        return Err(Error::new(input.span(), what));
    }
    let list;
    bracketed!(list in input);
    let literals = Punctuated::<LitStr, Token![,]>::parse_terminated(&list)
        .map_err(|error| Error::new(error.span(), &what))?;
    if literals.is_empty() {
        return Err(Error::new(
            name.span(),
            format!("`{name}` is empty: leave it out, or write `{example}`"),
        ));
    }
    for (index, literal) in literals.iter().enumerate() {
        if literals.iter().take(index).any(|before| before.value() == literal.value()) {
            return Err(Error::new(literal.span(), "this string is given twice"));
        }
    }
    Ok(literals.into_iter().collect())
}
