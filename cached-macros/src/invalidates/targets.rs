//! Targets of `#[invalidates(…)]`, as the tokens between its parentheses.

use proc_macro2::TokenStream;
use syn::{
    Error, Expr, ExprCall, ExprPath, Ident, LitStr, Path, Result, Token,
    ext::IdentExt,
    parse::{ParseStream, Parser, discouraged::Speculative},
};

use crate::{
    errors::Errors,
    parse::options::{
        list::{literals, split},
        read::{Known, expect_end, flag, parse_value, runtime},
    },
};

/// Entries, tags, prefixes and options of the attribute.
#[derive(Default)]
pub(crate) struct Targets {
    pub(crate) entries: Vec<Entry>,
    pub(crate) tags: Vec<LitStr>,
    pub(crate) prefixes: Vec<LitStr>,
    pub(crate) clear: Option<Ident>,
    /// Name of the option, and the cache.
    pub(crate) cache: Option<(Ident, Expr)>,
    pub(crate) krate: Option<Path>,
    /// Set if a target was given but has an error.
    pub(crate) is_broken: bool,
}

/// Entry that is named by a call or a handle.
pub(crate) enum Entry {
    /// Call of a cached function, which determines its entry by itself.
    Function(ExprPath, ExprCall),
    /// Expression that evaluates to a handle.
    Handle(Expr),
}

const KNOWN: Known = Known(&[
    ("tags", "tags = [\"note:{note_id}\"]"),
    ("prefix", "prefix = \"analytics:{user_id}:\""),
    ("clear", "clear"),
    ("cache", "cache = self.cache"),
    ("crate", "crate = ::my_crate::cached_aside"),
]);

impl Targets {
    /// Parses all targets, and collects all errors in them.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut targets = Self::default();
        let mut seen: Vec<Ident> = Vec::new();
        for item in split(tokens) {
            let parse = |input: ParseStream<'_>| targets.item(input, &mut seen);
            if errors.take(parse.parse2(item)).is_none() {
                targets.is_broken = true;
            }
        }
        targets
    }

    fn item(&mut self, input: ParseStream<'_>, seen: &mut Vec<Ident>) -> Result<()> {
        let ahead = input.fork();
        let name = Ident::parse_any(&ahead).ok();
        let is_option = ahead.is_empty() || (ahead.peek(Token![=]) && !ahead.peek(Token![==]));
        let Some(name) = name.filter(|_| is_option) else {
            self.entries.push(Entry::parse(input)?);
            return expect_end(input);
        };
        input.advance_to(&ahead);
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
            "tags" => self.tags = literals(name, after_eq()?, "tags = [\"note:{note_id}\", \"notes\"]")?,
            "prefix" => self.prefixes = prefixes(name, after_eq()?)?,
            "clear" => self.clear = Some(flag(name, input)?),
            "cache" => self.cache = Some((name.clone(), after_eq()?.parse()?)),
            "crate" => self.krate = Some(runtime(after_eq()?)?),
            "confirmed" => {
                return Err(Error::new(
                    name.span(),
                    "`confirmed` cannot be an option: the attribute cannot report that the confirmation \
                     failed; write `note::invalidate(id).confirmed().await?` in the function",
                ));
            }
            _ if input.is_empty() && KNOWN.nearest_option(&name.to_string()).is_none() => {
                return Err(Error::new(
                    name.span(),
                    format!("`{name}` alone does not name an entry: write its arguments, `{name}(..)`"),
                ));
            }
            _ => return Err(KNOWN.unknown_option(name)),
        }
        Ok(())
    }
}

fn prefixes(name: &Ident, input: ParseStream<'_>) -> Result<Vec<LitStr>> {
    if input.peek(syn::token::Bracket) {
        literals(name, input, "prefix = [\"user:{id}:\", \"users:\"]")
    } else {
        parse_value(input, "a string, such as \"analytics:{user_id}:\"").map(|literal| vec![literal])
    }
}

impl Entry {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        const WHAT: &str = "expected an entry, such as `syllabus(exam)` or the handle `self.name_entry(id)`, or one of \
                            `tags = [..]`, `prefix = \"..\"` and `clear`";
        let start = input.span();
        let expr: Expr = input.parse().map_err(|error| {
            // An expression that ends too early has no span of its own.
            Error::new(if input.is_empty() { start } else { error.span() }, WHAT)
        })?;
        match expr {
            Expr::Call(call) => match &*call.func {
                Expr::Path(path) if is_function(path) => Ok(Self::Function(path.clone(), call)),
                _ => Ok(Self::Handle(Expr::Call(call))),
            },
            Expr::MethodCall(_) => Ok(Self::Handle(expr)),
            Expr::Await(_) | Expr::Try(_) => Err(Error::new_spanned(
                expr,
                "this only names an entry and is not called: write it without `.await` and `?`",
            )),
            Expr::Lit(_) => Err(Error::new_spanned(
                expr,
                "a literal alone cannot be a target: write `tags = [\"..\"]`, or `prefix = \"..\"` for the \
                 names that begin with it",
            )),
            Expr::Path(path) => Err(Error::new_spanned(
                path,
                "a path alone does not name an entry: write its arguments, such as `syllabus(exam)`",
            )),
            other => Err(Error::new_spanned(other, WHAT)),
        }
    }
}

/// Returns whether a path is that of a cached function, which has companions. A function of a type has none,
/// and a companion has none either.
fn is_function(path: &ExprPath) -> bool {
    let segments = &path.path.segments;
    let holder = segments.iter().rev().nth(1).map(|holder| holder.ident.unraw().to_string());
    let is_type = holder.is_some_and(|holder| holder.starts_with(char::is_uppercase));
    let is_companion = segments.len() > 1 && segments.last().is_some_and(|last| last.ident == "invalidate");
    path.qself.is_none() && !is_type && !is_companion
}
