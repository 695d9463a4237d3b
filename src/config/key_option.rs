//! `--key NAME=VAR@HOST` of `locum run`: a key that is bound for one run, without any file.

use super::keys::{KeySetting, of_user};
use super::mistake::{ConfigLocation, Mistake, Mistakes};
use super::settings::Settings;
use crate::name::KeyName;
use crate::policy::rule::HostPattern;
use crate::secrets::SourceSpec;
use std::str::FromStr;

/// A key as the option names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOption {
    name: KeyName,
    variable: Option<String>,
    hosts: Vec<HostPattern>,
}

impl FromStr for KeyOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (bound, hosts) = text.split_once('@').map_or((text, None), |(bound, hosts)| (bound, Some(hosts)));
        let (name, variable) = bound.split_once('=').map_or((bound, None), |(name, variable)| (name, Some(variable)));
        let is_variable = |v: &str| !v.is_empty() && v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if variable.is_some_and(|v| !is_variable(v)) {
            // what stands there may be a key that somebody has pasted: it is not repeated
            return Err("between '=' and '@' stands the name of a variable, and never a key".into());
        }
        let hosts = hosts.into_iter().flat_map(|hosts| hosts.split(',')).map(|host| host.trim().parse::<HostPattern>());
        let option = Self {
            name: name.parse().map_err(|e| format!("{e}"))?,
            variable: variable.map(str::to_owned),
            hosts: hosts.collect::<Result<_, _>>().map_err(|e| format!("{e}"))?,
        };
        if option.variable.is_none() && option.hosts.is_empty() {
            return Err(format!("it says nothing of '{}': write {}=VARIABLE@HOST", option.name, option.name));
        }
        Ok(option)
    }
}

impl KeyOption {
    /// The key's name.
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The variable that holds its value.
    fn variable(&self, setting: &KeySetting) -> String {
        let usual = || setting.env.first().cloned().unwrap_or_default();
        self.variable.clone().unwrap_or_else(usual)
    }
}

impl Settings {
    /// Binds keys as options of the command line say, over what the file says of them. Tells which variable each is in.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn bind(&mut self, options: &[KeyOption]) -> Result<Vec<(KeyName, String)>, Mistakes> {
        let (mut variables, mut mistakes) = (Vec::new(), Vec::new());
        for option in options {
            let at = ConfigLocation::Option(format!("--key {}", option.name).into());
            let known = self.keys.iter().position(|key| key.name == option.name);
            let mut key = known.map_or_else(|| of_user(option.name.clone()), |index| self.keys.remove(index));
            let variable = option.variable(&key);
            key.source = SourceSpec::Env(variable.clone());
            key.at = Some(at.clone());
            if !option.hosts.is_empty() {
                key.rule.hosts.clone_from(&option.hosts);
            }
            if key.rule.hosts.is_empty() {
                let host = key.missing_host().map_or_else(|| "HOST".to_owned(), ToString::to_string);
                let hint = format!("write --key {}={variable}@{host}", option.name);
                mistakes.push(Mistake::new(at.clone(), "it says no host, and the catalog knows none", hint));
            }
            let unencrypted = |host: &&HostPattern| {
                host.is_cleartext() && !self.proxy.cleartext && !host.exact().is_some_and(|h| h.is_loopback_name())
            };
            if let Some(host) = key.rule.hosts.iter().find(unencrypted) {
                let what = format!("'{host}' would carry the key unencrypted beyond this machine");
                mistakes.push(Mistake::new(at, what, "write it without http://"));
            }
            variables.push((key.name.clone(), variable));
            self.keys.push(key);
        }
        self.keys.sort_by(|a, b| a.name.cmp(&b.name));
        if mistakes.is_empty() { Ok(variables) } else { Err(Mistakes(mistakes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{CliPaths, ConfigEnvironment};

    fn bound(options: &[&str]) -> Result<Settings, String> {
        let mut settings = Settings::read(&CliPaths::default(), &ConfigEnvironment::default()).0;
        let options: Vec<KeyOption> = options.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        settings.bind(&options).map_err(|e| e.to_string())?;
        Ok(settings)
    }

    #[test]
    fn an_option_says_of_a_key_what_a_table_would() {
        let of = |options: &[&str], name: &str| {
            let settings = bound(options).unwrap();
            let key = settings.keys.into_iter().find(|key| key.name.as_str() == name).unwrap();
            (key.source.to_string(), key.rule.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        let is = |source: &str, hosts: &str| (source.to_owned(), hosts.to_owned());
        assert_eq!(of(&["tool=T@api.tool.example"], "tool"), is("env:T", "api.tool.example"));
        assert_eq!(
            of(&["tool@a.example,*.b.example:8443"], "tool"),
            is("env:TOOL_API_KEY", "a.example *.b.example:8443")
        );
        assert_eq!(of(&["openai=MINE"], "openai"), is("env:MINE", "api.openai.com"));
        assert_eq!(of(&["openai@my.gateway.example"], "openai"), is("env:OPENAI_API_KEY", "my.gateway.example"));
        assert_eq!(of(&["tool=A@a.example", "tool=B"], "tool"), is("env:B", "a.example"));
    }

    #[test]
    fn what_is_wrong_with_an_option_is_told_without_what_may_be_a_key() {
        for (option, told) in [
            ("tool", "it says nothing of 'tool'"),
            ("tool=T", "it says no host"),
            ("tool=T@", ""),
            ("Tool=T@a.example", ""),
            ("tool=sk-proj-1234@a.example", "the name of a variable, and never a key"),
            ("tool=@a.example", "the name of a variable"),
            ("tool=T@*.com", ""),
            ("tool=T@http://a.example", "unencrypted"),
        ] {
            let e = bound(&[option]).expect_err(option);
            assert!(e.contains(told) && !e.contains("1234"), "{option}: {e}");
        }
    }
}
