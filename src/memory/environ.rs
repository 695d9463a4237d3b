//! Keys that came by the environment: taken out of it, so that no child inherits them and /proc/PID/environ shows none.
//! Which variables are keys, the caller knows.
//!
//! The block that the kernel shows is the process's own memory: it is overwritten in place, before any thread exists.
//! A second exec would show the same values for longer, cost a second start, and change nothing in what is left.
#![allow(unsafe_code, reason = "walks and overwrites the C environment")]

use super::plaintext::Plaintext;
use super::sealed::{Sealed, UnsealError};
#[cfg(unix)]
use super::wiping::wipe_raw;
use std::collections::BTreeMap;
#[cfg(unix)]
use std::ffi::CStr;

/// The variables that were taken, by name.
#[derive(Debug, Default)]
pub struct SealedEnvironment(BTreeMap<String, Sealed>);

/// A reason why the environment was left as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// Another thread might be reading it.
    #[error("keys can't be taken out of the environment once there are {0} threads")]
    Threads(usize),
    /// The system doesn't say how many threads there are.
    #[error("keys can't be taken out of the environment: the number of threads is unknown ({0})")]
    Unknown(String),
}

impl SealedEnvironment {
    /// Moves the variables with these names out of the process's environment into sealed memory.
    ///
    /// Only while the process has one thread; later the environment is left alone, since another thread might be
    /// reading it.
    pub fn take<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, EnvironmentError> {
        alone()?;
        let mut taken = BTreeMap::new();
        for name in names.into_iter().filter(|n| !n.is_empty() && !n.contains(['=', '\0'])) {
            // SAFETY: this thread is the only one, as was just seen, and starts no other here.
            if let Some(value) = unsafe { take_variable(name) } {
                taken.insert(name.to_owned(), Sealed::seal(value));
            }
        }
        Ok(Self(taken))
    }

    /// The value that the variable had, if it was taken and not empty.
    pub fn get(&self, name: &str) -> Result<Option<Plaintext>, UnsealError> {
        match self.0.get(name) {
            Some(sealed) if !sealed.is_empty() => sealed.open().map(Some),
            _ => Ok(None),
        }
    }

    /// The names of those that were there.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl<const N: usize> From<[(&str, &str); N]> for SealedEnvironment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        let seal = |v: &str| Sealed::seal(Plaintext::new(v.as_bytes().to_vec()));
        Self(pairs.into_iter().map(|(n, v)| (n.to_owned(), seal(v))).collect())
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn alone() -> Result<(), EnvironmentError> {
    let tasks = std::fs::read_dir("/proc/self/task").map_err(|e| EnvironmentError::Unknown(e.to_string()))?;
    match tasks.count() {
        1 => Ok(()),
        n => Err(EnvironmentError::Threads(n)),
    }
}

#[cfg(target_vendor = "apple")]
fn alone() -> Result<(), EnvironmentError> {
    unsafe extern "C" {
        fn pthread_is_threaded_np() -> libc::c_int;
    }
    // SAFETY: it takes nothing and reads one flag.
    match unsafe { pthread_is_threaded_np() } {
        0 => Ok(()),
        _ => Err(EnvironmentError::Threads(2)),
    }
}

/// Windows guards its environment by a lock of its own.
#[cfg(windows)]
fn alone() -> Result<(), EnvironmentError> {
    Ok(())
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple", windows)))]
fn alone() -> Result<(), EnvironmentError> {
    Err(EnvironmentError::Unknown("this system does not tell".into()))
}

/// # Safety
/// No other thread may exist.
#[cfg(unix)]
unsafe fn take_variable(name: &str) -> Option<Plaintext> {
    // SAFETY: nobody changes the environment meanwhile; each entry is a C string that stays where it is, since
    // `remove_var` only takes pointers out of the list.
    unsafe {
        let entries = entries_of(name);
        let value = entries.first().map(|e| {
            let entry = CStr::from_ptr(*e).to_bytes();
            Plaintext::new(entry[name.len() + 1..].to_vec())
        });
        std::env::remove_var(name);
        for entry in entries {
            wipe_raw(entry.cast(), libc::strlen(entry));
        }
        value
    }
}

/// All entries `NAME=…`: a list may hold one name twice.
///
/// # Safety
/// No other thread may change the environment.
#[cfg(unix)]
unsafe fn entries_of(name: &str) -> Vec<*mut libc::c_char> {
    let mut found = Vec::new();
    // SAFETY: the list ends with a null pointer, and all before it are C strings.
    unsafe {
        let mut next = environ();
        while !next.is_null() && !(*next).is_null() {
            let entry = CStr::from_ptr(*next).to_bytes();
            if entry.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'=')) {
                found.push(*next);
            }
            next = next.add(1);
        }
    }
    found
}

#[cfg(target_vendor = "apple")]
unsafe fn environ() -> *mut *mut libc::c_char {
    // SAFETY: it always points at the list.
    unsafe { *libc::_NSGetEnviron() }
}

#[cfg(all(unix, not(target_vendor = "apple")))]
unsafe fn environ() -> *mut *mut libc::c_char {
    unsafe extern "C" {
        static mut environ: *mut *mut libc::c_char;
    }
    // SAFETY: a plain read of the C library's own variable.
    unsafe { environ }
}

/// # Safety
/// None is needed here: the system guards its environment.
#[cfg(not(unix))]
unsafe fn take_variable(name: &str) -> Option<Plaintext> {
    let value = std::env::var(name).ok()?;
    // SAFETY: safe on Windows at any time.
    unsafe { std::env::remove_var(name) };
    Some(Plaintext::new(value.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_not_there() {
        let env = SealedEnvironment::from([("A_API_KEY", "sk-1"), ("B_API_KEY", "")]);
        assert_eq!(env.get("A_API_KEY").unwrap().unwrap().expose(), b"sk-1");
        assert!(env.get("B_API_KEY").unwrap().is_none());
        assert!(env.get("C_API_KEY").unwrap().is_none());
        assert_eq!(env.names().collect::<Vec<_>>(), ["A_API_KEY", "B_API_KEY"]);
    }

    #[test]
    fn among_threads_the_environment_is_left_alone() {
        // The test harness itself runs threads.
        assert!(matches!(SealedEnvironment::take(["HOME"]), Err(EnvironmentError::Threads(2..))));
        assert!(std::env::var_os("HOME").is_some());
    }
}
