//! The options of `#[cached(…)]`.

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Error, Expr, Ident, LitBool, LitFloat, LitStr, Path, Result, Token,
    ext::IdentExt,
    parenthesized,
    parse::{Parse, ParseStream, Parser},
    punctuated::Punctuated,
};

use crate::{
    errors::{Errors, did_you_mean, nearest},
    value::{Time, integer, share},
};

/// What was said, each with the place where it was said.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) prefix: Option<LitStr>,
    pub(crate) ttl: Option<Time>,
    pub(crate) ttl_from: Option<Expr>,
    pub(crate) skip: Vec<Ident>,
    pub(crate) key: Option<Expr>,
    pub(crate) version: Option<u32>,
    pub(crate) max_entries: Option<u64>,
    pub(crate) local: Option<Ident>,
    pub(crate) method: Option<Ident>,
    pub(crate) cache_if: Option<Expr>,
    pub(crate) cache_none: Option<Ident>,
    pub(crate) cache_err: Option<CacheErr>,
    pub(crate) jitter: Option<LitFloat>,
    pub(crate) cache: Option<Expr>,
    pub(crate) krate: Option<Path>,
    pub(crate) handle: Option<Ident>,
    pub(crate) detach: Option<LitBool>,
    /// Options that were meant, but have an error. What would follow from their absence is not reported.
    broken: Vec<String>,
}

/// `cache_err = "5s" if |e| …`.
pub(crate) struct CacheErr {
    pub(crate) name: Ident,
    pub(crate) ttl: Time,
    pub(crate) which: Option<Expr>,
}

/// The options, with examples of those that take a value.
const KNOWN: &[(&str, &str)] = &[
    ("prefix", "prefix = \"user\""),
    ("ttl", "ttl = \"30m\""),
    ("ttl_from", "ttl_from = |v| v.ttl()"),
    ("skip", "skip(db, self)"),
    ("key", "key = user.id"),
    ("version", "version = 2"),
    ("max_entries", "max_entries = 10_000"),
    ("local", "local"),
    ("method", "method"),
    ("cache_if", "cache_if = |v| !v.is_empty()"),
    ("cache_none", "cache_none"),
    ("cache_err", "cache_err = \"5s\" if |e| e.is_temporary()"),
    ("jitter", "jitter = 0.1"),
    ("cache", "cache = self.cache"),
    ("crate", "crate = ::my_crate::cached_aside"),
    ("handle", "handle = user_entry"),
    ("detach", "detach = false"),
];

/// Their place is taken, and they do nothing yet.
const PLANNED: &[&str] = &["tags", "stale", "refresh_ahead", "load_timeout", "soft_timeout", "coalesce"];

impl Options {
    /// Reads all options, and all errors in them.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut options = Self::default();
        let mut seen: Vec<Ident> = Vec::new();
        for (index, item) in split(tokens).into_iter().enumerate() {
            let parse = |input: ParseStream<'_>| options.item(input, index == 0, &mut seen);
            if errors.take(parse.parse2(item.clone())).is_none() {
                options.give_up(item);
            }
        }
        options
    }

    /// Whether an option was meant, but cannot be used.
    pub(crate) fn is_broken(&self, name: &str) -> bool {
        self.broken.iter().any(|broken| broken == name)
    }

    /// Notes every option that an item with an error may have been about.
    fn give_up(&mut self, item: TokenStream) {
        for token in item {
            if let TokenTree::Ident(name) = token {
                let name = name.to_string();
                self.broken.extend(known(&name).map(str::to_owned));
                self.broken.push(name);
            }
        }
    }

    fn item(&mut self, input: ParseStream<'_>, is_first: bool, seen: &mut Vec<Ident>) -> Result<()> {
        if input.peek(LitStr) {
            let text: LitStr = input.parse()?;
            if !is_first {
                return Err(Error::new_spanned(text, "the prefix comes first; other options have a name"));
            }
            seen.push(Ident::new("prefix", text.span()));
            self.prefix = Some(text);
            return end(input);
        }
        let name = Ident::parse_any(input).map_err(|error| {
            Error::new(
                error.span(),
                "expected an option, such as `ttl = \"30m\"`; the prefix is a string and comes first",
            )
        })?;
        if seen.contains(&name) {
            return Err(Error::new(name.span(), format!("`{name}` is given twice")));
        }
        seen.push(name.clone());
        self.option(&name, input)?;
        end(input)
    }

    fn option(&mut self, name: &Ident, input: ParseStream<'_>) -> Result<()> {
        match name.to_string().as_str() {
            "prefix" => {
                self.prefix =
                    Some(of(after_eq(name, input)?, "a string, such as \"user\" or \"user:{id}\"")?);
            }
            "ttl" => self.ttl = Some(Time::parse(after_eq(name, input)?)?),
            "ttl_from" => self.ttl_from = Some(after_eq(name, input)?.parse()?),
            "skip" => self.skip = names(name, input)?,
            "key" => self.key = Some(after_eq(name, input)?.parse()?),
            "version" => {
                self.version =
                    Some(integer(after_eq(name, input)?, "expected a number, such as `version = 2`")?);
            }
            "max_entries" => self.max_entries = Some(entries(after_eq(name, input)?)?),
            "local" => self.local = Some(flag(name, input)?),
            "method" => self.method = Some(flag(name, input)?),
            "cache_if" => self.cache_if = Some(after_eq(name, input)?.parse()?),
            "cache_none" => self.cache_none = Some(flag(name, input)?),
            "cache_err" => self.cache_err = Some(CacheErr::parse(name, after_eq(name, input)?)?),
            "jitter" => self.jitter = Some(share(after_eq(name, input)?)?),
            "cache" => self.cache = Some(after_eq(name, input)?.parse()?),
            "crate" => {
                let input = after_eq(name, input)?;
                let path = input.call(Path::parse_mod_style);
                self.krate = Some(expected(path, "a path, such as `crate = ::my_crate::cached_aside`")?);
            }
            "handle" => {
                self.handle = Some(of(after_eq(name, input)?, "a name, such as `handle = user_entry`")?);
            }
            "detach" => self.detach = Some(of(after_eq(name, input)?, "`true` or `false`")?),
            other => return Err(Error::new(name.span(), refusal(other))),
        }
        Ok(())
    }
}

