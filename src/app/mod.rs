//! Builds the rooms from settings and joins them into a proxy: one listener, a runtime per core that serves it, and a
//! service that reloads, wipes and stops it.

mod agent_tokens;
mod agents;
mod audit;
mod authority;
mod build;
mod commands;
mod control_protocol;
mod control_socket;
mod error;
mod key_ages;
mod key_values;
mod keys;
mod listener_tls;
mod machine;
mod preflight;
mod rotation;
mod rules;
mod running;
mod service;
mod status;
mod workers;

pub use agent_tokens::{TokenList, issue_token, list_tokens, revoke_token};
pub use agents::{MIN_TOKEN, named_agents};
pub use audit::CommandAudit;
pub use authority::{ca_misfit, export_ca, host_name, kept_ca, look_for_ca, rotate_ca};
pub use build::{App, LaunchOptions};
pub use commands::ServiceHandle;
pub use control_socket::ControlSocket;
pub use error::AppError;
pub use key_ages::{KeyAges, overdue};
pub use key_values::{KeyLookup, ValueComplaint, oddities};
pub use keys::{active, backends, backends_with_prompt, hostless, secret_variables, sources};
pub use listener_tls::{ListenerTls, RENEW};
pub use machine::{make_state_dir, random};
pub use preflight::preflight;
pub use rotation::CaUpdate;
pub use rules::{judge_unasked, rules};
pub use running::RunningProxy;
pub use service::{LoadSettings, Observer, Service, ServiceEvent};
