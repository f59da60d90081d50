//! Arms that are measured in turn.
//!
//! Criterion and Divan finish one benchmark before they start the next, and report times. Here only ratios
//! have a meaning, because the speed of the machine changes during a run. All arms therefore take a short
//! turn in each round, and each arm is compared with the others of the same round.

use crate::options::Options;

/// One way to do the work.
pub struct Arm<'a> {
    name: String,
    turn: Box<dyn FnMut() -> f64 + 'a>,
}

impl<'a> Arm<'a> {
    /// Creates an arm.
    ///
    /// `turn` does the work once, and returns its cost, in a unit that all arms of the race share.
    pub fn new(name: impl Into<String>, turn: impl FnMut() -> f64 + 'a) -> Self {
        Self { name: name.into(), turn: Box::new(turn) }
    }

    /// Adds work after each turn that counts for no arm.
    #[must_use]
    pub fn and_then(self, mut after: impl FnMut() + 'a) -> Self {
        let Self { name, mut turn } = self;
        let turn = move || {
            let cost = turn();
            after();
            cost
        };
        Self { name, turn: Box::new(turn) }
    }
}

/// Gives each selected arm a turn in each round. The first round is a warm-up and does not count.
pub fn race(options: &Options, rounds: usize, arms: Vec<Arm<'_>>) -> Rounds {
    let mut all = cold_race(options, rounds + 1, arms);
    all.costs.remove(0);
    all
}

/// Runs a race without a warm-up, for arms that start cold in every turn.
pub fn cold_race(options: &Options, rounds: usize, mut arms: Vec<Arm<'_>>) -> Rounds {
    arms.retain(|arm| options.wants(&arm.name));
    let mut round = || arms.iter_mut().map(|arm| (arm.turn)()).collect::<Vec<_>>();
    let costs = (0..rounds).map(|_| round()).collect();
    Rounds::new(arms.into_iter().map(|arm| arm.name).collect(), costs)
}

/// Costs of each arm in each round.
#[derive(Clone, Debug)]
pub struct Rounds {
    names: Vec<String>,
    costs: Vec<Vec<f64>>,
}

impl Rounds {
    /// Creates the results of a race. `costs` is by round, then by arm.
    pub fn new(names: Vec<String>, costs: Vec<Vec<f64>>) -> Self {
        assert!(costs.iter().all(|round| round.len() == names.len()), "each arm has its turn in each round");
        Self { names, costs }
    }

    /// Returns the names, in the order of the arms.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the median cost over the rounds.
    pub fn median(&self, arm: &str) -> Option<f64> {
        let arm = self.position(arm)?;
        Some(quartiles(self.costs.iter().map(|round| round[arm]))[1])
    }

    /// Returns the distance between the quartiles, as a share of the median.
    pub fn spread(&self, arm: &str) -> Option<f64> {
        let arm = self.position(arm)?;
        let [low, median, high] = quartiles(self.costs.iter().map(|round| round[arm]));
        Some((high - low) / median)
    }

    /// Returns the median over the rounds of the ratio within a round.
    pub fn ratio(&self, arm: &str, reference: &str) -> Option<f64> {
        let (arm, reference) = (self.position(arm)?, self.position(reference)?);
        Some(quartiles(self.costs.iter().map(|round| round[arm] / round[reference]))[1])
    }

    /// Returns the distance between the quartiles of the ratios within a round, as a share of their median.
    ///
    /// Unlike [`spread`](Self::spread), it does not contain what makes both arms slower in some rounds.
    pub fn ratio_spread(&self, arm: &str, reference: &str) -> Option<f64> {
        let (arm, reference) = (self.position(arm)?, self.position(reference)?);
        let [low, median, high] = quartiles(self.costs.iter().map(|round| round[arm] / round[reference]));
        Some((high - low) / median)
    }

    /// Returns the names, the cheapest arm first.
    pub fn ranking(&self) -> Vec<String> {
        let mut names = self.names.clone();
        names.sort_by(|one, other| {
            self.median(one).unwrap_or(0.0).total_cmp(&self.median(other).unwrap_or(0.0))
        });
        names
    }

    fn position(&self, arm: &str) -> Option<usize> {
        self.names.iter().position(|name| name == arm)
    }
}

/// Returns the quartiles, which are not a number (NaN) without samples.
pub fn quartiles(samples: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut sorted: Vec<_> = samples.collect();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    [1, 2, 3].map(|quarter| sorted.get(last * quarter / 4).copied().unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::Rounds;

    #[test]
    fn ratio_compares_arms_within_each_round() {
        // The machine is ten times slower in the second round, for both.
        let rounds = Rounds::new(
            vec!["one".to_owned(), "two".to_owned()],
            vec![vec![2.0, 4.0], vec![20.0, 40.0], vec![3.0, 60.0]],
        );
        assert_eq!(rounds.ratio("one", "two"), Some(0.5));
        assert_eq!(rounds.median("one"), Some(3.0));
        assert!(rounds.spread("one") > Some(0.3), "the machine was slow for a while");
        assert!(rounds.ratio_spread("one", "three").is_none());
        assert_eq!(rounds.ratio("one", "three"), None);
        assert_eq!(rounds.ranking(), ["one", "two"]);
    }
}
