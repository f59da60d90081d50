//! Expansion of `#[invalidates(…)]`: the targets, their checks, and the generated code.

mod check;
mod expand;
mod targets;

use proc_macro2::TokenStream;
use quote::quote;

use self::targets::Targets;
use crate::{errors::Errors, parse::function::Function};

pub(crate) fn invalidates(targets: TokenStream, item: &TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let targets = Targets::parse(targets, &mut errors);
    let function = errors.take(Function::parse("invalidates", item.clone()));
    let checked = function.map(|function| {
        let templates = check::check(&targets, &function, &mut errors);
        (function, templates)
    });
    match (errors.finish(), checked) {
        (Ok(()), Some((function, templates))) => expand::expand(&targets, &function, &templates),
        (Ok(()), None) => TokenStream::new(),
        (Err(error), _) => {
            let error = error.into_compile_error();
            quote!(#error #item)
        }
    }
}
