//! Options of `#[cached(…)]`, and their parser.

pub(crate) mod list;
pub(crate) mod read;

use std::time::Duration;

use proc_macro2::{TokenStream, TokenTree};
use syn::{
    Error, Expr, Ident, LitBool, LitFloat, LitStr, Path, Result, Token,
    ext::IdentExt,
    parse::{ParseStream, Parser},
};

use self::{
    list::{literals, names, split},
    read::{Known, expect_end, flag, parse_value, runtime},
};
use crate::{
    errors::Errors,
    parse::value::{
        Time, duration_or_zero, entries, integer, loads, nonzero_duration, share_exclusive, share_inclusive,
        warm_keys,
    },
};

/// Options as they were given, with their spans.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) prefix: Option<LitStr>,
    pub(crate) ttl: Option<Time>,
    pub(crate) ttl_from: Option<Expr>,
    pub(crate) skip: Vec<Ident>,
    pub(crate) key: Option<Expr>,
    pub(crate) version: Option<u32>,
    pub(crate) schema: Option<LitStr>,
    pub(crate) max_entries: Option<u64>,
    pub(crate) weight: Option<Expr>,
    pub(crate) local: Option<Ident>,
    pub(crate) method: Option<Ident>,
    pub(crate) cache_if: Option<Expr>,
    pub(crate) cache_none: Option<CacheNone>,
    pub(crate) cache_err: Option<CacheErr>,
    pub(crate) share_err: Option<ShareErr>,
    pub(crate) jitter: Option<LitFloat>,
    pub(crate) tags: Vec<LitStr>,
    pub(crate) tags_from: Option<Expr>,
    pub(crate) bound: Option<Timed>,
    pub(crate) coalesce: Option<Coalesce>,
    pub(crate) stale: Option<Time>,
    pub(crate) refresh_ahead: Option<RefreshAhead>,
    pub(crate) soft_timeout: Option<Timed>,
    pub(crate) load_timeout: Option<Timed>,
    pub(crate) max_loads: Option<u32>,
    pub(crate) tier_timeout: Option<Timed>,
    pub(crate) keep_warm: Option<KeepWarm>,
    pub(crate) cache: Option<Expr>,
    pub(crate) krate: Option<Path>,
    pub(crate) handle: Option<Ident>,
    pub(crate) companions: Option<Ident>,
    pub(crate) detach: Option<LitBool>,
    /// Options that were given but have an error. Errors that follow from their absence are not reported.
    broken: Vec<String>,
}

/// Value of `cache_err = "5s" if |e| …`.
pub(crate) struct CacheErr {
    pub(crate) name: Ident,
    pub(crate) ttl: Time,
    pub(crate) condition: Option<Expr>,
}

/// Value of `share_err = |e| …`.
pub(crate) struct ShareErr {
    pub(crate) name: Ident,
    pub(crate) copy: Expr,
}

/// Value of `cache_none`, or of `cache_none = "10s"`.
pub(crate) struct CacheNone {
    pub(crate) name: Ident,
    pub(crate) ttl: Option<Duration>,
}

/// Value that is a known duration, such as `bound = "200ms"`.
pub(crate) struct Timed {
    pub(crate) name: Ident,
    pub(crate) time: Duration,
}

/// Value of `refresh_ahead = 0.8`.
pub(crate) struct RefreshAhead {
    pub(crate) name: Ident,
    pub(crate) share: LitFloat,
}

/// Value of `keep_warm = 100`.
pub(crate) struct KeepWarm {
    pub(crate) name: Ident,
    pub(crate) keys: u32,
}

/// Value of `coalesce = local`, or of `coalesce = cluster`.
pub(crate) struct Coalesce {
    /// Identifier after the `=`.
    pub(crate) scope: Ident,
    pub(crate) is_local: bool,
}

