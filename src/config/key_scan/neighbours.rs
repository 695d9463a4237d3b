//! What stands beside a value in its file and says where it goes or whose it is: `url`, `provider`, `name`.

use super::names::{is_neutral, words};
use super::scalar::ConfigScalar;
use crate::name::Host;
use std::collections::HashMap;
use url::Url;

/// Names of values that are the URL or the host of what they stand in.
const URLS: [&str; 19] = [
    "url",
    "base url",
    "api base",
    "api url",
    "api base url",
    "endpoint",
    "api endpoint",
    "host",
    "hostname",
    "server",
    "server url",
    "repository",
    "registry",
    "registry server",
    "index url",
    "baseurl",
    "uri",
    "api host",
    "http url",
];
/// Names of values that say who is meant.
const NAMES: [&str; 8] = ["provider", "name", "id", "type", "vendor", "kind", "model", "custom llm provider"];
/// Behind a name of its own in the same mapping, as in the `env` of Kubernetes.
const VALUES: [&str; 3] = ["value", "default", "default value"];

/// The values of a file by what they stand in.
pub struct Neighbours<'s> {
    by_parent: HashMap<&'s [String], Vec<&'s ConfigScalar>>,
}

impl<'s> Neighbours<'s> {
    pub fn new(scalars: &'s [ConfigScalar]) -> Self {
        let mut by_parent: HashMap<&[String], Vec<&ConfigScalar>> = HashMap::new();
        for scalar in scalars {
            // what is numbered names nothing
            if let Some((leaf, parent)) = scalar.path.split_last()
                && !leaf.starts_with('[')
            {
                by_parent.entry(parent).or_default().push(scalar);
            }
        }
        Self { by_parent }
    }

    /// Where what stands at `path` is sent, the nearest first: hosts among its names, and URLs beside it.
    pub fn urls(&self, path: &[String]) -> Vec<Url> {
        let mut found: Vec<Url> = Vec::new();
        for (at, step) in path.iter().enumerate().rev().skip(1) {
            found.extend(self.beside(&path[..=at], &URLS).filter_map(url_of));
            found.extend(url_of(step));
            if !is_neutral(step) {
                break;
            }
        }
        found
    }

    /// Names beside what stands at `path`, or in the next above.
    pub fn names(&self, path: &[String]) -> Vec<String> {
        let parent = path.split_last().map_or(&[][..], |(_, parent)| parent);
        let mut found: Vec<String> = self.beside(parent, &NAMES).map(str::to_owned).collect();
        // `openai/gpt-5` is a model of openai
        let of_model = |name: &String| name.split_once('/').map(|(provider, _)| provider.to_owned());
        let models: Vec<String> = found.iter().filter_map(of_model).collect();
        found.extend(models);
        found
    }

    /// The name that a value has by the one beside it, where that is how the file gives names.
    pub fn given_name(&self, path: &[String]) -> Option<String> {
        let (leaf, parent) = path.split_last()?;
        let is_value = VALUES.contains(&words(leaf).join(" ").as_str());
        is_value.then(|| self.beside(parent, &["name", "key", "variable"]).next().map(str::to_owned)).flatten()
    }

    /// Whether `path` leads into the `data` of a Secret of Kubernetes.
    pub fn is_in_secret_data(&self, path: &[String]) -> bool {
        let Some(data) = path.iter().position(|step| step == "data") else { return false };
        path.len() == data + 2 && self.beside(&path[..data], &["kind"]).any(|kind| kind == "Secret")
    }

    fn beside(&self, parent: &[String], names: &'static [&str]) -> impl Iterator<Item = &'s str> {
        let values = self.by_parent.get(parent).into_iter().flatten();
        let named = move |scalar: &&&ConfigScalar| {
            let leaf = scalar.path.last().map(|leaf| words(leaf).join(" "));
            leaf.is_some_and(|leaf| names.contains(&leaf.as_str()))
        };
        values.filter(named).map(|scalar| scalar.value.as_str())
    }
}

/// The URL that a text is or begins like; a bare host is one of https.
fn url_of(text: &str) -> Option<Url> {
    if text.contains("://") {
        return Url::parse(text).ok().filter(Url::has_host);
    }
    let host = text.trim_start_matches('/').split(['/', ':']).next().filter(|host| host.contains('.'))?;
    host.parse::<Host>().ok()?;
    Url::parse(&format!("https://{host}")).ok()
}
