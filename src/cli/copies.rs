//! Copies of keys in other variables than their own, such as `AUTH="Bearer …"` or a URL: found and replaced before a child could
//! inherit them. What only looks like a secret is named.

use crate::config::keys::KeySetting;
use crate::config::settings::Settings;
use crate::memory::{Plaintext, SealedEnvironment, UnsealError};
use crate::policy::rule::Scrubbing;
use crate::rewrite::scrub::strength::Strength;
use crate::rewrite::scrub::{ScrubKey, Scrubber};
use crate::trust_env::EnvironmentChanges;
use base64::Engine as _;
use base64::alphabet::{self, Alphabet};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::sync::Arc;

/// The last part of a name that secrets have.
const NAMES: [&str; 8] = ["KEY", "APIKEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "PAT"];

/// The values of keys that came by the environment, and what stands for each.
pub struct ManagedValues {
    values: Vec<(Arc<Plaintext>, String)>,
    /// Knows the other forms as well.
    scrubber: Scrubber,
}

impl ManagedValues {
    /// Opens what was taken, for as long as this lives. A value that can be guessed is not looked for: it may well be part of
    /// something else.
    ///
    /// # Errors
    /// When sealed memory can't be opened.
    pub fn of(settings: &Settings, taken: &SealedEnvironment) -> Result<Self, UnsealError> {
        let (mut values, mut scrubbed) = (Vec::new(), Vec::new());
        for key in &settings.keys {
            for value in key.variables().iter().filter_map(|name| taken.get(name).transpose()) {
                let (value, placeholder) = (Arc::new(value?), key.rule.shown_placeholder());
                if !is_looked_for(key, &value) {
                    continue;
                }
                scrubbed.push(ScrubKey {
                    key: key.name.clone(),
                    placeholder: placeholder.clone(),
                    secret_from: key.secret_from(value.expose()),
                    value: value.clone(),
                    even_if_guessable: key.rule.scrub == Scrubbing::Always,
                });
                values.push((value, placeholder));
            }
        }
        // of two of which one is part of the other, the longer first
        values.sort_by_key(|(value, _)| std::cmp::Reverse(value.expose().len()));
        Ok(Self { values, scrubber: Scrubber::new(scrubbed) })
    }

    /// The variables of this process that hold one of them too, and what a child may have instead: the text with placeholders, or
    /// nothing where it is written in a form in which no placeholder would be found.
    pub fn copies(&self) -> EnvironmentChanges {
        let all = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, self.without_keys(value.as_encoded_bytes())?)));
        all.collect()
    }

    /// `None` where no key is in it.
    fn without_keys(&self, text: &[u8]) -> Option<Option<String>> {
        self.scrubber.header(text)?;
        let text = std::str::from_utf8(text).ok().map(|text| self.replaced(&self.replaced_in_base64(text)));
        Some(text.filter(|text| self.scrubber.header(text.as_bytes()).is_none()))
    }

    fn replaced(&self, text: &str) -> String {
        let values = self.values.iter().filter_map(|(value, p)| Some((std::str::from_utf8(value.expose()).ok()?, p)));
        values.fold(text.to_owned(), |text, (value, placeholder)| text.replace(value, placeholder))
    }

    /// The same inside words of base64, as Basic has them.
    fn replaced_in_base64(&self, text: &str) -> String {
        let is_separator = |c: char| !(c.is_ascii_alphanumeric() || "+/-_=".contains(c));
        let mut out = String::with_capacity(text.len());
        for word in text.split_inclusive(is_separator) {
            let (word, separator) = word.split_at(word.trim_end_matches(is_separator).len());
            // `token=` before it is none of it
            let start = word.trim_end_matches('=').rfind('=').map_or(0, |at| at + 1);
            let (name, word) = word.split_at(start);
            out.push_str(name);
            out.push_str(&self.recoded(word).unwrap_or_else(|| word.to_owned()));
            out.push_str(separator);
        }
        out
    }

    /// The word with placeholders in it, in its own alphabet and with padding if it had some; `None` where no key is in it.
    fn recoded(&self, word: &str) -> Option<String> {
        let engine = engine(word);
        let text = String::from_utf8(engine.decode(word).ok()?).ok()?;
        let replaced = self.replaced(&text);
        (replaced != text).then(|| engine.encode(replaced))
    }
}

fn engine(word: &str) -> GeneralPurpose {
    let alphabet: &Alphabet = if word.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_encode_padding(word.len().is_multiple_of(4));
    GeneralPurpose::new(alphabet, config)
}

fn is_looked_for(key: &KeySetting, value: &Plaintext) -> bool {
    key.rule.scrub == Scrubbing::Always || Strength::of(value.expose(), key.secret_from(value.expose())).is_enough()
}

/// The variables that look like secrets and that no key manages, by their names and because nobody could guess them.
pub fn unmanaged() -> Vec<String> {
    let looks_so = |name: &str| name.rsplit(['_', '-']).next().is_some_and(|last| NAMES.contains(&last));
    let all = std::env::vars().filter(|(name, value)| {
        let is_path = value.starts_with(['/', '~', '.']);
        let name = name.to_ascii_uppercase();
        looks_so(&name) && !is_path && !value.contains("<<") && Strength::of(value.as_bytes(), 0).is_enough()
    });
    let mut names: Vec<String> = all.map(|(name, _)| name).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};

    const KEY: &str = "tk-5f0c2d9be1a84763-r+al/?";

    fn managed() -> ManagedValues {
        let value = Arc::new(Plaintext::new(KEY.into()));
        let scrubbed = ScrubKey {
            key: "tool".parse().unwrap(),
            placeholder: "<<tool_key>>".into(),
            secret_from: 0,
            value: value.clone(),
            even_if_guessable: false,
        };
        ManagedValues { values: vec![(value, "<<tool_key>>".into())], scrubber: Scrubber::new(vec![scrubbed]) }
    }

    #[test]
    fn a_key_is_replaced_where_a_placeholder_would_be_found_and_withheld_elsewhere() {
        let managed = managed();
        let without = |text: &str| managed.without_keys(text.as_bytes());
        assert_eq!(without("PATH=/usr/bin"), None);
        for (text, expected) in [
            (KEY.to_owned(), "<<tool_key>>"),
            (format!("Bearer {KEY}"), "Bearer <<tool_key>>"),
            (format!("https://u:{KEY}@h/{KEY}"), "https://u:<<tool_key>>@h/<<tool_key>>"),
        ] {
            assert_eq!(without(&text), Some(Some(expected.to_owned())), "{text}");
        }
        for padding in ["u", "us", "use"] {
            let (was, is) = (format!("{padding}:{KEY}"), format!("{padding}:<<tool_key>>"));
            for engine in [&STANDARD, &URL_SAFE] {
                let word = engine.encode(&was);
                // of a word that is the same in both alphabets nobody can tell which it is
                let engine = if word.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
                let expected = format!("a=Basic {}, b", engine.encode(&is));
                assert_eq!(without(&format!("a=Basic {word}, b")), Some(Some(expected)));
            }
            let replaced = without(&format!("token={}", STANDARD_NO_PAD.encode(&was))).unwrap().unwrap();
            let word = replaced.strip_prefix("token=").unwrap().trim_end_matches('=');
            assert_eq!(STANDARD_NO_PAD.decode(word).unwrap(), is.into_bytes());
        }
        let hex: String = KEY.bytes().map(|b| format!("{b:02x}")).collect();
        assert_eq!(without(&hex), Some(None));
        assert_eq!(without("tk-5f0c2d9be1a84763-r%2Bal%2F%3F"), Some(None));
    }
}
