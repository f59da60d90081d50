//! Templates of prefixes, tags and patterns: `"user"`, `"rag:{user_id}:{note.id}:{hash(question)}"`,
//! `"rag:{user_id}:*"`.

use syn::{
    Error, Ident, LitStr, Member, Result, Token,
    ext::IdentExt,
    parse::{ParseStream, Parser},
};

/// Purpose of a template.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Name of a key, or its beginning.
    Prefix,
    Tag,
    /// Pattern of key names. A `*` stands for any characters.
    Pattern,
}

impl Role {
    /// Returns the noun for messages, to follow an article.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Prefix => "template",
            Self::Tag => "tag",
            Self::Pattern => "prefix",
        }
    }
}

/// Parsed template.
pub(crate) struct Template {
    pub(crate) role: Role,
    pub(crate) literal: LitStr,
    pub(crate) pieces: Vec<Piece>,
}

pub(crate) enum Piece {
    Text(String),
    Placeholder(Placeholder),
}

/// Placeholder `{arg}`, `{arg.field}` or `{hash(arg)}`.
pub(crate) struct Placeholder {
    pub(crate) argument: Ident,
    pub(crate) fields: Vec<Member>,
    pub(crate) is_hash: bool,
}

impl Template {
    pub(crate) fn parse(literal: &LitStr, role: Role) -> Result<Self> {
        let text = literal.value();
        let fail = |message: String| Err(Error::new_spanned(literal, message));
        if text.is_empty() {
            return fail(match role {
                Role::Tag => "the tag must not be empty: write a name that the entries share, such as \
                     \"notes\""
                    .to_owned(),
                _ => "the prefix must not be empty: write a name for the cached values, such as \"user\""
                    .to_owned(),
            });
        }
        if role == Role::Prefix && text.starts_with('%') {
            return fail("a prefix must not begin with `%`: such keys are reserved for the cache".to_owned());
        }
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text.as_str();
        while let Some(c) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
                plain.push(c);
                rest = after;
            } else if c == '{' {
                let Some((inside, after)) = rest[1..].split_once('}') else {
                    return fail(
                        "a placeholder is not closed: write `{name}`, or `{{` for a brace".to_owned(),
                    );
                };
                flush(&mut plain, &mut pieces);
                pieces.push(Piece::Placeholder(Placeholder::parse(inside, literal)?));
                rest = after;
            } else if c == '}' {
                return fail("a `}` without its `{`: write `}}` for a brace".to_owned());
            } else if c == '*' && role == Role::Pattern {
                plain.push(c);
                rest = &rest[1..];
            } else if c.is_whitespace() || c.is_control() || "*?[]\\".contains(c) {
                let what = if role == Role::Tag { "tag" } else { "prefix" };
                return fail(format!(
                    "a {what} must not contain {c:?}: it would be read as a pattern or break a key"
                ));
            } else {
                plain.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        flush(&mut plain, &mut pieces);
        let template = Self { role, literal: literal.clone(), pieces };
        template.check_separators()?;
        Ok(template)
    }

    /// Returns the placeholders, in their order.
    pub(crate) fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Placeholder(placeholder) => Some(placeholder),
            Piece::Text(_) => None,
        })
    }

    pub(crate) fn is_bare(&self) -> bool {
        self.placeholders().next().is_none()
    }

    /// Returns the template with `{}` for every placeholder, so that names of arguments do not matter.
    pub(crate) fn canonical(&self) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Placeholder(_) => "{}".to_owned(),
        };
        self.pieces.iter().map(text).collect()
    }

    /// Makes a pattern match every name that begins with it.
    pub(crate) fn append_wildcard(&mut self) {
        match self.pieces.last_mut() {
            Some(Piece::Text(text)) if text.ends_with('*') => {}
            Some(Piece::Text(text)) => text.push('*'),
            _ => self.pieces.push(Piece::Text("*".to_owned())),
        }
    }

    /// Checks that the text between two placeholders contains a character that no value can contain.
    fn check_separators(&self) -> Result<()> {
        let separates =
            |text: &str| text.contains(|c: char| !c.is_ascii_alphanumeric() && !"-_.@%".contains(c));
        let mut since_placeholder: Option<&str> = None;
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => {
                    if let Some(between) = &mut since_placeholder {
                        *between = text;
                    }
                }
                Piece::Placeholder(placeholder) => {
                    if since_placeholder.is_some_and(|between| !separates(between)) {
                        let name = &placeholder.argument;
                        return Err(Error::new_spanned(
                            &self.literal,
                            format!(
                                "two values would be ambiguous before `{{{name}}}`: put a `:` between them"
                            ),
                        ));
                    }
                    since_placeholder = Some("");
                }
            }
        }
        Ok(())
    }
}

fn flush(plain: &mut String, pieces: &mut Vec<Piece>) {
    if !plain.is_empty() {
        pieces.push(Piece::Text(std::mem::take(plain)));
    }
}

impl Placeholder {
    fn parse(inside: &str, literal: &LitStr) -> Result<Self> {
        let parse = |input: ParseStream<'_>| {
            let first = input.call(Ident::parse_any)?;
            if first == "hash" && input.peek(syn::token::Paren) {
                let argument;
                syn::parenthesized!(argument in input);
                let name = argument.call(Ident::parse_any)?;
                return Self::path(name, true, &argument);
            }
            Self::path(first, false, input)
        };
        let parsed = parse.parse_str(inside).map(|placeholder| placeholder.with_span_of(literal));
        parsed.map_err(|_| {
            let message = format!(
                "`{{{inside}}}` is not a placeholder: write `{{arg}}`, `{{arg.field}}`, `{{self.field}}` or `{{hash(arg)}}`"
            );
            Error::new_spanned(literal, message)
        })
    }

    fn path(argument: Ident, is_hash: bool, input: ParseStream<'_>) -> Result<Self> {
        let mut fields = Vec::new();
        while input.parse::<Option<Token![.]>>()?.is_some() {
            fields.push(input.parse()?);
        }
        if input.is_empty() {
            Ok(Self { argument, fields, is_hash })
        } else {
            Err(input.error("more than a path"))
        }
    }

    fn with_span_of(mut self, literal: &LitStr) -> Self {
        self.argument.set_span(literal.span());
        for field in &mut self.fields {
            match field {
                Member::Named(name) => name.set_span(literal.span()),
                Member::Unnamed(index) => index.span = literal.span(),
            }
        }
        self
    }
}
