//! Keys that came by the process's environment, which was emptied of them at the start.

use crate::memory::{Plaintext, SealedEnvironment};
use crate::name::KeyName;
use crate::secrets::source::{SecretSource, SourceError};
use crate::secrets::value;
use std::sync::Arc;

/// A variable of the process's environment.
pub struct EnvSource {
    environment: Arc<SealedEnvironment>,
    variable: String,
}

impl EnvSource {
    /// The variable as it was taken out of the environment.
    pub fn new(environment: Arc<SealedEnvironment>, variable: impl Into<String>) -> Self {
        Self { environment, variable: variable.into() }
    }
}

impl SecretSource for EnvSource {
    fn describe(&self) -> String {
        format!("environment {}", self.variable)
    }

    fn load(&self) -> Result<Option<Plaintext>, SourceError> {
        let lost = |e| SourceError::new(format!("{}: {e}", self.describe()), "restart locum with the variable set");
        match self.environment.get(&self.variable).map_err(lost)? {
            // what an agent has in this place, from a file or from a `locum run` around this one, is no value
            Some(raw) if KeyName::is_placeholder(raw.expose()) => Ok(None),
            Some(raw) => value::clean(raw, &self.describe()),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_gives_its_value_or_none() {
        let env = Arc::new(SealedEnvironment::from([("A", "sk-1\n"), ("B", ""), ("C", "a\nb"), ("E", "<<a_key>>")]));
        let load = |name| EnvSource::new(env.clone(), name).load().map(|v| v.map(|v| v.expose().to_vec()));
        assert_eq!(load("A"), Ok(Some(b"sk-1".to_vec())));
        assert_eq!(load("B"), Ok(None));
        assert_eq!(load("D"), Ok(None));
        assert_eq!(load("E"), Ok(None));
        assert!(load("C").unwrap_err().what.contains("environment C"));
    }
}
