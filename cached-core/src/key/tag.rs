//! Tags that a value determines, as `tags_from` returns them.

use std::fmt;

use crate::{
    base::planted::planted,
    key::{Draft, KeyHasher, KeyPart, Refusal},
};

/// A tag that a value determines, made by [`tag!`](crate::tag!).
///
/// The parts are written as those of `tags = [".."]`, of [`invalidate_tag`](crate::Cache::invalidate_tag) and
/// of `#[invalidates(tags = [".."])]` are, so that one tag has one name wherever it comes from. `Debug` does
/// not show it.
#[derive(Clone)]
pub struct Tag(Result<Draft, Refusal>);

impl Tag {
    /// Creates a tag, for generated code. The template has no flaw.
    pub(crate) fn new(template: &str, parts: &[&dyn KeyPart]) -> Self {
        Self(Draft::new(|writer| writer.write_template(template, parts.iter().copied())))
    }

    pub(crate) fn name(&self, hasher: &dyn KeyHasher) -> Result<String, Refusal> {
        let name = self.0.as_ref().map(|draft| draft.name(hasher)).map_err(|refusal| *refusal)?;
        Ok(if planted!("value-tag-unescaped") { name.replace("%20", " ") } else { name })
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tag").finish_non_exhaustive()
    }
}

/// Makes a [`Tag`] for `tags_from` from a template and its parts.
///
/// The template has a `{}` for each part, and is checked at compile time. A part is any `Serialize` value. If
/// a part cannot be written, such as a NaN, the value is not cached, because it could not be invalidated by
/// that tag.
///
/// ```
/// # extern crate cached_core as cached_aside;
/// use cached_aside::{cached, tag};
///
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Note { author: String, text: String }
///
/// #[cached("note:{id}", ttl = "10m", tags_from = |note| vec![tag!("author:{}", note.author)])]
/// async fn note(id: u64) -> Note {
///     Note { author: "Ada Lovelace".to_owned(), text: format!("the note {id}") }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cached_aside::Error> {
/// # let cache = cached_aside::Cache::builder().build()?;
/// # cache.clone().install()?;
/// note(7).await;
/// cache.invalidate_tag("author:{}", &[&"Ada Lovelace"]).await?;
/// assert!(note::peek(7).await.is_none());
/// # Ok(()) }
/// ```
#[macro_export]
macro_rules! tag {
    ($template:literal $(, $part:expr)* $(,)?) => {{
        const {
            let parts: &[&::core::primitive::str] = &[$(::core::stringify!($part)),*];
            if let ::core::option::Option::Some(flaw) = $crate::__private::flaw($template, <[_]>::len(parts), false) {
                ::core::panic!("{}", flaw);
            }
        }
        $crate::__private::tag($template, &[$(&$part),*])
    }};
    ($($other:tt)*) => {
        ::core::compile_error!(
            "`tag!` takes a template with a `{}` for each part, then the parts: `tag!(\"author:{}\", \
             note.author)`"
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{Blake3, NameWriter};

    #[test]
    fn a_tag_has_the_name_that_an_invalidation_writes() {
        let long = "x".repeat(70);
        let parts: [&(dyn KeyPart + Sync); 4] = [&"Ada Lovelace", &long, &7_u64, &(1, 2)];
        let template = "a:{}:{{{}}}:{}:{}:z";
        let name = tag!("a:{}:{{{}}}:{}:{}:z", "Ada Lovelace", long, 7_u64, (1, 2)).name(&Blake3).unwrap();
        let written = NameWriter::text(&Blake3, |writer| {
            writer.write_template(template, parts.iter().map(|part| *part as &dyn KeyPart))
        });
        assert_eq!(name, written.unwrap());
        assert!(name.starts_with("a:Ada%20Lovelace:{%H") && name.ends_with(":z"), "{name}");
        assert_eq!(tag!("all").name(&Blake3).unwrap(), "all");
    }

    #[test]
    fn unencodable_tag_has_no_name_and_debug_hides_the_arguments() {
        assert!(tag!("a:{}", f64::NAN).name(&Blake3).is_err());
        assert_eq!(format!("{:?}", tag!("a:{}", "secret")), "Tag { .. }");
    }
}
