//! The transport of events to the orchestrator.

use std::{
    io::Write,
    mem,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use crate::history::{Event, encode};

/// Interval between flushes. A running worker that is killed loses at most the events of this time.
const PAUSE: Duration = Duration::from_millis(4);

/// Buffer of events. A thread writes it to stdout, so that no operation waits for the pipe.
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

    /// Writes the buffered events to stdout, in order. Errors are ignored: the orchestrator may be gone.
    pub(super) fn flush(&self) {
        let mut stdout = std::io::stdout().lock();
        let bytes = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if !bytes.is_empty() {
            let _ = stdout.write_all(&bytes);
            let _ = stdout.flush();
        }
    }
}
