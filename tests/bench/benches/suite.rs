//! Runs the groups, prints their reports, and rewrites the page under `--write`.

use std::{path::Path, process::ExitCode, time::Instant};

use cached_aside_bench::{
    groups::GROUPS,
    options::{HELP, Options},
    page,
    report::Group,
    work::install,
};

fn main() -> ExitCode {
    let options = match Options::from_arguments() {
        Ok(options) => options,
        Err(complaint) => {
            eprintln!("{complaint}");
            return ExitCode::FAILURE;
        }
    };
    if options.help {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = options.only.iter().find(|name| !GROUPS.iter().any(|group| group.name == **name)) {
        eprintln!("there is no group `{unknown}`; see --list");
        return ExitCode::FAILURE;
    }
    if options.write && (options.quick || !options.arms.is_empty()) {
        eprintln!("--write wants a whole run: neither --quick nor --arms");
        return ExitCode::FAILURE;
    }
    if options.list {
        for group in GROUPS {
            println!("{}{}", group.name, if group.long { " (with --long)" } else { "" });
        }
        return ExitCode::SUCCESS;
    }
    install();
    let wanted = |group: &&Group| match options.only.as_slice() {
        [] => options.long || !group.long,
        names => names.iter().any(|name| name == group.name),
    };
    for group in GROUPS.iter().filter(wanted) {
        let began = Instant::now();
        let report = (group.run)(&options);
        println!("## {}\n\n{}", group.name, page::section(group, &report));
        eprintln!("{} took {:.0?}", group.name, began.elapsed());
        let docs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs"));
        if options.write
            && let Err(error) = page::write(docs, group, &report)
        {
            eprintln!("docs/performance.md could not be written: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
