//! Looks at a whole process from outside its code: its environment, its memory, its end by a panic. Each check runs in
//! a child of its own, which starts with one thread and the allocator of the real program.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test fails by a panic, and its cases are a table"
)]

#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: locum::memory::WipingAllocator = locum::memory::WipingAllocator;

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: only Linux shows a process's memory as a file");
}

#[cfg(target_os = "linux")]
fn main() {
    let checks: [(&str, fn()); 4] = [
        ("the environment forgets what was taken from it", linux::environment),
        ("no copy of a key stays behind in memory", linux::copies),
        ("a wipe takes every secret of the process", linux::wiped),
        ("a panic in a thread costs no secret, and at the end all are wiped", linux::panicked),
    ];
    match std::env::var("LOCUM_MEMORY_CHECK") {
        Ok(i) => checks[i.parse::<usize>().unwrap()].1(),
        Err(_) => linux::run_each(checks.map(|(name, _)| name)),
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use locum::memory::{EnvironmentError, Plaintext, Sealed, SealedEnvironment, UnsealError, WipeAtEnd, wipe_all};
    use locum::secrets::{FileSource, SecretSource as _};
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;
    use std::process::Command;

    pub fn run_each(names: [&str; 4]) {
        let dir = tempfile::tempdir().unwrap();
        let mut failed = 0;
        for (i, name) in names.iter().enumerate() {
            let short = "sk-".to_owned() + &hex(&random(20));
            let long = hex(&random(3000));
            fs::write(dir.path().join("short"), short + "\n").unwrap();
            fs::write(dir.path().join("long"), &long).unwrap();
            let done = Command::new(std::env::current_exe().unwrap())
                .env("LOCUM_MEMORY_CHECK", i.to_string())
                .env("A_TEST_API_KEY", &long)
                .env("B_TEST_API_KEY", "")
                .env("C_TEST", "stays")
                .current_dir(&dir)
                .output()
                .unwrap();
            println!("test {name} ... {}", if done.status.success() { "ok" } else { "FAILED" });
            if !done.status.success() {
                failed += 1;
                println!("{}", String::from_utf8_lossy(&done.stderr));
            }
        }
        assert_eq!(failed, 0, "some checks failed");
    }

    pub fn environment() {
        let key = fs::read("long").unwrap();
        let environment =
            SealedEnvironment::take(["A_TEST_API_KEY", "B_TEST_API_KEY", "A_TEST_API_KEY", "NONE", ""]).unwrap();
        assert_eq!(environment.names().collect::<Vec<_>>(), ["A_TEST_API_KEY", "B_TEST_API_KEY"]);
        assert_eq!(environment.get("A_TEST_API_KEY").unwrap().unwrap().expose(), key);
        assert!(environment.get("B_TEST_API_KEY").unwrap().is_none());
        assert_eq!(std::env::var_os("A_TEST_API_KEY"), None);
        let shown = fs::read("/proc/self/environ").unwrap();
        let inherited = Command::new("/usr/bin/env").output().unwrap().stdout;
        for (place, bytes) in [("/proc/self/environ", &shown), ("a child", &inherited)] {
            let text = String::from_utf8_lossy(bytes);
            assert!(text.contains("C_TEST=stays"), "{place}");
            assert!(!text.contains("TEST_API_KEY") && !text.contains(&*String::from_utf8_lossy(&key)), "{place}");
        }
        std::thread::scope(|s| {
            let (end, ended) = std::sync::mpsc::channel::<()>();
            s.spawn(move || ended.recv());
            assert_eq!(SealedEnvironment::take(["C_TEST"]).unwrap_err(), EnvironmentError::Threads(2));
            drop(end);
        });
        assert!(std::env::var_os("C_TEST").is_some());
    }

    /// One short key, which lies in secret memory, and a long one, which is encrypted.
    pub fn copies() {
        let environment = SealedEnvironment::take(["A_TEST_API_KEY"]).unwrap();
        let sealed = ["short", "long"].map(|file| Sealed::seal(FileSource::new(file).load().unwrap().unwrap()));
        assert_eq!(environment.get("A_TEST_API_KEY").unwrap().unwrap().expose(), sealed[1].open().unwrap().expose());
        // The search's own terms must not be found: they are kept turned over.
        let terms: Vec<Vec<u8>> =
            sealed.iter().map(|s| s.open().unwrap().expose()[3..35].iter().map(|b| !b).collect()).collect();
        let held = sealed[0].open().unwrap();
        assert!(count(&terms[0]) >= 1, "the search finds what is there");
        drop(held);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..1000 {
                        assert!(sealed.iter().all(|s| s.open().unwrap().expose().len() > 32));
                    }
                });
            }
        });
        assert_eq!(terms.iter().map(|t| count(t)).collect::<Vec<_>>(), [0, 0]);
        drop(sealed);
        assert_eq!(terms.iter().map(|t| count(t)).collect::<Vec<_>>(), [0, 0]);
    }

    pub fn wiped() {
        let environment = SealedEnvironment::take(["A_TEST_API_KEY"]).unwrap();
        let sealed = Sealed::seal(FileSource::new("short").load().unwrap().unwrap());
        wipe_all();
        assert_eq!(sealed.open().unwrap_err(), UnsealError::Wiped);
        assert_eq!(environment.get("A_TEST_API_KEY").unwrap_err(), UnsealError::Wiped);
        let new = Sealed::seal(Plaintext::new(b"new".to_vec()));
        assert_eq!(new.open().unwrap().expose(), b"new");
    }

    pub fn panicked() {
        let sealed = Sealed::seal(FileSource::new("short").load().unwrap().unwrap());
        let environment = SealedEnvironment::take(["A_TEST_API_KEY"]).unwrap();
        let program = || {
            let _wiped = WipeAtEnd;
            assert!(std::thread::spawn(|| panic!("on purpose, in a thread")).join().is_err());
            assert!(sealed.open().is_ok() && environment.get("A_TEST_API_KEY").is_ok_and(|key| key.is_some()));
            panic!("on purpose, at the end");
        };
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(program)).is_err());
        assert_eq!(sealed.open().unwrap_err(), UnsealError::Wiped);
        assert_eq!(environment.get("A_TEST_API_KEY").unwrap_err(), UnsealError::Wiped);
    }

    /// How often the bytes, which are given turned over, occur in all memory that can be read.
    fn count(turned: &[u8]) -> usize {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let memory = File::open("/proc/self/mem").unwrap();
        // Of one size for all, so that no copy of it is left behind by growing.
        let mut buffer = vec![0; 1 << 20];
        let mut found = 0;
        for line in maps.lines().filter(|l| l.contains(" r") && !l.contains("[v")) {
            let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
            let [mut at, end] = [start, end].map(|n| u64::from_str_radix(n, 16).unwrap());
            while at + (turned.len() as u64) <= end {
                let room = buffer.len().min((end - at) as usize);
                // Secret memory answers with an error even to its owner.
                let Ok(n) = memory.read_at(&mut buffer[..room], at) else { break };
                found += occurrences(&buffer[..n], turned);
                if n < room || n == (end - at) as usize {
                    break;
                }
                at += (n - turned.len() + 1) as u64;
            }
            locum::memory::wipe(&mut buffer);
        }
        found
    }

    fn occurrences(bytes: &[u8], turned: &[u8]) -> usize {
        let first = !turned[0];
        let starts = memchr::memchr_iter(first, bytes).filter_map(|at| bytes.get(at..at + turned.len()));
        starts.filter(|window| window.iter().zip(turned).all(|(a, b)| *a == !b)).count()
    }

    fn random(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        getrandom::fill(&mut bytes).unwrap();
        bytes
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }
}
