//! What is known of things to which an agent gives names: of the newest alone, however many there are and whatever they are called.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Those of real agents have some forty bytes.
const NAME_BYTES_MAX: usize = 1_024;

/// Holds at most `max` values, and as many names of at most 1,024 bytes.
#[derive(Debug)]
pub(crate) struct Newest<T> {
    known: HashMap<Arc<str>, T>,
    /// The oldest first.
    order: VecDeque<Arc<str>>,
    max: usize,
}

impl<T: Default> Newest<T> {
    pub(crate) fn new(max: usize) -> Self {
        Self { known: HashMap::new(), order: VecDeque::new(), max }
    }

    /// What is known under this name; a new one takes the place of the oldest where there is no room. `None`: it is too long, and nothing
    /// is kept under it.
    pub(crate) fn at(&mut self, name: &str) -> Option<&mut T> {
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        if !self.known.contains_key(name) {
            if self.order.len() >= self.max
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            let name: Arc<str> = name.into();
            self.order.push_back(name.clone());
            self.known.insert(name, T::default());
        }
        self.known.get_mut(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_ones_make_room_and_nothing_is_kept_under_a_name_that_is_too_long() {
        let mut newest = Newest::<u32>::new(3);
        for (number, name) in (0..).zip(["a", "b", "a", "c", "d"]) {
            *newest.at(name).unwrap() += number;
        }
        assert_eq!(
            ["a", "b", "c", "d"].map(|name| newest.known.get(name).copied()),
            [None, Some(1), Some(3), Some(4)]
        );
        let long = "e".repeat(NAME_BYTES_MAX + 1);
        assert!(newest.at(&long).is_none());
        assert!(newest.at(&long[1..]).is_some());
        assert_eq!((newest.known.len(), newest.order.len()), (3, 3));
    }
}
