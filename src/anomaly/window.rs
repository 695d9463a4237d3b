//! Counts over the last minute, and alarms that ring once until it was calm.

/// Seconds that must pass below a limit before crossing it counts anew.
const CALM: u64 = 60;

/// A count over the last sixty seconds.
#[derive(Debug)]
pub(super) struct Minute {
    seconds: [u32; 60],
    newest: u64,
}

impl Default for Minute {
    fn default() -> Self {
        Minute { seconds: [0; 60], newest: 0 }
    }
}

impl Minute {
    /// Counts one more; tells how many there were in the minute that ends with the newest.
    pub fn add(&mut self, second: u64) -> u64 {
        let passed = second.saturating_sub(self.newest).min(60);
        for back in 0..passed {
            self.slot(second - back, |count| *count = 0);
        }
        self.newest = self.newest.max(second);
        // Records of several files come nearly in order; what is much too late is no part of this minute.
        if self.newest - second < 60 {
            self.slot(second, |count| *count += 1);
        }
        self.seconds.iter().map(|count| u64::from(*count)).sum()
    }

    fn slot(&mut self, second: u64, change: impl FnOnce(&mut u32)) {
        if let Some(count) = self.seconds.get_mut((second % 60) as usize) {
            change(count);
        }
    }
}

/// Rings when a limit is crossed, and again only after calm.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    crossed: Option<u64>,
}

impl Alarm {
    /// The limit is crossed at `second`; whether that is new.
    pub fn ring(&mut self, second: u64) -> bool {
        let new = !self.rings(second);
        self.crossed = Some(self.crossed.map_or(second, |crossed| crossed.max(second)));
        new
    }

    fn rings(&self, second: u64) -> bool {
        self.left(second) > 0
    }

    /// The seconds until it was calm for long enough.
    pub fn left(&self, second: u64) -> u64 {
        self.crossed.map_or(0, |crossed| CALM.saturating_sub(second.saturating_sub(crossed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_minute_counts_what_is_in_it(mut seconds in prop::collection::vec(0u64..300, 1..80)) {
            seconds.sort();
            let mut minute = Minute::default();
            for (i, second) in seconds.iter().enumerate() {
                let want = seconds[..=i].iter().filter(|s| second - **s < 60).count() as u64;
                prop_assert_eq!(minute.add(*second), want);
            }
        }
    }
}
