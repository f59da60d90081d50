//! A subscriber for the whole program that keeps every span, and the text of all output.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    sync::{Arc, Mutex, OnceLock},
};

use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    fmt::format::FmtSpan,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

/// A span that has ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndedSpan {
    pub(crate) name: &'static str,
    pub(crate) target: &'static str,
    pub(crate) level: String,
    pub(crate) parent: Option<&'static str>,
    pub(crate) fields: BTreeMap<&'static str, String>,
}

#[derive(Clone, Default)]
pub(crate) struct Watch {
    ended: Arc<Mutex<Vec<EndedSpan>>>,
    text: Text,
}

#[derive(Clone, Default)]
struct Text(Arc<Mutex<Vec<u8>>>);

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Watch {
    /// Returns the subscriber of the whole program.
    ///
    /// It is global, because loads run in tasks on any thread.
    pub(crate) fn installed() -> &'static Self {
        static INSTALLED: OnceLock<Watch> = OnceLock::new();
        INSTALLED.get_or_init(|| {
            let watch = Self::default();
            let text = watch.text.clone();
            let format = tracing_subscriber::fmt::layer()
                .with_span_events(FmtSpan::FULL)
                .with_writer(move || text.clone())
                .with_ansi(false);
            let all = tracing_subscriber::registry().with(watch.clone()).with(format);
            tracing::subscriber::set_global_default(all).unwrap();
            watch
        })
    }

    /// Returns the spans of one function.
    pub(crate) fn spans_of(&self, function: &str) -> Vec<EndedSpan> {
        let is_of = |span: &&EndedSpan| span.fields.get("function").is_some_and(|name| name == function);
        self.all().iter().filter(is_of).cloned().collect()
    }

    pub(crate) fn all(&self) -> Vec<EndedSpan> {
        self.ended.lock().unwrap().clone()
    }

    /// Returns all text that was written.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.text.0.lock().unwrap().clone()).unwrap()
    }
}

impl Visit for EndedSpan {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Watch {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let metadata = span.metadata();
        let mut ended = EndedSpan {
            name: metadata.name(),
            target: metadata.target(),
            level: metadata.level().to_string().to_lowercase(),
            parent: span.parent().map(|parent| parent.name()),
            ..EndedSpan::default()
        };
        attributes.record(&mut ended);
        span.extensions_mut().insert(ended);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        if let Some(ended) = span.extensions_mut().get_mut::<EndedSpan>() {
            values.record(ended);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let ended = context.span(&id).unwrap().extensions_mut().remove::<EndedSpan>();
        self.ended.lock().unwrap().extend(ended);
    }
}
