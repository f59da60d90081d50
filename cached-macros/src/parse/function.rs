//! Model of the function under the attribute. Its body is not parsed.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident};
use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, Meta, Pat, PatIdent, PathArguments, Result, ReturnType,
    Signature, Type, TypeParamBound, Visibility,
    ext::IdentExt,
    parse::{ParseStream, Parser},
    spanned::Spanned,
    visit::{self, Visit},
};

pub(crate) struct Function {
    /// All attributes, unchanged.
    pub(crate) attributes: Vec<Attribute>,
    /// Attributes of the function that callers see.
    pub(crate) outer: Vec<Attribute>,
    /// Attributes of the function with the body.
    pub(crate) inner: Vec<Attribute>,
    /// Lint levels among the attributes, for generated items beside the function.
    pub(crate) lint_levels: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
    pub(crate) kind: Kind,
    /// Type that a caller gets, after awaiting.
    pub(crate) output: Type,
    pub(crate) arguments: Vec<Argument>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sync,
    Async,
    /// Returns a boxed future, as under `#[async_trait]`.
    Boxed,
    /// Returns `impl Future`.
    Opaque,
}

/// Argument other than `self`.
pub(crate) struct Argument {
    /// Name of the argument, or a generated one if the pattern has none.
    pub(crate) name: Ident,
    pub(crate) is_named: bool,
    pub(crate) pattern: Pat,
    pub(crate) ty: Type,
}

impl Argument {
    /// Returns the names that the pattern binds, if the argument has no name of its own.
    pub(crate) fn bound_names(&self) -> Vec<Ident> {
        struct Names(Vec<Ident>);

        impl<'ast> Visit<'ast> for Names {
            fn visit_pat_ident(&mut self, pat: &'ast PatIdent) {
                self.0.push(pat.ident.clone());
                visit::visit_pat_ident(self, pat);
            }
        }

        let mut names = Names(Vec::new());
        if !self.is_named {
            names.visit_pat(&self.pattern);
        }
        names.0
    }
}

impl Function {
    /// Parses the item under the attribute of this name.
    pub(crate) fn parse(attribute: &str, item: TokenStream) -> Result<Self> {
        (|input: ParseStream<'_>| Self::read(attribute, input)).parse2(item)
    }

    fn read(attribute: &str, input: ParseStream<'_>) -> Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let vis = input.parse()?;
        let sig: Signature = input
            .parse()
            .map_err(|error| Error::new(error.span(), format!("`#[{attribute}]` must be on a function")))?;
        let body = match input.parse()? {
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => group,
            other => {
                return Err(Error::new(
                    other.span(),
                    format!(
                        "this function has no body: put `#[{attribute}]` on the functions that implement the \
                         trait"
                    ),
                ));
            }
        };
        let (outer, inner) = split_attributes(attributes.clone());
        let is_level =
            |attribute: &&Attribute| LINT_LEVELS.iter().any(|level| attribute.path().is_ident(level));
        let lint_levels = outer.iter().filter(is_level).cloned().collect();
        let (kind, output) = output(&sig);
        let arguments =
            sig.inputs.iter().enumerate().filter_map(|(index, input)| argument(index, input)).collect();
        Ok(Self { attributes, outer, inner, lint_levels, vis, sig, body, kind, output, arguments })
    }

    pub(crate) fn has_self(&self) -> bool {
        self.sig.receiver().is_some()
    }

    /// Returns whether the function must be part of an `impl` or a `trait`, as far as its signature shows.
    pub(crate) fn names_self(&self) -> bool {
        self.has_self() || mentions(self.sig.to_token_stream(), "Self")
    }

    pub(crate) fn argument(&self, name: &Ident) -> Option<&Argument> {
        self.arguments.iter().find(|argument| argument.is_named && argument.name.unraw() == name.unraw())
    }

    /// Returns `self` and the named arguments.
    pub(crate) fn names(&self) -> impl Iterator<Item = Ident> + '_ {
        let own = self.sig.receiver().map(|receiver| Ident::from(receiver.self_token));
        let named = self.arguments.iter().filter(|argument| argument.is_named);
        own.into_iter().chain(named.map(|argument| argument.name.clone()))
    }

    /// Returns the names that patterns bind.
    pub(crate) fn bound_names(&self) -> impl Iterator<Item = Ident> + '_ {
        self.arguments.iter().flat_map(Argument::bound_names)
    }

    /// Returns the type of the values, as far as tokens show.
    pub(crate) fn value_type(&self) -> Type {
        only_argument(&self.output, "Result").unwrap_or_else(|| self.output.clone())
    }

    /// Returns the span that stands for the value.
    pub(crate) fn value_span(&self) -> Span {
        match &self.sig.output {
            ReturnType::Default => self.sig.ident.span(),
            ReturnType::Type(..) => self.value_type().span(),
        }
    }
}

const LINT_LEVELS: [&str; 4] = ["allow", "warn", "deny", "forbid"];

/// Distributes the attributes, when all macros among them are expanded. Those for callers stay on the
/// function that callers see, and lint levels go to both functions. All others, such as `#[cold]`, go to the
/// function with the body.
fn split_attributes(attributes: Vec<Attribute>) -> (Vec<Attribute>, Vec<Attribute>) {
    let (mut outer, mut inner) = (Vec::new(), Vec::new());
    for mut attribute in attributes {
        let name = attribute.path().get_ident().map(Ident::to_string).unwrap_or_default();
        match name.as_str() {
            "doc" | "must_use" | "deprecated" => outer.push(attribute),
            "allow" | "warn" | "deny" | "forbid" => {
                outer.push(attribute.clone());
                inner.push(attribute);
            }
            "expect" => {
                // An expected lint may occur in the body, in the function that callers see, or in both.
                if let Meta::List(list) = &mut attribute.meta {
                    list.path = Ident::new("allow", list.path.span()).into();
                }
                outer.push(attribute.clone());
                inner.push(attribute);
            }
            _ => inner.push(attribute),
        }
    }
    (outer, inner)
}

