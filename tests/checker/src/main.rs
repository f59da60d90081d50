//! A checker of the coherence promises of cached-aside.
//!
//! It drives many processes through random operations and faults, and records the result of each operation.
//! Then it checks the promises on that history. See the README beside.

mod arguments;
mod check;
mod clock;
mod faults;
mod history;
mod plants;
mod report;
mod rng;
mod run;
mod settings;
mod universe;
mod worker;

use std::{env, process::ExitCode};

use arguments::Request;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments::parse(&arguments) {
        Ok(Request::Run(plan)) => {
            println!("seed: {}", plan.seed);
            let history = run::run(&plan);
            report::report(&plan, &history, &check::check(&history))
        }
        Ok(Request::Work(job)) => match worker::main(*job) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("checker: a worker could not work: {error}");
                ExitCode::from(2)
            }
        },
        Ok(Request::List) => {
            for plant in plants::PLANTS {
                println!("{plant}");
            }
            ExitCode::SUCCESS
        }
        Ok(Request::Help) => {
            println!("{}", arguments::USAGE);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("checker: {error}\n\n{}", arguments::USAGE);
            ExitCode::from(2)
        }
    }
}
