//! Allocations per hit.
//!
//! Apart from the timing: a global allocator that counts costs the arms that allocate about fifty instructions each time.

use allocation_counter::measure;
use cached_aside_bench::{Arm, aligned, races, sequence};

fn main() {
    let sequence = sequence();
    let hits = f64::from(u32::try_from(sequence.len()).expect("a short one"));
    let per_hit = |arm: &Arm| {
        let count = measure(|| arm.run(&sequence)).count_total;
        format!("{:.3}", f64::from(u32::try_from(count).expect("a few per hit")) / hits)
    };
    let races = races();
    let mut head = vec!["allocations per hit".to_owned()];
    head.extend(races.iter().map(|(race, _)| (*race).to_owned()));
    let rows = (0..races[0].1.len()).map(|index| {
        let mut row = vec![races[0].1[index].name.to_owned()];
        row.extend(races.iter().map(|(_, arms)| per_hit(&arms[index])));
        row
    });
    println!("### Allocations\n\n{}", aligned(&[head].into_iter().chain(rows).collect::<Vec<_>>()));
}
