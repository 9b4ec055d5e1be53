//! The memory of a list table, and where it comes from.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use xdp_common::lists::{LINE_WORDS, Line, Table};

use super::super::Result;

/// Lines of a table that somebody else may be reading.
pub(crate) trait Memory: Send {
    /// All words, a whole number of lines, aligned to a line.
    fn words(&self) -> &[AtomicU64];
    /// Notes that a word of the head has become this, where the head is kept a second time.
    fn note_head(&self, _word: usize, _value: u64) {}
    /// Notes that the table says something else than before.
    fn note_change(&self) {}
}

/// Makes tables and puts them in force.
pub(crate) trait Publisher: Send {
    /// Memory of one table.
    type Memory: Memory;
    /// Memory of so many lines, all zero.
    fn allocate(&mut self, lines: u32) -> Result<Self::Memory>;
    /// Makes a table ready beside the family's last one: all of putting it in force that can fail.
    fn stage(&mut self, ipv4: bool, memory: &mut Self::Memory) -> Result<()>;
    /// Puts a table that was staged in force in place of the family's last one, with one step.
    fn flip(&mut self, ipv4: bool, memory: &mut Self::Memory);
    /// Puts a table in force in place of the family's last one, with one step.
    fn publish(&mut self, ipv4: bool, memory: &mut Self::Memory) -> Result<()> {
        self.stage(ipv4, memory)?;
        self.flip(ipv4, memory);
        Ok(())
    }
}

/// Memory of the process.
pub(crate) struct Heap(Box<[AtomicU64]>);

impl Memory for Heap {
    fn words(&self) -> &[AtomicU64] {
        &self.0
    }
}

/// Tables in memory of the process: whoever holds the table is its only reader.
pub(crate) struct InProcess;

impl Publisher for InProcess {
    type Memory = Heap;

    fn allocate(&mut self, lines: u32) -> Result<Heap> {
        let words = lines as usize * LINE_WORDS;
        Ok(Heap((0..words).map(|_| AtomicU64::new(0)).collect()))
    }

    fn stage(&mut self, _ipv4: bool, _memory: &mut Heap) -> Result<()> {
        Ok(())
    }

    fn flip(&mut self, _ipv4: bool, _memory: &mut Heap) {}
}

/// Reads and writes the words of a table.
#[derive(Clone, Copy)]
pub(super) struct Words<'a>(pub(super) &'a [AtomicU64]);

impl Words<'_> {
    /// A word of a line.
    pub(super) fn get(self, line: u32, word: usize) -> u64 {
        let at = line as usize * LINE_WORDS + word;
        self.0
            .get(at)
            .map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Stores a word, after all that was stored before.
    pub(super) fn set(self, line: u32, word: usize, value: u64) {
        if let Some(word) = self.0.get(line as usize * LINE_WORDS + word) {
            word.store(value, Ordering::Release);
        }
    }

    /// Half of a word of a line, the lower one first.
    pub(super) fn half(self, line: u32, half: usize) -> u32 {
        let word = self.get(line, half / 2);
        let bytes = word.to_le_bytes();
        let [a, b, c, d, e, f, g, h] = bytes;
        u32::from_le_bytes(if half.is_multiple_of(2) {
            [a, b, c, d]
        } else {
            [e, f, g, h]
        })
    }

    /// Stores half of a word, after all that was stored before. There is one writer: the other half
    /// doesn't change meanwhile.
    pub(super) fn set_half(self, line: u32, half: usize, value: u32) {
        let at = line as usize * LINE_WORDS + half / 2;
        if let Some(word) = self.0.get(at) {
            half_of(word, half % 2).store(value, Ordering::Release);
        }
    }
}

/// The lower (0) or upper (1) half of a word. Little-endian, as the only supported architecture is.
fn half_of(word: &AtomicU64, half: usize) -> &AtomicU32 {
    let halves = std::ptr::from_ref(word).cast::<[AtomicU32; 2]>();
    // SAFETY: the two halves of the word, as aligned and as long-lived, which may be written through
    // a shared reference.
    let halves = unsafe { &*halves };
    &halves[half % 2]
}

/// A line for the look-up that the program shares.
#[derive(Clone, Copy)]
pub(crate) struct WordsLine<'a>(&'a [AtomicU64]);

impl Line for WordsLine<'_> {
    fn word(&self, index: usize) -> u64 {
        let word = self.0.get(index % LINE_WORDS);
        word.map_or(0, |word| word.load(Ordering::Acquire))
    }
}

impl<'a> Table for Words<'a> {
    type Line = WordsLine<'a>;

    fn line(&self, index: u32) -> Option<WordsLine<'a>> {
        let from = index as usize * LINE_WORDS;
        self.0.get(from..from + LINE_WORDS).map(WordsLine)
    }
}
