//! Random steps, after which the policy holds the entries of a reference map within its capacity.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Get(u64, u32),
    Remove(u64),
    Replace(u64, u32),
    Capacity(u64),
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..60_u64;
    prop_oneof![
        60 => (key.clone(), weight()).prop_map(|(key, weight)| Step::Get(key, weight)),
        8 => key.clone().prop_map(Step::Remove),
        8 => (key, weight()).prop_map(|(key, weight)| Step::Replace(key, weight)),
        2 => (0..80_u64).prop_map(Step::Capacity),
        1 => Just(Step::Clear),
    ]
}

fn weight() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 1..4_u32, 2 => 1..30_u32, 1 => Just(u32::MAX)]
}

impl Cache {
    fn step(&mut self, step: &Step) {
        match *step {
            Step::Get(key, weight) => _ = self.get_weighing(key, weight),
            Step::Remove(key) => self.remove(key),
            Step::Replace(key, weight) => {
                let Some((before, ticket)) = self.entries.get(&key).cloned() else { return };
                let after = Arc::new(Entry { key, weight, ..Entry::default() });
                let replaced = self.policy.replace(ticket, weight, after.clone());
                let (ticket, given) = replaced.ok().expect("it is there");
                assert!(Arc::ptr_eq(&before, &given));
                assert_eq!(before.uses.get(), after.uses.get());
                self.entries.insert(key, (after, ticket));
                self.evict();
            }
            Step::Capacity(capacity) => {
                self.policy.set_capacity(capacity);
                self.evict();
            }
            Step::Clear => {
                drop(self.policy.clear());
                self.entries.clear();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// After every step, the policy has the members and the weight of a map of the entries, and they fit.
    #[test]
    fn policy_matches_a_reference_map_within_capacity(
        capacity in 0..80_u64,
        steps in proptest::collection::vec(step(), 0..400),
    ) {
        let (mut cache, mut capacity) = (Cache::new(capacity), capacity);
        for step in &steps {
            if let Step::Capacity(new) = *step {
                capacity = new;
            }
            cache.step(step);
            let weight = cache.entries.values().map(|(entry, _)| u64::from(entry.weight)).sum::<u64>();
            prop_assert_eq!(cache.policy.weight(), weight);
            prop_assert!(weight <= capacity);
            prop_assert_eq!(cache.policy.len(), cache.entries.len());
            cache.policy.queues.check();
        }
        // Each entry is found by its ticket.
        for (_, (entry, ticket)) in cache.entries.drain() {
            prop_assert!(Arc::ptr_eq(&entry, &cache.policy.remove(ticket).expect("it is there")));
        }
        prop_assert_eq!((cache.policy.len(), cache.policy.weight()), (0, 0));
    }
}
