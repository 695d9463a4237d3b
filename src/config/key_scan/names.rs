//! What the names on the way to a value tell: whether a secret stands there, and of what kind. Whose key it is, others say.

/// What a name says of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameHint {
    /// Such as `api_key`: what is sent along.
    ApiKey,
    /// `password`, which is one's key in a section of one's own.
    Password,
    /// Such as `secret`: it is one, of some sort.
    Secret,
    /// Such as `signing_secret`: requests are signed with it.
    Signs,
    /// `private_key`.
    PrivateKey,
    /// `key` and the like, which are many other things.
    Vague,
}

use NameHint::{ApiKey, Password, PrivateKey, Secret, Signs, Vague};

/// What names end in. The longest counts.
const ENDINGS: &[(&str, NameHint)] = &[
    ("personal access token", ApiKey),
    ("bot token", ApiKey),
    ("api key", ApiKey),
    ("api keys", Vague),
    ("api token", ApiKey),
    ("api secret", Secret),
    ("access token", ApiKey),
    ("access key", ApiKey),
    ("auth token", ApiKey),
    ("bearer token", ApiKey),
    ("identity token", ApiKey),
    ("secret key", ApiKey),
    ("subscription key", ApiKey),
    ("token", ApiKey),
    ("apikey", ApiKey),
    ("apitoken", ApiKey),
    ("authtoken", ApiKey),
    ("accesstoken", ApiKey),
    ("identitytoken", ApiKey),
    ("registrytoken", ApiKey),
    ("authorization", ApiKey),
    ("bearer", ApiKey),
    ("password", Password),
    ("passwd", Password),
    ("pwd", Secret),
    ("passphrase", Secret),
    ("secret", Secret),
    ("credential", Secret),
    ("credentials", Vague),
    ("refresh token", Secret),
    ("session token", Signs),
    ("account key", Signs),
    ("secret access key", Signs),
    ("signing secret", Signs),
    ("signing key", Signs),
    ("webhook secret", Signs),
    ("encryption key", Secret),
    ("master key", Secret),
    ("private key", PrivateKey),
    ("key data", PrivateKey),
    ("public key", Vague),
    ("publishable key", Vague),
    ("key", Vague),
    ("keys", Vague),
    ("tokens", Vague),
    ("secrets", Vague),
    ("auth", Vague),
    ("pass", Vague),
    ("pat", Vague),
    ("dsn", Vague),
    ("cookie", Vague),
];

/// A name's words, in lower case: `openaiApiKey`, `OPENAI_API_KEY` and `openai-api-key` have the same.
pub fn words(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| chars[before]);
        let next_is_lower = chars.get(at + 1).is_some_and(char::is_ascii_lowercase);
        let begins = c.is_ascii_uppercase()
            && before.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_uppercase() && next_is_lower);
        if begins || !c.is_alphanumeric() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What the last words of a name say, and how many they are.
pub fn hint(words: &[String]) -> Option<(NameHint, usize)> {
    let ends = |ending: &str| {
        let count = ending.split(' ').count();
        let tail = words.len().checked_sub(count).and_then(|from| words.get(from..))?;
        tail.iter().map(String::as_str).eq(ending.split(' ')).then_some(count)
    };
    ENDINGS.iter().filter_map(|(ending, hint)| Some((*hint, ends(ending)?))).max_by_key(|(_, count)| *count)
}

/// Whether a value behind this name is a number that looks random to everybody: a hash, an id, a public key.
pub fn is_public(words: &[String]) -> bool {
    const PUBLIC: [&str; 26] = [
        "id",
        "uuid",
        "guid",
        "hash",
        "digest",
        "sha",
        "sha1",
        "sha256",
        "sha512",
        "checksum",
        "integrity",
        "commit",
        "revision",
        "rev",
        "ref",
        "etag",
        "fingerprint",
        "version",
        "public",
        "publishable",
        "certificate",
        "cert",
        "certs",
        "image",
        "resolved",
        "nonce",
    ];
    words.iter().any(|word| PUBLIC.contains(&word.as_str()))
}

/// Whether a step on the way says nothing of whose the value is, so that who stands above it counts.
pub fn is_neutral(step: &str) -> bool {
    const NEUTRAL: [&str; 33] = [
        "env",
        "environment",
        "headers",
        "header",
        "http headers",
        "request init",
        "auth",
        "authentication",
        "config",
        "configuration",
        "credentials",
        "credential",
        "options",
        "settings",
        "default",
        "http",
        "params",
        "query",
        "args",
        "keys",
        "api keys",
        "secrets",
        "tokens",
        "access",
        "data",
        "string data",
        "litellm params",
        "extra",
        "authorization",
        "headers helper",
        "connection",
        "api",
        "variables",
    ];
    step.starts_with(['[', '-', '#']) || NEUTRAL.contains(&words(step).join(" ").as_str())
}

/// Without the words that are no part of anybody's name: `mcp-server-github` and `github` are the same.
pub fn essence(words: &[String]) -> String {
    const COMMON: [&str; 14] = [
        "mcp", "server", "search", "api", "ai", "client", "provider", "official", "cloud", "service", "tool", "plugin",
        "remote", "llm",
    ];
    let own: Vec<&str> = words.iter().map(String::as_str).filter(|word| !COMMON.contains(word)).collect();
    if own.is_empty() { words.join("_") } else { own.join("_") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_every_style() {
        for name in
            ["openai_api_key", "OPENAI_API_KEY", "openaiApiKey", "openai-api-key", "--openai.api-key", "OpenaiAPIKey"]
        {
            assert_eq!(words(name).join(" "), "openai api key", "{name}");
        }
        for (name, said) in [
            ("x_api_key", Some((ApiKey, 2))),
            ("GITHUB_PERSONAL_ACCESS_TOKEN", Some((ApiKey, 3))),
            ("Authorization", Some((ApiKey, 1))),
            ("_authToken", Some((ApiKey, 2))),
            ("aws_secret_access_key", Some((Signs, 3))),
            ("client-key-data", Some((PrivateKey, 2))),
            ("stripe_publishable_key", Some((Vague, 2))),
            ("primary_key", Some((Vague, 1))),
            ("max_tokens", Some((Vague, 1))),
            ("token_url", None),
            ("password_file", None),
            ("keyboard", None),
        ] {
            assert_eq!(hint(&words(name)), said, "{name}");
        }
        assert!(is_neutral("HTTP_HEADERS") && is_neutral("[3]") && !is_neutral("brave"));
        assert_eq!((essence(&words("mcp-server-github")), essence(&words("ai"))), ("github".into(), "ai".into()));
    }
}
