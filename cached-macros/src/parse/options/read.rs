//! Parser of a single option, for both attributes.

use proc_macro2::TokenStream;
use syn::{
    Error, Ident, Path, Result, Token,
    parse::{Parse, ParseBuffer, ParseStream},
};

use crate::errors::{did_you_mean, nearest};

/// Names of an attribute's options, each with an example.
pub(crate) struct Known(pub(crate) &'static [(&'static str, &'static str)]);

/// Options of other caching crates, each with the option of this crate and a hint.
const FOREIGN: &[(&[&str], &str, &str)] = &[
    (&["time", "expire", "expiry"], "ttl", "the lifetime of a value is `ttl = \"60s\"`"),
    (&["size", "capacity", "max_capacity", "max_size"], "max_entries", "the bound is `max_entries = 1000`"),
    (&["weigher"], "weight", "the bytes of a value are `weight = |v| v.size_in_bytes()`"),
    (&["result"], "cache_err", "an `Err` is not kept, unless `cache_err` names it"),
    (&["option"], "cache_none", "a `None` is not kept, unless `cache_none` is given"),
    (&["convert"], "key", "the source of the key is `key = expr`"),
    (&["sync_writes"], "coalesce", "concurrent calls with the same key always run the function once"),
];

impl Known {
    /// Returns the hint for an option of another caching crate.
    fn hint(&self, name: &str) -> Option<&'static str> {
        let (_, own, hint) = FOREIGN.iter().find(|(foreign, ..)| foreign.contains(&name))?;
        self.0.iter().any(|(known, _)| known == own).then_some(*hint)
    }

    /// Returns the option that was probably meant by a misspelt name.
    pub(crate) fn nearest_option(&self, name: &str) -> Option<&'static str> {
        nearest(name, self.0.iter().map(|(known, _)| *known))
    }

    pub(crate) fn unknown_option(&self, name: &Ident) -> Error {
        let text = name.to_string();
        let message = if let Some(hint) = self.hint(&text) {
            format!("unknown option `{name}`; {hint}")
        } else if let near @ Some(_) = self.nearest_option(&text) {
            format!("unknown option `{name}`{}", did_you_mean(near))
        } else {
            let names: Vec<_> = self.0.iter().map(|(known, _)| *known).collect();
            format!("unknown option `{name}`; the options are {}", names.join(", "))
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
