//! The variables that make each client use and trust the proxy, and hold placeholders where keys would be; the files
//! that they name are made in `files`.

mod client_setting;
mod client_settings;
pub(crate) mod files;
mod git;
mod names;
mod no_proxy;
mod pkcs12;
mod settings_files;
pub(crate) mod shell;
mod variables;

pub(crate) use client_setting::{ClientSetting, ClientSettingKind};
pub(crate) use client_settings::client_settings;
pub(crate) use files::{TrustFiles, missing_ca_files};
pub(crate) use git::outranking_settings;
pub(crate) use names::EnvironmentChanges;
pub(crate) use no_proxy::{PastProxy, bypassed};
pub(crate) use shell::Shell;
pub(crate) use variables::{PlaceholderVariables, ProxyAccess, changes, own_no_proxy, own_proxy};
