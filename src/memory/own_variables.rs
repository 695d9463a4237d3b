//! The environment variables of locum's own that hold secrets: taken out of its environment at the start, and withheld
//! from every child. What else is secret there, the keys' variables, the config knows.

/// The master password of the vault.
pub const MASTER_PASSWORD: &str = "LOCUM_MASTER_PASSWORD";
/// The proxy token of the agent `local`.
pub const PROXY_TOKEN: &str = "LOCUM_PROXY_TOKEN";
/// The secret that signs what the webhook is sent.
pub const WEBHOOK_SECRET: &str = "LOCUM_WEBHOOK_SECRET";
/// The secret that signs the tokens of the admin API.
pub const SECRET_KEY: &str = "LOCUM_SECRET_KEY";
/// The keys that the admin API takes as `X-API-Key`.
pub const API_KEYS: &str = "LOCUM_API_KEYS";

/// All of them.
pub const OWN_SECRETS: [&str; 5] = [MASTER_PASSWORD, PROXY_TOKEN, WEBHOOK_SECRET, SECRET_KEY, API_KEYS];
