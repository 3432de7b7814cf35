//! Writes that come often and at the same time share transactions, and so the sync to disk at their end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::Pool;
use tokio::sync::{mpsc, oneshot};

use super::ROWS;
use super::dialect::{BEGIN_WRITE, Connection, Db};
use crate::storage::store::{StoreError, Stored};

/// Writes of one transaction: more hardly make it cheaper, and keep the first of them waiting. They fit in one statement.
const AT_ONCE: usize = ROWS;
/// Writes that wait; who comes then waits for a place.
const WAITING: usize = 1024;
/// How long to wait for a place.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the writes `items` with `connection`, in their order, and says what came of each.
pub(super) type Apply<I, T> = for<'c> fn(&'c mut Connection, &'c [I]) -> BoxFuture<'c, Stored<Vec<T>>>;

/// Writes of one kind that wait for the next transaction of this kind. Nobody waits for company: a write that finds no
/// transaction running begins one, and those that come meanwhile share the next.
#[derive(Debug)]
pub(in super::super) struct Batches<I, T> {
    queue: mpsc::Sender<Message<I, T>>,
}

enum Message<I, T> {
    Write(I, oneshot::Sender<Stored<T>>),
    Close(oneshot::Sender<()>),
}

/// No answer will come: the store was closed.
#[derive(Debug, thiserror::Error)]
#[error("the database is closed")]
struct Closed;

/// The database cannot keep up.
#[derive(Debug, thiserror::Error)]
#[error("too many writes wait for the database")]
struct Overloaded;

impl<I: Send + Sync + 'static, T: Send + 'static> Batches<I, T> {
    /// Begins to make writes with `apply`, which makes all it is given in one statement if `is_one_statement`.
    pub(super) fn new(pool: &Pool<Db>, apply: Apply<I, T>, is_one_statement: bool) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let worker = Worker { pool: pool.clone(), apply, is_one_statement };
        tokio::spawn(worker.run(waiting));
        Self { queue }
    }

    /// Makes a write, and returns after it is durable. Dropped before, it may be made or not.
    pub(super) async fn write(&self, item: I) -> Stored<T> {
        let (answer, answered) = oneshot::channel();
        let sent = tokio::time::timeout(PATIENCE, self.queue.send(Message::Write(item, answer))).await;
        sent.map_err(|_| backend(Overloaded))?.map_err(|_| backend(Closed))?;
        answered.await.map_err(|_| backend(Closed))?
    }

    /// Makes the writes that wait. Later ones fail.
    pub(in super::super) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Message::Close(done)).await.is_ok() {
            closed.await.ok();
        }
    }
}

struct Worker<I, T> {
    pool: Pool<Db>,
    apply: Apply<I, T>,
    is_one_statement: bool,
}

impl<I: Send + Sync, T: Send> Worker<I, T> {
    async fn run(self, mut waiting: mpsc::Receiver<Message<I, T>>) {
        let mut messages = Vec::with_capacity(AT_ONCE);
        let mut closed = Vec::new();
        while waiting.recv_many(&mut messages, AT_ONCE).await > 0 {
            let (mut items, mut answers) = (Vec::new(), Vec::new());
            for message in messages.drain(..) {
                match message {
                    // Who gave up does not want it any more.
                    Message::Write(_, answer) if answer.is_closed() => {}
                    Message::Write(item, answer) => {
                        items.push(item);
                        answers.push(answer);
                    }
                    Message::Close(done) => {
                        waiting.close();
                        closed.push(done);
                    }
                }
            }
            self.make(&items, answers).await;
        }
        for done in closed {
            done.send(()).ok();
        }
    }

    /// Makes writes and answers each. If one is refused, each is tried alone, so that only who is at fault fails.
    async fn make(&self, items: &[I], answers: Vec<oneshot::Sender<Stored<T>>>) {
        match self.together(items).await {
            Ok(made) => {
                for (made, answer) in made.into_iter().zip(answers) {
                    // Who asked may be gone; the write is made.
                    answer.send(Ok(made)).ok();
                }
            }
            Err(Failure::Refused(_)) if items.len() > 1 => {
                for (item, answer) in items.iter().zip(answers) {
                    let made = self.together(std::slice::from_ref(item)).await;
                    let made = made.map_err(|(Failure::Refused(error) | Failure::Unavailable(error))| error);
                    answer.send(made.and_then(|made| made.into_iter().next().ok_or_else(no_answer))).ok();
                }
            }
            Err(Failure::Refused(error) | Failure::Unavailable(error)) => {
                let error = Arc::new(error);
                for answer in answers {
                    answer.send(Err(shared(&error))).ok();
                }
            }
        }
    }

    /// Makes all or none.
    async fn together(&self, items: &[I]) -> Result<Vec<T>, Failure> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let unavailable = |error: sqlx::Error| Failure::Unavailable(error.into());
        if self.is_one_statement {
            // By itself it is all or nothing, and the way to the database is made once instead of three times.
            let mut connection = self.pool.acquire().await.map_err(unavailable)?;
            return (self.apply)(&mut connection, items).await.map_err(Failure::of_write);
        }
        let mut transaction = self.pool.begin_with(BEGIN_WRITE).await.map_err(unavailable)?;
        let made = (self.apply)(&mut transaction, items).await.map_err(Failure::of_write)?;
        // Whether a commit that failed was made is not known: nothing of it may be tried again.
        transaction.commit().await.map_err(unavailable)?;
        Ok(made)
    }
}

/// Why several writes were not made.
enum Failure {
    /// One of them cannot be made.
    Refused(StoreError),
    /// The database was not there for any of them.
    Unavailable(StoreError),
}

impl Failure {
    fn of_write(error: StoreError) -> Self {
        let cause = match &error {
            StoreError::Backend(cause) => cause.downcast_ref::<sqlx::Error>(),
            _ => None,
        };
        match cause {
            None | Some(sqlx::Error::Database(_)) => Self::Refused(error),
            Some(_) => Self::Unavailable(error),
        }
    }
}

fn backend(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Backend(Box::new(error))
}

/// An error that several get.
fn shared(error: &Arc<StoreError>) -> StoreError {
    match **error {
        StoreError::Taken(unique) => StoreError::Taken(unique),
        StoreError::NoSuchReference => StoreError::NoSuchReference,
        _ => backend(Arc::clone(error)),
    }
}

fn no_answer() -> StoreError {
    StoreError::Damaged("the answer to a write")
}
