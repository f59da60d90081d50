//! Progress of the run on stderr: one line that changes on a terminal, a line for each tenth elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use crate::report::grouped;

#[derive(Debug)]
pub(crate) struct Progress {
    all: usize,
    is_terminal: bool,
    start: Instant,
    drawn: Option<Instant>,
    tenths: usize,
}

impl Progress {
    pub(crate) fn new(all: usize) -> Self {
        Self { all, is_terminal: io::stderr().is_terminal(), start: Instant::now(), drawn: None, tenths: 0 }
    }

    pub(crate) fn step(&mut self, done: usize, calls: u64) {
        const PAUSE: Duration = Duration::from_millis(100);

        let tenths = done * 10 / self.all;
        let is_due = if self.is_terminal {
            done == self.all || self.drawn.is_none_or(|drawn| drawn.elapsed() >= PAUSE)
        } else {
            tenths > self.tenths
        };
        if !is_due {
            return;
        }
        self.drawn = Some(Instant::now());
        self.tenths = tenths;
        let (before, after) = if self.is_terminal { ("\r", "\x1b[K") } else { ("", "\n") };
        let text = format!(
            "{before}{:>9} of {} answered, {} calls of the model, {:.1} s{after}",
            grouped(done as u64),
            grouped(self.all as u64),
            grouped(calls),
            self.start.elapsed().as_secs_f64(),
        );
        let _ = io::stderr().write_all(text.as_bytes());
    }

    /// Ends the line, so that later output begins on a line of its own.
    pub(crate) fn end(&self) {
        if self.is_terminal {
            let _ = io::stderr().write_all(b"\n");
        }
    }
}