fn known(name: &str) -> Option<&'static str> {
    nearest(name, KNOWN.iter().map(|(known, _)| *known))
}

fn refusal(name: &str) -> String {
    if PLANNED.contains(&name) {
        return format!("`{name}` does not work yet: leave it out");
    }
    match known(name) {
        None => {
            let names: Vec<_> = KNOWN.iter().map(|(known, _)| *known).collect();
            format!("unknown option `{name}`; there are {}", names.join(", "))
        }
        near => format!("unknown option `{name}`{}", did_you_mean(near)),
    }
}

impl CacheErr {
    fn parse(name: &Ident, input: ParseStream<'_>) -> Result<Self> {
        let ttl = Time::parse(input)?;
        let which = match input.parse::<Option<Token![if]>>()? {
            Some(_) => Some(input.parse()?),
            None => None,
        };
        Ok(Self { name: name.clone(), ttl, which })
    }
}

/// The tokens between the commas. A closure's own commas stand between bars.
fn split(tokens: TokenStream) -> Vec<TokenStream> {
    let mut items = vec![TokenStream::new()];
    let (mut in_bars, mut may_open) = (false, true);
    for token in tokens {
        let punct = match &token {
            TokenTree::Punct(punct) => Some(punct.as_char()),
            _ => None,
        };
        if punct == Some('|') {
            // A bar opens a closure only where an expression begins; elsewhere it is an operator.
            in_bars = !in_bars && may_open;
        }
        if punct == Some(',') && !in_bars {
            items.push(TokenStream::new());
            may_open = true;
            continue;
        }
        let is_keyword = matches!(&token, TokenTree::Ident(ident) if ident == "move" || ident == "if");
        may_open = is_keyword || punct == Some('=');
        items.extend_last(token);
    }
    items.retain(|item| !item.is_empty());
    items
}

trait ExtendLast {
    fn extend_last(&mut self, token: TokenTree);
}

impl ExtendLast for Vec<TokenStream> {
    fn extend_last(&mut self, token: TokenTree) {
        if let Some(last) = self.last_mut() {
            last.extend([token]);
        }
    }
}

fn after_eq<'a, 'b>(
    name: &Ident,
    input: &'a syn::parse::ParseBuffer<'b>,
) -> Result<&'a syn::parse::ParseBuffer<'b>> {
    let is_given = input.parse::<Option<Token![=]>>()?.is_some() && !input.is_empty();
    if !is_given {
        let example = KNOWN.iter().find(|(known, _)| name == known).map_or("", |(_, example)| *example);
        return Err(Error::new(name.span(), format!("`{name}` needs a value: `{example}`")));
    }
    Ok(input)
}

/// A value, or what was expected in its place.
fn of<T: Parse>(input: ParseStream<'_>, what: &str) -> Result<T> {
    expected(input.parse(), what)
}

fn expected<T>(parsed: Result<T>, what: &str) -> Result<T> {
    parsed.map_err(|error| Error::new(error.span(), format!("expected {what}")))
}

fn flag(name: &Ident, input: ParseStream<'_>) -> Result<Ident> {
    if input.is_empty() {
        return Ok(name.clone());
    }
    let rest: TokenStream = input.parse()?;
    Err(Error::new_spanned(rest, format!("`{name}` takes no value: write `{name}` or leave it out")))
}

fn names(name: &Ident, input: ParseStream<'_>) -> Result<Vec<Ident>> {
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

fn entries(input: ParseStream<'_>) -> Result<u64> {
    const WHAT: &str = "expected a number of entries above 0, such as `max_entries = 10_000`";
    let span = input.span();
    match integer(input, WHAT)? {
        0 => Err(Error::new(span, WHAT)),
        entries => Ok(entries),
    }
}

fn end(input: ParseStream<'_>) -> Result<()> {
    if input.is_empty() { Ok(()) } else { Err(input.error("expected a comma before this")) }
}