const KNOWN: Known = Known(&[
    ("prefix", "prefix = \"user\""),
    ("ttl", "ttl = \"30m\""),
    ("ttl_from", "ttl_from = |v| v.ttl()"),
    ("skip", "skip(db, self)"),
    ("key", "key = user.id"),
    ("version", "version = 2"),
    ("schema", "schema = \"user.v1\""),
    ("max_entries", "max_entries = 10_000"),
    ("weight", "weight = |v| v.size_in_bytes()"),
    ("local", "local"),
    ("method", "method"),
    ("cache_if", "cache_if = |v| !v.is_empty()"),
    ("cache_none", "cache_none"),
    ("cache_err", "cache_err = \"5s\" if |e| e.is_temporary()"),
    ("share_err", "share_err = |e| DbError::Other(e.to_string())"),
    ("jitter", "jitter = 0.1"),
    ("cache", "cache = self.cache"),
    ("crate", "crate = ::my_crate::cached_aside"),
    ("handle", "handle = user_entry"),
    ("companions", "companions = user_cache"),
    ("detach", "detach = false"),
    ("tags", "tags = [\"note:{note_id}\"]"),
    ("tags_from", "tags_from = |v| vec![tag!(\"author:{}\", v.author)]"),
    ("bound", "bound = \"200ms\""),
    ("coalesce", "coalesce = local"),
    ("stale", "stale = \"10m\""),
    ("refresh_ahead", "refresh_ahead = 0.8"),
    ("soft_timeout", "soft_timeout = \"200ms\""),
    ("load_timeout", "load_timeout = \"30s\""),
    ("max_loads", "max_loads = 8"),
    ("keep_warm", "keep_warm = 100"),
    ("tier_timeout", "tier_timeout = \"500ms\""),
]);

impl Options {
    /// Parses all options, and collects all errors in them.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut options = Self::default();
        let mut seen: Vec<Ident> = Vec::new();
        for (index, item) in split(tokens).into_iter().enumerate() {
            let parse = |input: ParseStream<'_>| options.item(input, index == 0, &mut seen);
            if errors.take(parse.parse2(item.clone())).is_none() {
                options.mark_broken(item);
            }
        }
        options
    }

    /// Returns whether an option was given, but cannot be used.
    pub(crate) fn is_broken(&self, name: &str) -> bool {
        self.broken.iter().any(|broken| broken == name)
    }

    /// Records every option that an item with an error may have meant.
    fn mark_broken(&mut self, item: TokenStream) {
        for token in item {
            if let TokenTree::Ident(name) = token {
                let name = name.to_string();
                self.broken.extend(KNOWN.nearest_option(&name).map(str::to_owned));
                self.broken.push(name);
            }
        }
    }

    fn item(&mut self, input: ParseStream<'_>, is_first: bool, seen: &mut Vec<Ident>) -> Result<()> {
        if input.peek(LitStr) {
            let text: LitStr = input.parse()?;
            if !is_first {
                return Err(Error::new_spanned(
                    text,
                    "the prefix must come first, and other options need a name",
                ));
            }
            seen.push(Ident::new("prefix", text.span()));
            self.prefix = Some(text);
            return expect_end(input);
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
        expect_end(input)
    }

    fn option(&mut self, name: &Ident, input: ParseStream<'_>) -> Result<()> {
        let after_eq = || KNOWN.after_eq(name, input);
        match name.to_string().as_str() {
            "prefix" => {
                self.prefix = Some(parse_value(after_eq()?, "a string, such as \"user\" or \"user:{id}\"")?);
            }
            "ttl" => self.ttl = Some(Time::parse(after_eq()?)?),
            "ttl_from" => self.ttl_from = Some(after_eq()?.parse()?),
            "skip" => self.skip = names(name, input)?,
            "key" => self.key = Some(after_eq()?.parse()?),
            "version" => {
                self.version = Some(integer(after_eq()?, "expected a number, such as `version = 2`")?);
            }
            "schema" => self.schema = Some(schema(after_eq()?)?),
            "max_entries" => self.max_entries = Some(entries(after_eq()?)?),
            "weight" => self.weight = Some(after_eq()?.parse()?),
            "local" => self.local = Some(flag(name, input)?),
            "method" => self.method = Some(flag(name, input)?),
            "cache_if" => self.cache_if = Some(after_eq()?.parse()?),
            "cache_none" => self.cache_none = Some(CacheNone::parse(name, input)?),
            "cache_err" => self.cache_err = Some(CacheErr::parse(name, after_eq()?)?),
            "share_err" => {
                self.share_err = Some(ShareErr { name: name.clone(), copy: after_eq()?.parse()? });
            }
            "jitter" => self.jitter = Some(share_inclusive(after_eq()?)?),
            "tags" => self.tags = tags(name, after_eq()?)?,
            "tags_from" => self.tags_from = Some(after_eq()?.parse()?),
            "bound" => self.bound = Some(Timed { name: name.clone(), time: duration_or_zero(after_eq()?)? }),
            "stale" => self.stale = Some(Time::parse(after_eq()?)?),
            "refresh_ahead" => {
                self.refresh_ahead =
                    Some(RefreshAhead { name: name.clone(), share: share_exclusive(after_eq()?)? });
            }
            "soft_timeout" => {
                self.soft_timeout = Some(Timed { name: name.clone(), time: nonzero_duration(after_eq()?)? });
            }
            "load_timeout" => {
                self.load_timeout = Some(Timed { name: name.clone(), time: nonzero_duration(after_eq()?)? });
            }
            "tier_timeout" => {
                self.tier_timeout = Some(Timed { name: name.clone(), time: nonzero_duration(after_eq()?)? });
            }
            "max_loads" => self.max_loads = Some(loads(after_eq()?)?),
            "keep_warm" => {
                self.keep_warm = Some(KeepWarm { name: name.clone(), keys: warm_keys(after_eq()?)? });
            }
            "coalesce" => self.coalesce = Some(Coalesce::parse(after_eq()?)?),
            "cache" => self.cache = Some(after_eq()?.parse()?),
            "crate" => self.krate = Some(runtime(after_eq()?)?),
            "handle" => {
                self.handle = Some(parse_value(after_eq()?, "a name, such as `handle = user_entry`")?);
            }
            "companions" => {
                self.companions =
                    Some(parse_value(after_eq()?, "a name, such as `companions = user_cache`")?);
            }
            "detach" => self.detach = Some(parse_value(after_eq()?, "`true` or `false`")?),
            _ => return Err(KNOWN.unknown_option(name)),
        }
        Ok(())
    }
}

