//! The way of events to the orchestrator.

use std::{
    io::Write,
    mem,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use crate::history::{Event, encode};

/// Events that are lost when the worker is killed are at most this old, if it runs at all.
const PAUSE: Duration = Duration::from_millis(4);

/// Collects events, which a thread writes to stdout: an operation does not wait for the pipe.
#[derive(Clone, Debug)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(super) fn start() -> Self {
        let log = Self(Arc::default());
        let writer = log.clone();
        thread::spawn(move || {
            loop {
                thread::sleep(PAUSE);
                writer.flush();
            }
        });
        log
    }

    pub(super) fn write(&self, event: &Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&encode(event));
    }

    /// Hands over what there is, in order. When nobody listens any more, there is nobody to tell.
    pub(super) fn flush(&self) {
        let mut stdout = std::io::stdout().lock();
        let bytes = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if !bytes.is_empty() {
            let _ = stdout.write_all(&bytes);
            let _ = stdout.flush();
        }
    }
}
