//! Answers that go on: one JSON value a line.

use std::collections::VecDeque;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::ClientError;

/// The longest line that is read: a frame of 256 bytes in hexadecimal and what belongs to it stays
/// far below.
const MAX_LINE: usize = 1 << 20;

/// Values as they come.
pub struct Lines<T> {
    response: reqwest::Response,
    daemon: String,
    /// What came after the last whole line.
    rest: Vec<u8>,
    lines: VecDeque<Vec<u8>>,
    values: PhantomData<T>,
}

impl<T> Lines<T> {
    pub(super) fn new(response: reqwest::Response, daemon: String) -> Self {
        Self {
            response,
            daemon,
            rest: Vec::new(),
            lines: VecDeque::new(),
            values: PhantomData,
        }
    }
}

/// A text in pieces of any size.
pub struct Pieces {
    response: reqwest::Response,
    daemon: String,
}

impl Pieces {
    pub(super) fn new(response: reqwest::Response, daemon: String) -> Self {
        Self { response, daemon }
    }

    /// The next piece; nothing at the end.
    pub async fn next(&mut self) -> Result<Option<bytes::Bytes>, ClientError> {
        let chunk = self.response.chunk().await;
        chunk.map_err(|source| ClientError::Transport {
            daemon: self.daemon.clone(),
            source,
        })
    }
}

impl<T: DeserializeOwned> Lines<T> {
    /// Waits for the next one; nothing when there will be none. May be given up half way without a
    /// loss.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                let value = serde_json::from_slice(&line);
                return value.map(Some).map_err(|source| ClientError::Line {
                    daemon: self.daemon.clone(),
                    source,
                });
            }
            let chunk = self.response.chunk().await;
            let chunk = chunk.map_err(|source| ClientError::Transport {
                daemon: self.daemon.clone(),
                source,
            })?;
            match chunk {
                Some(chunk) => self.take(&chunk),
                // A line that was cut is no value.
                None => return Ok(None),
            }
        }
    }

    fn take(&mut self, chunk: &[u8]) {
        let mut parts = chunk.split(|byte| *byte == b'\n');
        // There always is a first part.
        self.rest.extend(parts.next().unwrap_or_default());
        for part in parts {
            let line = std::mem::replace(&mut self.rest, part.to_vec());
            if !line.is_empty() {
                self.lines.push_back(line);
            }
        }
        self.rest.truncate(MAX_LINE);
    }
}
