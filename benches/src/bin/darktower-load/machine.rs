//! Cores and file descriptors.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Where a process may run: cores, or wherever the system likes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cores(Option<Vec<usize>>);

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "any" {
            return Ok(Self(None));
        }
        let wrong = || format!("{text:?} names no cores: write 0, 0,1, 2-5 or any");
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.parse().map_err(|_| wrong())?;
            let last: usize = last.parse().map_err(|_| wrong())?;
            if first > last || last >= CpuSet::MAX_CPU {
                return Err(wrong());
            }
            cores.extend(first..=last);
        }
        Ok(Self(Some(cores)))
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("any"),
            Some(cores) => {
                let cores: Vec<_> = cores.iter().map(ToString::to_string).collect();
                f.write_str(&cores.join(","))
            }
        }
    }
}

impl Cores {
    /// One runtime per core; one if they are not pinned.
    pub(crate) fn shards(&self) -> Vec<Self> {
        match &self.0 {
            None => vec![self.clone()],
            Some(cores) => cores.iter().map(|core| Self(Some(vec![*core]))).collect(),
        }
    }

    /// How many cores; `None` if not pinned.
    pub(crate) fn count(&self) -> Option<usize> {
        self.0.as_ref().map(Vec::len)
    }

    /// Restricts the calling thread, and the processes and threads it starts from now on, to these cores.
    pub(crate) fn pin_this_thread(&self) -> Result<()> {
        let Some(cores) = &self.0 else { return Ok(()) };
        let mut set = CpuSet::new();
        cores.iter().for_each(|core| set.set(*core));
        sched_setaffinity(None, &set).with_context(|| {
            format!("cannot run on cores {self}: give cores of this machine, or `any` to pin nothing")
        })
    }

    /// Runs `work` on these cores and goes back to where this thread was: children inherit the cores of their parent.
    pub(crate) fn with<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = sched_getaffinity(None).context("cannot ask which cores this program may use")?;
        self.pin_this_thread()?;
        let result = work();
        sched_setaffinity(None, &before).context("cannot go back to the cores from before")?;
        result
    }
}

/// The usual split: the server gets the first core that this program may use, the tester the second; with one core
/// nothing is pinned.
pub(crate) fn usual_cores() -> (Cores, Cores) {
    let Ok(allowed) = sched_getaffinity(None) else { return (Cores(None), Cores(None)) };
    let mut allowed = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    match (allowed.next(), allowed.next()) {
        (Some(first), Some(second)) => (Cores(Some(vec![first])), Cores(Some(vec![second]))),
        _ => (Cores(None), Cores(None)),
    }
}

/// Makes room for `needed` file descriptors, up to the hard limit.
pub(crate) fn raise_descriptor_limit(needed: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.unwrap_or(u64::MAX);
    if limit.current.is_some_and(|current| current < allowed) {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
            .context("cannot raise the limit of open files")?;
    }
    ensure!(
        needed <= allowed,
        "{needed} sockets and files are needed, and this machine allows a process {allowed}: run `ulimit -Hn {needed}` \
         as root first (or LimitNOFILE= in systemd), or ask for fewer subscribers"
    );
    Ok(())
}

/// Refuses overlapping cores: each side would measure the other.
pub(crate) fn check_apart(server: &Cores, clients: &Cores) -> Result<()> {
    if let (Some(server_cores), Some(client_cores)) = (&server.0, &clients.0)
        && let Some(both) = server_cores.iter().find(|core| client_cores.contains(core))
    {
        bail!(
            "core {both} is given to the server ({server}) and to the clients ({clients}); they would disturb each other"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_lists_and_ranges() {
        let cores: Cores = "0,2-4".parse().unwrap();
        assert_eq!(cores.to_string(), "0,2,3,4");
        assert_eq!(cores.shards().len(), 4);
        assert_eq!("any".parse::<Cores>().unwrap().count(), None);
        for bad in ["", "x", "3-1", "1,,2", "99999"] {
            assert!(bad.parse::<Cores>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_shared_core_is_refused() {
        let cores = |text: &str| text.parse::<Cores>().unwrap();
        assert!(check_apart(&cores("0,1"), &cores("1")).unwrap_err().to_string().contains("core 1"));
        check_apart(&cores("0"), &cores("any")).unwrap();
    }

    #[test]
    fn more_descriptors_than_allowed_are_refused_with_advice() {
        raise_descriptor_limit(16).unwrap();
        if getrlimit(Resource::Nofile).maximum.is_some() {
            let error = raise_descriptor_limit(u64::MAX).unwrap_err();
            assert!(error.to_string().contains("ulimit"), "{error}");
        }
    }
}
