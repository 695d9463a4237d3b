//! The real clients: where `tests/run` has put them, and the programs in `tests/clients` that they run.

use std::path::PathBuf;

fn tests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// A program of `tests/clients`.
pub fn program(name: &str) -> String {
    let path = tests().join("clients").join(name);
    assert!(path.exists(), "{} is missing", path.display());
    path.to_string_lossy().into_owned()
}

/// Python, with the packages of `tests/clients/requirements.txt`.
pub fn python() -> String {
    installed("venv/bin/python")
}

/// The folder that holds the packages of `tests/clients/package.json`.
pub fn node_path() -> String {
    installed("node/node_modules")
}

/// Something that `tests/run` or `tests/matrix` has put into `tests/.env`, or into the folder that stands for it.
pub fn installed(what: &str) -> String {
    let env = std::env::var_os("LOCUM_TEST_ENV").map_or_else(|| tests().join(".env"), PathBuf::from);
    let path = env.join(what);
    assert!(path.exists(), "{} is missing: tests/run installs it", path.display());
    path.to_string_lossy().into_owned()
}