fn argument(index: usize, input: &FnArg) -> Option<Argument> {
    let FnArg::Typed(typed) = input else { return None };
    let name = match &*typed.pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => Some(pat.ident.clone()),
        _ => None,
    };
    Some(Argument {
        is_named: name.is_some(),
        name: name.unwrap_or_else(|| format_ident!("__cached_arg_{index}", span = typed.pat.span())),
        pattern: (*typed.pat).clone(),
        ty: (*typed.ty).clone(),
    })
}

fn output(sig: &Signature) -> (Kind, Type) {
    let ReturnType::Type(_, ty) = &sig.output else {
        let unit = syn::parse_quote!(());
        return (if sig.asyncness.is_some() { Kind::Async } else { Kind::Sync }, unit);
    };
    if sig.asyncness.is_some() {
        return (Kind::Async, (**ty).clone());
    }
    if let Some(output) = boxed_future(ty) {
        return (Kind::Boxed, output);
    }
    if let Type::ImplTrait(opaque) = &**ty
        && let Some(output) = opaque.bounds.iter().find_map(future_output)
    {
        return (Kind::Opaque, output);
    }
    (Kind::Sync, (**ty).clone())
}

/// Returns `T` of `Pin<Box<dyn Future<Output = T>>>`.
fn boxed_future(ty: &Type) -> Option<Type> {
    let Type::Path(boxed) = only_argument(ty, "Pin")? else { return None };
    let Type::TraitObject(object) = only_argument(&Type::Path(boxed), "Box")? else { return None };
    object.bounds.iter().find_map(future_output)
}

/// Returns `T` of `Name<T>`.
pub(crate) fn only_argument(ty: &Type, name: &str) -> Option<Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first()? {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    }
}

fn future_output(bound: &TypeParamBound) -> Option<Type> {
    let TypeParamBound::Trait(bound) = bound else { return None };
    let last = bound.path.segments.last().filter(|last| last.ident == "Future")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(assoc) if assoc.ident == "Output" => Some(assoc.ty.clone()),
        _ => None,
    })
}

/// Returns whether an identifier occurs in the tokens.
pub(crate) fn mentions<I: ?Sized>(tokens: TokenStream, name: &I) -> bool
where
    Ident: PartialEq<I>,
{
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Group(group) => mentions(group.stream(), name),
        _ => false,
    })
}

/// Returns a `self` in the tokens that is a value, not the beginning of a path.
pub(crate) fn mentions_self(tokens: TokenStream) -> Option<Ident> {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let found = match token {
            TokenTree::Ident(ident) if ident == "self" => {
                let is_path =
                    matches!(tokens.peek(), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
                (!is_path).then_some(ident)
            }
            TokenTree::Group(group) => mentions_self(group.stream()),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Parts of a type that may limit its lifetime to that of the call.
#[derive(Default)]
pub(crate) struct Mentions {
    /// First reference or lifetime other than `'static`.
    pub(crate) borrow: Option<Span>,
    /// First reference that is `&'static`.
    pub(crate) static_borrow: Option<Span>,
    /// First `impl Trait`.
    pub(crate) opaque: Option<Span>,
    /// Set by types that may hide a lifetime even where no lifetime may be elided: `&dyn Trait`, macros.
    pub(crate) may_hide: bool,
    idents: Vec<Ident>,
}

impl Mentions {
    pub(crate) fn of(ty: &Type) -> Self {
        let mut mentions = Self::default();
        mentions.visit_type(ty);
        mentions
    }

    pub(crate) fn has_ident(&self, name: &str) -> bool {
        self.idents.iter().any(|ident| ident == name)
    }
}

/// Returns whether a type is `dyn Trait`, which takes its lifetime from the reference around it.
pub(crate) fn is_object(ty: &Type) -> bool {
    match ty {
        Type::TraitObject(_) => true,
        Type::Paren(paren) => is_object(&paren.elem),
        Type::Group(group) => is_object(&group.elem),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Mentions {
    fn visit_type_reference(&mut self, reference: &'ast syn::TypeReference) {
        match &reference.lifetime {
            Some(lifetime) if lifetime.ident == "static" => {
                self.static_borrow.get_or_insert(reference.span())
            }
            _ => self.borrow.get_or_insert(reference.span()),
        };
        self.may_hide |= is_object(&reference.elem);
        visit::visit_type_reference(self, reference);
    }

    fn visit_type_macro(&mut self, _: &'ast syn::TypeMacro) {
        self.may_hide = true;
    }

    fn visit_lifetime(&mut self, lifetime: &'ast syn::Lifetime) {
        if lifetime.ident != "static" {
            self.borrow.get_or_insert(lifetime.span());
        }
    }

    fn visit_type_impl_trait(&mut self, opaque: &'ast syn::TypeImplTrait) {
        self.opaque.get_or_insert(opaque.span());
        visit::visit_type_impl_trait(self, opaque);
    }

    fn visit_ident(&mut self, ident: &'ast Ident) {
        self.idents.push(ident.clone());
    }
}
