//! List tables in the kernel: chunks of lines, and the word that says which table is in force
//! ([`xdp_common::abi::chunks`]).

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::MapData;
use xdp_common::abi::{ListLine, chunks, entries, map};
use xdp_common::lists::LINE_WORDS;

use super::super::batch;
use super::super::lists::{Memory, Publisher};
use super::super::{DatapathError, Result};
use super::failed;
use super::mapped::Mapped;

/// `BPF_MAP_TYPE_ARRAY` and a flag (include/uapi/linux/bpf.h).
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// A list table that the program can be given.
pub(crate) struct KernelTable {
    /// Until it is in force: from then on the outer map holds them.
    chunks: Vec<MapData>,
    memory: Mapped,
    heads: Arc<Mapped>,
    /// Where it was made ready to be put in force.
    staged: Option<Staged>,
    /// The line of its head, once packets look at it.
    in_force: Option<u32>,
}

/// The place of a table that packets don't look at yet.
#[derive(Clone, Copy)]
struct Staged {
    /// The line of its head.
    head: u32,
    /// Its first chunk.
    first: u32,
}

impl Memory for KernelTable {
    fn words(&self) -> &[AtomicU64] {
        self.memory.as_ref()
    }

    fn note_head(&self, word: usize, value: u64) {
        if let Some(head) = self.in_force {
            store(&self.heads, head, word, value);
        }
    }

    fn note_change(&self) {
        if self.in_force.is_some() {
            raise(&self.heads);
        }
    }
}

/// Which list tables the program looks at.
pub(crate) struct KernelLists {
    outer: MapData,
    heads: Arc<Mapped>,
    /// A chunk of lines without entries, in the place of those that are no longer in use.
    nothing: Option<MapData>,
}

/// See [`chunks::CHANGES`]. For changes that are none of the lists.
pub(crate) struct Changes(Arc<Mapped>);

impl Changes {
    /// Raised when a change is made: a packet that comes later is decided by it.
    pub(super) fn raise(&self) {
        raise(&self.0);
    }
}

impl KernelLists {
    pub(super) fn new(outer: MapData, heads: &MapData) -> Result<Self> {
        Ok(Self {
            outer,
            heads: Arc::new(Mapped::new::<ListLine>(heads, entries::LIST_HEADS)?),
            nothing: None,
        })
    }

    /// The word that every change raises.
    pub(super) fn changes(&self) -> Changes {
        Changes(self.heads.clone())
    }

    fn in_force(&self, family: u32) -> u64 {
        let word = chunks::IN_FORCE + family as usize;
        let words = (*self.heads).as_ref();
        words
            .get(word)
            .map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn put<'a>(&self, first: u32, chunks: impl Iterator<Item = &'a MapData>) -> Result<()> {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (chunk, key) in chunks.zip(first..) {
            keys.push(key);
            values.push(chunk.fd().as_fd().as_raw_fd());
        }
        batch::set_inner_maps(self.outer.fd().as_fd(), &keys, &values)
            .map_err(|error| failed("put a list table in force", error))
    }

    /// Lets go of the lines of a table that was replaced. Packets that found it before begin anew.
    fn let_go(&mut self, old: u64) -> Result<()> {
        let (first, count) = chunks::of(old);
        if count == 0 {
            return Ok(());
        }
        if self.nothing.is_none() {
            self.nothing = Some(new_chunk()?);
        }
        let nothing = self.nothing.iter().cycle().take(count as usize);
        self.put(first, nothing)
    }
}

impl Publisher for KernelLists {
    type Memory = KernelTable;

    fn allocate(&mut self, lines: u32) -> Result<KernelTable> {
        let count = lines.div_ceil(chunks::LINES);
        if count > chunks::PER_TABLE {
            return Err(DatapathError::Full { table: "block" });
        }
        let all: Result<Vec<MapData>> = (0..count).map(|_| new_chunk()).collect();
        let all = all?;
        let each = chunks::LINES as usize * size_of::<ListLine>();
        let each = NonZeroUsize::new(each).unwrap_or(NonZeroUsize::MIN);
        Ok(KernelTable {
            memory: Mapped::joined(&all, each)?,
            chunks: all,
            heads: self.heads.clone(),
            staged: None,
            in_force: None,
        })
    }

    /// A daemon that ends between this and [`Publisher::flip`] leaves the table of before in force.
    fn stage(&mut self, ipv4: bool, table: &mut KernelTable) -> Result<()> {
        let family = u32::from(!ipv4);
        let old = self.in_force(family);
        let place = u32::from(chunks::head_of(old) == chunks::head(family, 0));
        let (head, first) = (chunks::head(family, place), chunks::first(family, place));
        self.put(first, table.chunks.iter())?;
        table.staged = Some(Staged { head, first });
        Ok(())
    }

    fn flip(&mut self, ipv4: bool, table: &mut KernelTable) {
        let family = u32::from(!ipv4);
        let old = self.in_force(family);
        let Some(Staged { head, first }) = table.staged.take() else {
            return;
        };
        for (word, value) in table.words().iter().enumerate().take(LINE_WORDS) {
            store(&self.heads, head, word, value.load(Ordering::Relaxed));
        }
        let count = u32::try_from(table.chunks.len()).unwrap_or(u32::MAX);
        table.in_force = Some(head);
        let word = chunks::IN_FORCE + family as usize;
        store(&self.heads, 0, word, chunks::in_force(head, first, count));
        raise(&self.heads);
        table.chunks.clear();
        // What is in force is, whatever becomes of the memory of before.
        if let Err(error) = self.let_go(old) {
            tracing::warn!("the memory of a list that was replaced stays in use: {error}");
        }
    }
}

fn new_chunk() -> Result<MapData> {
    let key = size_of::<u32>() as u32;
    let value = size_of::<ListLine>() as u32;
    let definition = aya_obj::Map::new_from_params(
        BPF_MAP_TYPE_ARRAY,
        key,
        value,
        chunks::LINES,
        BPF_F_MMAPABLE,
    );
    MapData::create(definition, map::LISTS, None)
        .map_err(|e| failed("make a list table: is there enough memory", e))
}

/// See [`Changes::raise`].
fn raise(heads: &Mapped) {
    if let Some(word) = heads.as_ref().get(chunks::CHANGES) {
        word.fetch_add(1, Ordering::AcqRel);
    }
}

/// Stores a word of a line of the heads, after all that was stored before.
fn store(heads: &Mapped, line: u32, word: usize, value: u64) {
    if let Some(at) = heads.as_ref().get(line as usize * LINE_WORDS + word) {
        at.store(value, Ordering::Release);
    }
}
