//! The chunks of a body, kept with few copies and little memory.

use bytes::Bytes;
use smallvec::SmallVec;

/// The first chunk, and chunks of this size or more, are kept and joined once, at the end: 4 KiB. Smaller ones are joined at
/// once, because a kept chunk also keeps the whole buffer that it was read into.
const KEEP_FROM: usize = 4096;

#[derive(Default)]
pub(crate) struct Chunks {
    counted: usize,
    /// The first chunk, the large ones, and between them the small ones, already joined.
    sealed: SmallVec<[Bytes; 1]>,
    /// The small chunks since the last large one.
    open: Vec<u8>,
}

impl Chunks {
    /// Counts bytes that have arrived, whether they are kept or not.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.counted = self.counted.saturating_add(bytes);
    }

    /// All bytes that have arrived.
    pub(crate) fn counted(&self) -> usize {
        self.counted
    }

    pub(crate) fn keep(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        if self.sealed.is_empty() || chunk.len() >= KEEP_FROM {
            self.seal();
            self.sealed.push(chunk);
        } else {
            self.open.extend_from_slice(&chunk);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.sealed.iter().map(|chunk| &**chunk).chain([&*self.open])
    }

    /// The whole body; a single chunk is not copied.
    pub(crate) fn join(mut self) -> Bytes {
        self.seal();
        if self.sealed.len() > 1 {
            return self.sealed.concat().into();
        }
        self.sealed.pop().unwrap_or_default()
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            self.sealed.push(std::mem::take(&mut self.open).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(chunks: &[Bytes]) -> Chunks {
        let mut all = Chunks::default();
        chunks.iter().cloned().for_each(|chunk| all.keep(chunk));
        all
    }

    #[test]
    fn small_and_large_chunks_stay_in_their_order() {
        let chunks: Vec<_> = [1, 2, KEEP_FROM, 3, 0, 4, KEEP_FROM + 1, 5]
            .iter()
            .zip(b'a'..)
            .map(|(len, byte)| Bytes::from(vec![byte; *len]))
            .collect();
        let all = joined(&chunks);
        assert_eq!(all.iter().collect::<Vec<_>>().concat(), chunks.concat());
        assert_eq!(all.join(), chunks.concat());
    }

    #[test]
    fn a_single_chunk_is_the_same_memory() {
        let chunk = Bytes::from(vec![b'a'; 10]);
        let body = joined(&[Bytes::new(), chunk.clone(), Bytes::new()]).join();
        assert_eq!(body.as_ptr(), chunk.as_ptr());
    }

    #[test]
    fn small_chunks_after_the_first_are_joined() {
        let small = Bytes::from(vec![b'a'; KEEP_FROM - 1]);
        let large = Bytes::from(vec![b'b'; KEEP_FROM]);
        let all = joined(&[small.clone(), small.clone(), small, large.clone()]);
        assert_eq!(all.sealed.len(), 3);
        assert_eq!(all.sealed[2].as_ptr(), large.as_ptr());
    }

    #[test]
    fn no_chunk_is_an_empty_body() {
        assert!(joined(&[]).join().is_empty());
    }
}
