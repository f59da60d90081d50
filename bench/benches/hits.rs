//! Time per hit, and the ratios that goals are set for.

use cached_aside_bench::{Arm, Effort, aligned, futures, measure, quartiles, races};

/// The arms that others are divided by.
const REFERENCES: [&str; 3] = ["ours, async", "cached", "moka future"];

fn main() {
    let effort = Effort::from_arguments();
    for (race, arms) in races() {
        for threads in [1, 2] {
            let plural = if threads == 1 { "" } else { "s" };
            println!(
                "### {race}, {threads} thread{plural}\n\n{}",
                table(&arms, &measure(&arms, threads, effort))
            );
        }
    }
    let mut rows = vec![vec!["future".to_owned(), "bytes".to_owned()]];
    rows.extend(futures().map(|(name, bytes)| vec![name.to_owned(), bytes.to_string()]));
    println!("### Futures\n\n{}", aligned(&rows));
}

fn table(arms: &[Arm], rounds: &[Vec<f64>]) -> String {
    let references =
        REFERENCES.map(|name| arms.iter().position(|arm| arm.name == name).expect("it takes part"));
    let mut head = ["arm", "ns/hit", "spread"].map(str::to_owned).to_vec();
    head.extend(REFERENCES.map(|name| format!("÷ {name}")));
    let rows = arms.iter().enumerate().map(|(index, arm)| {
        let [low, median, high] = quartiles(rounds.iter().map(|round| round[index]));
        let spread = 100.0 * (high - low) / median;
        let ratios = references.map(|reference| {
            let [_, ratio, _] = quartiles(rounds.iter().map(|round| round[index] / round[reference]));
            format!("{ratio:.2}")
        });
        let mut row = vec![arm.name.to_owned(), format!("{median:.1}"), format!("{spread:.0} %")];
        row.extend(ratios);
        row
    });
    aligned(&[head].into_iter().chain(rows).collect::<Vec<_>>())
}