impl CacheNone {
    fn parse(name: &Ident, input: ParseStream<'_>) -> Result<Self> {
        let ttl = match input.parse::<Option<Token![=]>>()? {
            Some(_) => Some(nonzero_duration(input)?),
            None => None,
        };
        Ok(Self { name: name.clone(), ttl })
    }
}

impl CacheErr {
    fn parse(name: &Ident, input: ParseStream<'_>) -> Result<Self> {
        let ttl = Time::parse(input)?;
        let condition = match input.parse::<Option<Token![if]>>()? {
            Some(_) => Some(input.parse()?),
            None => None,
        };
        Ok(Self { name: name.clone(), ttl, condition })
    }
}

impl Coalesce {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        const WHAT: &str =
            "expected `local` (one load at a time in each process) or `cluster` (one over all of them)";
        let scope: Ident = input.parse().map_err(|error| Error::new(error.span(), WHAT))?;
        match scope.to_string().as_str() {
            "local" => Ok(Self { scope, is_local: true }),
            "cluster" => Ok(Self { scope, is_local: false }),
            _ => Err(Error::new(scope.span(), WHAT)),
        }
    }
}

fn schema(input: ParseStream<'_>) -> Result<LitStr> {
    let name: LitStr = parse_value(input, "a name for the schema of the values, such as \"user.v1\"")?;
    if name.value().trim().is_empty() {
        return Err(Error::new(
            name.span(),
            "the schema must not be empty: write a name, such as \"user.v1\", or leave it out",
        ));
    }
    Ok(name)
}

fn tags(name: &Ident, input: ParseStream<'_>) -> Result<Vec<LitStr>> {
    const MOST: usize = 32;
    let tags = literals(name, input, "tags = [\"note:{note_id}\", \"notes\"]")?;
    match tags.get(MOST) {
        None => Ok(tags),
        Some(tag) => Err(Error::new(tag.span(), format!("an entry cannot have more than {MOST} tags"))),
    }
}
