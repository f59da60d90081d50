//! Parser of a single option, for both attributes.

use proc_macro2::TokenStream;
use syn::{
    Error, Ident, Path, Result, Token,
    parse::{Parse, ParseBuffer, ParseStream},
};

use crate::errors::{did_you_mean, nearest};

/// Names of an attribute's options, each with an example.
pub(crate) struct Known(pub(crate) &'static [(&'static str, &'static str)]);

impl Known {
    /// Returns the option that was probably meant by a misspelt name.
    pub(crate) fn nearest_option(&self, name: &str) -> Option<&'static str> {
        nearest(name, self.0.iter().map(|(known, _)| *known))
    }

    pub(crate) fn unknown_option(&self, name: &Ident) -> Error {
        let message = match self.nearest_option(&name.to_string()) {
            None => {
                let names: Vec<_> = self.0.iter().map(|(known, _)| *known).collect();
                format!("unknown option `{name}`; the options are {}", names.join(", "))
            }
            near => format!("unknown option `{name}`{}", did_you_mean(near)),
        };
        Error::new(name.span(), message)
    }

    /// Consumes the `=` and returns the input after it, which must not be empty.
    pub(crate) fn after_eq<'a, 'b>(
        &self,
        name: &Ident,
        input: &'a ParseBuffer<'b>,
    ) -> Result<&'a ParseBuffer<'b>> {
        let is_given = input.parse::<Option<Token![=]>>()?.is_some() && !input.is_empty();
        if !is_given {
            let example = self.0.iter().find(|(known, _)| name == known).map_or("", |(_, example)| *example);
            return Err(Error::new(name.span(), format!("`{name}` needs a value: `{example}`")));
        }
        Ok(input)
    }
}

/// Parses a value. The error for anything else names the expected value.
pub(crate) fn parse_value<T: Parse>(input: ParseStream<'_>, what: &str) -> Result<T> {
    expected(input.parse(), what)
}

fn expected<T>(parsed: Result<T>, what: &str) -> Result<T> {
    parsed.map_err(|error| Error::new(error.span(), format!("expected {what}")))
}

pub(crate) fn flag(name: &Ident, input: ParseStream<'_>) -> Result<Ident> {
    if input.is_empty() {
        return Ok(name.clone());
    }
    let rest: TokenStream = input.parse()?;
    Err(Error::new_spanned(rest, format!("`{name}` takes no value: write `{name}` or leave it out")))
}

/// Parses the value of `crate = …`.
pub(crate) fn runtime(input: ParseStream<'_>) -> Result<Path> {
    expected(input.call(Path::parse_mod_style), "a path, such as `crate = ::my_crate::cached_aside`")
}

pub(crate) fn expect_end(input: ParseStream<'_>) -> Result<()> {
    if input.is_empty() { Ok(()) } else { Err(input.error("expected a comma before this")) }
}
