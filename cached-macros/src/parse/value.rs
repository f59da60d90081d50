//! Parser of single values of options.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{
    Error, Expr, ExprLit, Lit, LitFloat, LitInt, LitStr, Result, Token, parse::ParseStream, spanned::Spanned,
};

/// Duration: `"30m"`, whole seconds, or an expression of type `Duration`.
pub(crate) enum Time {
    Known(Duration, Span),
    Expr(Expr),
}

impl Time {
    pub(crate) fn parse(input: ParseStream<'_>) -> Result<Self> {
        not_negative(input)?;
        let expr: Expr = input.parse()?;
        let time = match &expr {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Self::Known(from_text(text)?, text.span()),
            Expr::Lit(ExprLit { lit: Lit::Int(seconds), .. }) => {
                Self::Known(Duration::from_secs(from_int(seconds)?), seconds.span())
            }
            Expr::Lit(ExprLit { lit, .. }) => {
                return Err(Error::new_spanned(
                    lit,
                    "expected a duration, such as \"30m\" or 1800 (seconds)",
                ));
            }
            _ => Self::Expr(expr),
        };
        match &time {
            Self::Known(Duration::ZERO, span) => {
                Err(Error::new(*span, "the duration must not be zero: no value would be kept"))
            }
            _ => Ok(time),
        }
    }

    /// Returns the expression, if the duration is one.
    pub(crate) fn expr(&self) -> Option<&Expr> {
        match self {
            Self::Known(..) => None,
            Self::Expr(expr) => Some(expr),
        }
    }

    pub(crate) fn span(&self) -> Span {
        match self {
            Self::Known(_, span) => *span,
            Self::Expr(expr) => expr.span(),
        }
    }

    pub(crate) fn tokens(&self, krate: &TokenStream) -> TokenStream {
        match self {
            Self::Known(time, span) => {
                let (seconds, nanos) = (time.as_secs(), time.subsec_nanos());
                quote_spanned!(*span=> #krate::__private::Duration::new(#seconds, #nanos))
            }
            Self::Expr(expr) => quote!(#expr),
        }
    }
}

fn not_negative(input: ParseStream<'_>) -> Result<()> {
    if input.peek(Token![-]) { Err(input.error("a duration cannot be negative")) } else { Ok(()) }
}

fn from_text(text: &LitStr) -> Result<Duration> {
    humantime::parse_duration(&text.value()).map_err(|error| {
        let message = match error {
            humantime::DurationError::NumberOverflow => "this duration is too large",
            _ => {
                "this is not a duration: write it as in \"500ms\", \"90s\", \"30m\", \"24h\", \"7d\" or \
                  \"1h 30m\""
            }
        };
        Error::new_spanned(text, message)
    })
}

fn from_int(int: &LitInt) -> Result<u64> {
    if !int.suffix().is_empty() {
        return Err(Error::new_spanned(
            int,
            "a plain number is in seconds: write other durations as text, such as \"30m\"",
        ));
    }
    int.base10_parse().map_err(|_| Error::new_spanned(int, "this number of seconds is too large"))
}

/// Parses an integer.
pub(crate) fn integer<N>(input: ParseStream<'_>, what: &str) -> Result<N>
where
    N: std::str::FromStr<Err: std::fmt::Display>,
{
    let int: LitInt = input.parse().map_err(|error| Error::new(error.span(), what))?;
    int.base10_parse().map_err(|_| Error::new_spanned(&int, what))
}

/// Parses a share from 0 to 1.
pub(crate) fn share_inclusive(input: ParseStream<'_>) -> Result<LitFloat> {
    const WHAT: &str = "expected a fraction between 0.0 and 1.0, such as `0.1`";
    let float: LitFloat = input.parse().map_err(|error| Error::new(error.span(), WHAT))?;
    match float.base10_parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) && float.suffix().is_empty() => Ok(float),
        _ => Err(Error::new(float.span(), WHAT)),
    }
}

/// Parses a share between 0 and 1, both excluded.
pub(crate) fn share_exclusive(input: ParseStream<'_>) -> Result<LitFloat> {
    const WHAT: &str = "expected a fraction of the ttl between 0.0 and 1.0, such as `0.8`";
    let float: LitFloat = input.parse().map_err(|error| Error::new(error.span(), WHAT))?;
    match float.base10_parse::<f64>() {
        Ok(part) if part > 0.0 && part < 1.0 && float.suffix().is_empty() => Ok(float),
        _ => Err(Error::new(float.span(), WHAT)),
    }
}

/// Parses a number of loads above 0.
pub(crate) fn loads(input: ParseStream<'_>) -> Result<u32> {
    const WHAT: &str = "expected a number of loads above 0, such as `max_loads = 8`";
    let span = input.span();
    match integer(input, WHAT)? {
        0 => Err(Error::new(span, WHAT)),
        loads => Ok(loads),
    }
}

/// Parses a number of keys to keep warm, from 1 to 10000.
pub(crate) fn warm_keys(input: ParseStream<'_>) -> Result<u32> {
    const WHAT: &str = "expected a number of keys from 1 to 10000, such as `keep_warm = 100`";
    let span = input.span();
    match integer(input, WHAT)? {
        keys @ 1..=10_000 => Ok(keys),
        _ => Err(Error::new(span, WHAT)),
    }
}

/// Parses a duration that is known at expansion, and is not zero.
pub(crate) fn nonzero_duration(input: ParseStream<'_>) -> Result<Duration> {
    const WHAT: &str = "expected a literal duration that is not zero, such as \"30s\"";
    not_negative(input)?;
    let lit: Lit = input.parse().map_err(|error| Error::new(error.span(), WHAT))?;
    let time = match &lit {
        Lit::Str(text) => from_text(text)?,
        Lit::Int(seconds) => Duration::from_secs(from_int(seconds)?),
        _ => return Err(Error::new_spanned(&lit, WHAT)),
    };
    if time.is_zero() { Err(Error::new_spanned(&lit, WHAT)) } else { Ok(time) }
}

/// Generates a `Duration`.
pub(crate) fn duration(krate: &TokenStream, time: Duration) -> TokenStream {
    let (seconds, nanos) = (time.as_secs(), time.subsec_nanos());
    quote!(#krate::__private::Duration::new(#seconds, #nanos))
}

/// Parses a number of entries above 0.
pub(crate) fn entries(input: ParseStream<'_>) -> Result<u64> {
    const WHAT: &str = "expected a number of entries above 0, such as `max_entries = 10_000`";
    let span = input.span();
    match integer(input, WHAT)? {
        0 => Err(Error::new(span, WHAT)),
        entries => Ok(entries),
    }
}

/// Parses a duration that is known at expansion, and may be zero.
pub(crate) fn duration_or_zero(input: ParseStream<'_>) -> Result<Duration> {
    const WHAT: &str =
        "expected a literal duration, such as \"200ms\", or 0 to check the shared tier at every hit";
    not_negative(input)?;
    let lit: Lit = input.parse().map_err(|error| Error::new(error.span(), WHAT))?;
    match &lit {
        Lit::Str(text) => from_text(text),
        Lit::Int(seconds) => from_int(seconds).map(Duration::from_secs),
        _ => Err(Error::new_spanned(&lit, WHAT)),
    }
}
