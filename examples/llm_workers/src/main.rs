//! Four worker processes answer a stream of questions with a language model, and pay for each answer once.
//!
//! ```console
//! cargo run --release -p llm_workers -- --redis redis://127.0.0.1:6379
//! ```
//!
//! The cached function is in `llm.rs`: one attribute. `worker.rs` is the service around it. The other files
//! make the demonstration: a stand-in for the model (`upstream.rs`), the stream of questions (`questions.rs`,
//! `stream.rs`), the parent of the workers (`fleet.rs`) and the table at the end (`report.rs`).
#![allow(clippy::cast_precision_loss, reason = "counts far below 2^52, and shares of them")]

mod args;
mod fleet;
mod llm;
mod openai;
mod progress;
mod questions;
mod random;
mod report;
mod stream;
mod upstream;
mod worker;

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    args::Args, fleet::Fleet, progress::Progress, stream::Stream, upstream::Upstream, worker::Setup,
};

/// Exit code for invalid input.
const USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = env::args().skip(1).peekable();
    let ended = if arguments.peek().is_some_and(|argument| argument == worker::ARGUMENT) {
        worker::run().await.map_err(|error| (USAGE, error))
    } else {
        match prepare(arguments) {
            Ok(Some((args, stream))) => run(&args, stream).await.map_err(|error| (1, error)),
            Ok(None) => Ok(()),
            Err(error) => Err((USAGE, error)),
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, error)) => {
            let _ = writeln!(io::stderr(), "llm_workers: {error}");
            ExitCode::from(code)
        }
    }
}

/// Parses and checks all input, before anything is started. Returns `None` if help is requested.
fn prepare(arguments: impl Iterator<Item = String>) -> Result<Option<(Args, Stream)>, String> {
    let Some(args) = Args::parse(arguments)? else {
        show(args::HELP);
        return Ok(None);
    };
    // Every worker makes the same call. This one reports an invalid setting once, and not from each worker.
    worker::set_up(args.redis.as_deref(), "llm-workers").map_err(|error| error.to_string())?;
    let questions = match &args.questions {
        Some(path) => {
            questions::read(path).map_err(|error| format!("--questions {}: {error}", path.display()))?
        }
        None => questions::built_in(),
    };
    let stream = Stream::new(&args, questions);
    Ok(Some((args, stream)))
}

async fn run(args: &Args, stream: Stream) -> Result<(), String> {
    let upstream = Upstream::start(args.latency, args.seed)
        .await
        .map_err(|error| format!("the stand-in for the model cannot listen: {error}"))?;
    let setup = Setup {
        upstream: upstream.address(),
        redis: args.redis.clone(),
        // Each run has a namespace of its own, so that it does not see the answers of other runs.
        namespace: format!("llm-workers-{}", run_id()),
    };
    show(&report::introduction(args, &stream, &setup.namespace));

    let start = Instant::now();
    let mut progress = Progress::new(stream.requests.len());
    let fleet = Fleet::run(args, &setup, &stream, |done| progress.step(done, upstream.bill().calls)).await?;
    let elapsed = start.elapsed();
    progress.end();

    show(&report::table(args, &stream, &fleet, &upstream.bill(), elapsed));
    match fleet.deaths.len() {
        0 => Ok(()),
        dead => Err(format!("{dead} of {} workers died; see above", args.workers)),
    }
}

fn run_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", now.as_millis(), std::process::id())
}

/// Prints like `print!`, but ignores errors: a closed output is no reason to panic.
fn show(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}
