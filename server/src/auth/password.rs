//! Passwords: what may be one, and the pool that hashes them.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use tokio::sync::Semaphore;

/// Shortest password, characters. NIST SP 800-63B asks for 8; length is what resists guessing.
pub const MIN_PASSWORD_LEN: usize = 10;
/// Longest password, characters: room for a sentence, and a bound on what is hashed.
pub const MAX_PASSWORD_LEN: usize = 128;

/// 19 MiB in two passes on one lane, as OWASP advises for argon2id. More memory would only slow small machines down: at
/// 30 to 50 ms of a core per guess, a password that passed the rules below is out of reach.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How many may wait for each core. At 50 ms each, the last one has its answer within a second.
const WAITING_PER_CORE: usize = 16;

/// Verified in place of the hash of an account that does not exist, so that it costs the same. Nothing hashes to it.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$QUFBQUFBQUFBQUFBQUFBQQ$QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE";

/// The most common passwords that are long enough. Guessing begins with these.
const COMMON: [&str; 40] = [
    "1234567890",
    "0123456789",
    "0987654321",
    "1111111111",
    "0000000000",
    "1234567891",
    "12345678910",
    "123456789a",
    "a123456789",
    "1q2w3e4r5t",
    "1qaz2wsx3edc",
    "q1w2e3r4t5",
    "qwertyuiop",
    "qwerty1234",
    "qwerty12345",
    "qwerty123456",
    "asdfghjkl1",
    "1234qwerasdf",
    "zxcvbnm123",
    "password12",
    "password123",
    "password1234",
    "passw0rd123",
    "password1!",
    "p@ssw0rd123",
    "p@ssword123",
    "iloveyou12",
    "iloveyou123",
    "administrator",
    "admin12345",
    "admin123456",
    "welcome123",
    "welcome1234",
    "letmein123",
    "letmein1234",
    "changeme123",
    "football123",
    "sunshine123",
    "darktower1",
    "darktower123",
];

/// Why a text cannot be a password. The message never repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    /// Too short or too long.
    #[error("must have {min} to {MAX_PASSWORD_LEN} characters")]
    Length {
        /// Shortest that this server takes.
        min: usize,
    },
    /// Known to everybody who guesses.
    #[error("is one of the most common passwords")]
    Common,
    /// Known to everybody who knows the user.
    #[error("must not be the email address")]
    Email,
}

/// Whether `password` may protect the account with this address.
///
/// # Errors
/// [`BadPassword`].
pub fn check_password(password: &str, email: &str, min: usize) -> Result<(), BadPassword> {
    let len = password.chars().count();
    if !(min..=MAX_PASSWORD_LEN).contains(&len) {
        return Err(BadPassword::Length { min });
    }
    let lower = password.to_lowercase();
    let mut characters = lower.chars();
    let first = characters.next();
    if COMMON.contains(&lower.as_str()) || characters.all(|character| Some(character) == first) {
        return Err(BadPassword::Common);
    }
    if lower == email || email.split_once('@').is_some_and(|(name, _)| lower == name) {
        return Err(BadPassword::Email);
    }
    Ok(())
}

