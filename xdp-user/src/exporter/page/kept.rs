//! A reading that is shared by all who ask for it within a time.

use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The last reading, with when it was there; `None` while it is under way.
type Reading<T> = watch::Receiver<Option<(Instant, T)>>;

/// At most one reading is under way, and none begins before the last one is `age` old, whoever
/// asks, and however many go away before they have their answer.
pub(super) struct Kept<T> {
    age: Duration,
    last: Mutex<Option<Reading<T>>>,
}

impl<V: Clone + Send + Sync + 'static, E: Clone + Send + Sync + From<&'static str> + 'static>
    Kept<Result<V, E>>
{
    pub(super) fn new(age: Duration) -> Self {
        Self {
            age,
            last: Mutex::new(None),
        }
    }

    /// The last reading, or else a new one by `read`, which goes on when nobody waits any more.
    pub(super) async fn get<F>(&self, read: impl FnOnce() -> F) -> Result<V, E>
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        let mut reading = self.reading(read);
        let done = reading.wait_for(Option::is_some).await;
        match done.as_deref() {
            Ok(Some((_, outcome))) => outcome.clone(),
            // Its task panicked or the runtime ends.
            Ok(None) | Err(_) => Err(E::from("the reading was given up")),
        }
    }

    fn reading<F>(&self, read: impl FnOnce() -> F) -> Reading<Result<V, E>>
    where
        F: Future<Output = Result<V, E>> + Send + 'static,
    {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reading) = last.as_ref().filter(|reading| self.is_good(reading)) {
            return reading.clone();
        }
        let (sender, reading) = watch::channel(None);
        let outcome = read();
        tokio::spawn(async move {
            let outcome = outcome.await;
            sender.send_replace(Some((Instant::now(), outcome)));
        });
        *last = Some(reading.clone());
        reading
    }

    fn is_good(&self, reading: &Reading<Result<V, E>>) -> bool {
        match &*reading.borrow() {
            Some((at, _)) => at.elapsed() < self.age,
            None => reading.has_changed().is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    type Outcome = Result<u32, Arc<str>>;

    fn count(reads: &Arc<AtomicU32>) -> impl FnOnce() -> std::future::Ready<Outcome> + use<> {
        let reads = Arc::clone(reads);
        move || std::future::ready(Ok(reads.fetch_add(1, Ordering::Relaxed)))
    }

    #[tokio::test]
    async fn one_reading_serves_all_until_it_is_too_old() {
        let reads = Arc::new(AtomicU32::new(0));
        let kept: Kept<Outcome> = Kept::new(Duration::from_secs(600));
        for _ in 0..100 {
            assert_eq!(kept.get(count(&reads)).await, Ok(0));
        }
        let kept: Kept<Outcome> = Kept::new(Duration::ZERO);
        for number in 1..10 {
            assert_eq!(kept.get(count(&reads)).await, Ok(number));
        }
    }

    #[tokio::test]
    async fn those_who_leave_early_cause_no_second_reading() {
        let kept: Kept<Outcome> = Kept::new(Duration::ZERO);
        let reads = Arc::new(AtomicU32::new(0));
        let (open, gate) = watch::channel(false);
        let slow = || {
            let (read, mut gate) = (count(&reads), gate.clone());
            move || async move {
                drop(gate.wait_for(|open| *open).await);
                read().await
            }
        };
        for _ in 0..100 {
            let left = tokio::time::timeout(Duration::ZERO, kept.get(slow()));
            left.await.unwrap_err();
        }
        open.send_replace(true);
        assert_eq!(kept.get(slow()).await, Ok(0));
        assert_eq!(reads.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_reading_that_panics_is_an_error_and_the_next_is_made() {
        let kept: Kept<Outcome> = Kept::new(Duration::from_secs(600));
        let failed = kept.get(|| async { panic!("for the test") }).await;
        assert!(failed.unwrap_err().contains("given up"));
        let reads = Arc::new(AtomicU32::new(7));
        assert_eq!(kept.get(count(&reads)).await, Ok(7));
    }
}
