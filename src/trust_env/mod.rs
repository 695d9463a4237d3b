//! The variables that make each client use and trust the proxy, and hold placeholders where keys would be; the files
//! that they name are made in `files`.

pub(crate) mod files;
mod names;
mod pkcs12;
pub(crate) mod shell;
mod variables;

pub(crate) use files::TrustFiles;
pub(crate) use names::EnvironmentChanges;
pub(crate) use shell::Shell;
pub(crate) use variables::{PlaceholderVariables, ProxyAccess, bypasses_all, changes, own_no_proxy, own_proxy};