/// Why a password was not hashed or compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HashError {
    /// Too many are waiting.
    #[error("too many passwords are being checked")]
    Busy,
    /// A stored hash is damaged, or the system has no randomness.
    #[error("argon2")]
    Argon2(#[from] argon2::password_hash::Error),
    /// The thread that hashed is gone.
    #[error("the hashing thread")]
    Thread(#[from] tokio::task::JoinError),
}

/// Hashes passwords, as many at once as there are cores, so that logins cannot take the machine.
#[derive(Debug)]
pub struct Passwords {
    /// Who may hash or wait.
    places: Arc<Semaphore>,
    /// Who may hash.
    cores: Arc<Semaphore>,
}

impl Passwords {
    /// A pool as wide as this process has cores.
    #[must_use]
    pub fn new() -> Self {
        Self::with_cores(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }

    fn with_cores(cores: usize) -> Self {
        // Known before the first event.
        metrics::counter!("passwords_hashed_total").increment(0);
        Self {
            places: Arc::new(Semaphore::new(cores * (1 + WAITING_PER_CORE))),
            cores: Arc::new(Semaphore::new(cores)),
        }
    }

    /// The PHC string to keep of a password.
    ///
    /// # Errors
    /// [`HashError`].
    pub async fn hash(&self, password: String) -> Result<String, HashError> {
        self.run(move || Ok(argon2().hash_password(password.as_bytes())?.to_string())).await
    }

    /// Whether `password` is the one of `hash`. Without a hash it is not, which takes as long to find out.
    ///
    /// # Errors
    /// [`HashError`].
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, HashError> {
        self.run(move || {
            match argon2().verify_password(password.as_bytes(), hash.as_deref().unwrap_or(NOBODY)) {
                Ok(()) => Ok(hash.is_some()),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Does `work` on a thread of its own. Whoever stops waiting keeps the place until the work is done: giving up early
    /// must not let more in.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| HashError::Busy)?;
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| HashError::Busy)?;
        tokio::task::spawn_blocking(move || {
            let result = work();
            metrics::counter!("passwords_hashed_total").increment(1);
            drop((core, place));
            result
        })
        .await?
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new()
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("these parameters are in range");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn passwords_are_hashed_with_argon2id_and_salt() {
        let pool = Passwords::with_cores(2);
        let hash = pool.hash("correct horse".to_owned()).await.expect("hashed");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, pool.hash("correct horse".to_owned()).await.expect("hashed"), "salted");
        let verify =
            |password: &str, hash: Option<&str>| pool.verify(password.to_owned(), hash.map(str::to_owned));
        assert!(verify("correct horse", Some(&hash)).await.expect("compared"));
        assert!(!verify("correct horsf", Some(&hash)).await.expect("compared"));
        assert!(!verify("correct horse", None).await.expect("compared"));
        assert!(!verify("", None).await.expect("compared"));
        assert!(matches!(verify("x", Some("no hash")).await, Err(HashError::Argon2(_))));
    }

    #[tokio::test]
    async fn the_pool_is_bounded_also_against_those_who_give_up() {
        let pool = Arc::new(Passwords::with_cores(1));
        let (release, hold) = std::sync::mpsc::channel::<()>();
        let running = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let hold = Arc::new(std::sync::Mutex::new(hold));
        let start = || {
            let (pool, running, hold) = (Arc::clone(&pool), Arc::clone(&running), Arc::clone(&hold));
            tokio::spawn(async move {
                let work = move || {
                    running.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    let _ = hold.lock().map(|hold| hold.recv_timeout(std::time::Duration::from_secs(10)));
                    running.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    Ok(())
                };
                pool.run(work).await
            })
        };
        let mut waiting: Vec<_> = (0..=WAITING_PER_CORE).map(|_| start()).collect();
        while pool.places.available_permits() > 0 || running.load(std::sync::atomic::Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(start().await.expect("no panic"), Err(HashError::Busy)));
        assert_eq!(running.load(std::sync::atomic::Ordering::SeqCst), 1, "one core, one at a time");
        // The first one has begun: to stop waiting for it frees nothing.
        waiting.swap_remove(0).abort();
        tokio::task::yield_now().await;
        assert!(matches!(start().await.expect("no panic"), Err(HashError::Busy)));
        drop(release);
        for one in waiting {
            one.await.expect("no panic").expect("done");
        }
        start().await.expect("no panic").expect("there is room again");
    }

    #[test]
    fn weak_passwords_are_refused_by_reason() {
        let email = "zoe.miller@example.org";
        let check = |password: &str| check_password(password, email, MIN_PASSWORD_LEN);
        assert_eq!(check("nine chars"), Ok(()));
        assert_eq!(check("ninechars"), Err(BadPassword::Length { min: 10 }));
        assert_eq!(check(&"é1".repeat(64)), Ok(()));
        assert_eq!(check(&"é1".repeat(65)), Err(BadPassword::Length { min: 10 }));
        for common in ["Password123", "qwertyuiop", "zzzzzzzzzzzz", "1234567890"] {
            assert_eq!(check(common), Err(BadPassword::Common), "{common}");
        }
        for own in [email, "ZOE.MILLER", "Zoe.Miller@Example.Org"] {
            assert_eq!(check(own), Err(BadPassword::Email), "{own}");
        }
        assert_eq!(check_password("ten chars!", email, 12), Err(BadPassword::Length { min: 12 }));
    }
}
