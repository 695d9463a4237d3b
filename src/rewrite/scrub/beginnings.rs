//! Finds how keys of a kind begin, which is public: how long the search takes tells nothing.

/// Texts to look for, by their first byte.
#[derive(Default)]
pub(super) struct Beginnings {
    texts: Vec<Vec<u8>>,
    /// For each byte, where in `order` those are that begin with it.
    first: Vec<u32>,
    order: Vec<u32>,
}

impl Beginnings {
    /// None of them empty.
    pub fn new(texts: Vec<Vec<u8>>) -> Self {
        if texts.is_empty() {
            return Self::default();
        }
        let byte = |text: &u32| texts.get(*text as usize).and_then(|t| t.first()).copied().unwrap_or(0);
        let mut order: Vec<u32> = (0..texts.len() as u32).collect();
        order.sort_by_key(byte);
        let first = (0..=256).map(|b| order.partition_point(|text| u16::from(byte(text)) < b) as u32).collect();
        Self { texts, first, order }
    }

    /// Calls `f` with each place where one stands, and its number; they may overlap.
    pub fn each(&self, hay: &[u8], f: &mut impl FnMut(std::ops::Range<usize>, usize)) {
        if self.texts.is_empty() {
            return;
        }
        for (at, byte) in hay.iter().enumerate() {
            let from_to = self.first.get(usize::from(*byte)..usize::from(*byte) + 2).unwrap_or_default();
            let &[from, to] = from_to else { return };
            for &number in self.order.get(from as usize..to as usize).unwrap_or_default() {
                let Some(text) = self.texts.get(number as usize) else { continue };
                if hay.get(at..).is_some_and(|rest| rest.starts_with(text)) {
                    f(at..at + text.len(), number as usize);
                }
            }
        }
    }
}
