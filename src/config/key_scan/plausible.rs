//! Whether a value can be a secret at all: examples, references and plain words are none.

/// A shorter run of letters and digits turns up in names of models and files.
const RANDOM_RUN: usize = 16;
/// Bits of entropy for each character from which a run is no word.
const RANDOM_BITS: f64 = 3.0;

/// Whether nothing is there, or nothing but a switch.
pub fn is_nothing(value: &str) -> bool {
    const NOTHING: [&str; 12] =
        ["", "~", "null", "none", "nil", "undefined", "true", "false", "yes", "no", "on", "off"];
    NOTHING.iter().any(|word| value.trim().eq_ignore_ascii_case(word))
}

/// Whether it says where the value is instead of being it.
pub fn is_reference(value: &str) -> bool {
    const BEGINNINGS: [&str; 21] = [
        "${",
        "$(",
        "`",
        "{{",
        "<%",
        "<<",
        "{env:",
        "{file:",
        "env:",
        "env.",
        "file:",
        "op://",
        "vault:",
        "ssm:",
        "arn:",
        "secret://",
        "keyring:",
        "os.environ",
        "process.env",
        "enc[",
        "%(",
    ];
    let lower = value.to_ascii_lowercase();
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let is_variable = |text: &str| {
        text.contains('_') && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    BEGINNINGS.iter().any(|begin| lower.starts_with(begin))
        || value.strip_prefix('$').is_some_and(is_name)
        || value.strip_prefix('%').and_then(|rest| rest.strip_suffix('%')).is_some_and(is_name)
        || is_variable(value)
        || is_path(value)
}

fn is_path(value: &str) -> bool {
    ["/run/", "/etc/", "/var/", "/home/", "/usr/", "/opt/", "./", "../", "~/"]
        .iter()
        .any(|begin| value.starts_with(begin))
}

/// Whether it is what documents put there: `your-api-key-here`, `changeme`, `<token>`, `sk-xxxx`.
pub fn is_example(value: &str) -> bool {
    const WORDS: [&str; 14] = [
        "your",
        "yours",
        "changeme",
        "change",
        "example",
        "placeholder",
        "insert",
        "replace",
        "replaceme",
        "dummy",
        "redacted",
        "todo",
        "fixme",
        "yourkey",
    ];
    let word = |word: &str| {
        let lower = word.to_ascii_lowercase();
        let is_one_sign = word.len() >= 3
            && word.bytes().all(|b| Some(&b) == word.as_bytes().first())
            && !word.contains(|c: char| c.is_ascii_digit() && c != '0');
        WORDS.contains(&lower.as_str()) || is_one_sign
    };
    value.starts_with('<') && value.ends_with('>')
        || value.starts_with('[') && value.ends_with(']')
        || value.contains("...")
        || value.contains('…')
        || value.contains("***")
        || value.contains("EXAMPLE")
        || value.split(|c: char| !c.is_ascii_alphanumeric()).any(word)
}

/// Whether it is long, and no words make it up.
pub fn is_random(value: &str) -> bool {
    let of_key = |b: u8| b.is_ascii_alphanumeric() || b"-_.~+/=:|!*".contains(&b);
    if !value.bytes().all(of_key) || value.contains("://") || value.starts_with("sha") || is_uuid(value) {
        return false;
    }
    value.split(|c: char| !c.is_ascii_alphanumeric()).any(|run| {
        let digits = run.bytes().filter(u8::is_ascii_digit).count();
        run.len() >= RANDOM_RUN && digits > 0 && digits < run.len() && entropy(run) >= RANDOM_BITS
    })
}

fn is_uuid(value: &str) -> bool {
    let lengths = value.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && value.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// Bits for each byte, by how often each occurs.
fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for b in text.bytes() {
        counts[usize::from(b)] += 1;
    }
    let all = f64::from(counts.iter().sum::<u32>());
    counts.iter().filter(|n| **n > 0).map(|n| f64::from(*n) / all).map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_and_references_are_no_secrets() {
        for value in [
            "your-api-key-here",
            "YOUR_KEY",
            "sk-xxxxxxxxxxxxxxxx",
            "changeme",
            "<token>",
            "sk-...",
            "AKIAIOSFODNN7EXAMPLE",
            "change-me",
            "0000000000",
        ] {
            assert!(is_example(value), "{value}");
        }
        for value in ["sk-proj-Gf9Ps2Ua7Ei3oTzQ", "hunter2", "tk-5f0c2d9be1", "youruba1"] {
            assert!(!is_example(value), "{value}");
        }
        for value in ["${X}", "$X", "%X%", "{{ x }}", "<<x_key>>", "op://a/b", "OPENAI_API_KEY", "/run/secrets/x"] {
            assert!(is_reference(value), "{value}");
        }
        for value in ["$uper-secret", "AKIA5F0C2D9BE1", "a/b+c", "100%"] {
            assert!(!is_reference(value), "{value}");
        }
        assert!(is_nothing(" ") && is_nothing("FALSE") && !is_nothing("0"));
    }

    #[test]
    fn long_and_random_is_no_word() {
        for value in ["8f14e45fceea167a5a36dedd4bea2543", "tk-5f0c2d9be1a84763ffq8Zt2Lw", "a:8f14e45fceea167a5a36dedd"]
        {
            assert!(is_random(value), "{value}");
        }
        for value in [
            "claude-sonnet-4-5-20250929",
            "meta-llama/Llama-3.1-70B-Instruct",
            "123e4567-e89b-12d3-a456-426614174000",
            "sha256:8f14e45fceea167a5a36dedd4bea2543",
            "https://x.example/8f14e45fceea167a5a36dedd4bea2543",
            "internationalization",
            "2024-01-01T00:00:00.000000Z",
            "1234567890123456789",
        ] {
            assert!(!is_random(value), "{value}");
        }
    }
}
