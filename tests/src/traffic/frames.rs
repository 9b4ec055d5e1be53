//! Many frames in little memory.

/// Frames one behind the other, so that a sender of millions reads memory in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Frames {
    /// Adds a frame.
    pub fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// A frame by its number from 0; nothing behind the last.
    #[must_use]
    pub fn get(&self, number: usize) -> &[u8] {
        let end = |number: usize| self.ends.get(number).copied();
        let from = number.checked_sub(1).and_then(end).unwrap_or(0);
        end(number).map_or(&[], |to| &self.bytes[from..to])
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|number| self.get(number))
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Frames {
    fn from_iter<I: IntoIterator<Item = T>>(frames: I) -> Self {
        let mut all = Self::default();
        for frame in frames {
            all.push(frame.as_ref());
        }
        all
    }
}

impl From<Vec<Vec<u8>>> for Frames {
    fn from(frames: Vec<Vec<u8>>) -> Self {
        frames.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were() {
        let list = vec![vec![1, 2, 3], vec![], vec![4]];
        let frames = Frames::from(list.clone());
        assert_eq!(frames.iter().collect::<Vec<_>>(), list);
        assert_eq!((frames.len(), frames.get(3)), (3, &[][..]));
        assert!(Frames::default().is_empty());
    }
}
