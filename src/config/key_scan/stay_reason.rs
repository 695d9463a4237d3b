//! Why a value that may be a key is left where it is, and what to do about it.

use std::fmt;

/// Why a value stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StayReason {
    /// No key that locum knows goes there. The host is where it goes, as far as the file tells.
    NobodysKey {
        /// The name that it could have.
        name: String,
        /// The host that stands beside it.
        host: Option<String>,
    },
    /// Each customer of its provider has a host of their own, and theirs isn't known yet.
    NoHost {
        /// The key's.
        name: String,
        /// What the host looks like, or what it is as far as the file tells.
        host: String,
    },
    /// It looks like the keys of several.
    Several(Vec<String>),
    /// Requests are signed with it.
    Signs,
    /// It opens a connection of another protocol.
    NotHttp(String),
    /// Something else than a request needs it.
    PrivateKey,
    /// It is in a comment, a name or a command, where no placeholder belongs.
    NoValue,
    /// It is written so that its place can't be told.
    Escaped,
    /// Of a number.
    Number,
    /// It has blanks in it, as no key has.
    Blanks,
    /// The file can't be read as what its name says.
    Unreadable,
}

impl fmt::Display for StayReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NobodysKey { .. } => f.write_str("no key that locum knows"),
            Self::NoHost { .. } => f.write_str("its provider has a host for each customer, and yours isn't named"),
            Self::Several(names) => write!(f, "looks like a key of {}", names.join(" or ")),
            Self::Signs => f.write_str("requests are signed with it, and no placeholder signs"),
            Self::NotHttp(scheme) => write!(f, "goes over {scheme}, which locum doesn't speak"),
            Self::PrivateKey => f.write_str("a private key, which is never sent"),
            Self::NoValue => f.write_str("in a comment, a name or a command"),
            Self::Escaped => f.write_str("written with escapes or among others"),
            Self::Number => f.write_str("a number, in whose place no text can stand"),
            Self::Blanks => f.write_str("has blanks in it"),
            Self::Unreadable => f.write_str("the file can't be read as what it is"),
        }
    }
}

impl StayReason {
    /// What to do, in one line.
    pub fn next(&self) -> String {
        match self {
            Self::NobodysKey { name, host } => {
                let host = host.as_deref().unwrap_or("HOST");
                format!("locum key set {name} --host {host}, then the same command again")
            }
            Self::NoHost { name, host } => format!("locum key set {name} --host {host}, then the same command again"),
            Self::Several(names) => {
                let name = names.first().map_or("name", String::as_str).to_ascii_uppercase();
                format!("name it after its provider, such as {name}_API_KEY, then the same command again")
            }
            Self::Signs | Self::PrivateKey | Self::NotHttp(_) => "keep the file from agents: locum run --help".into(),
            Self::NoValue => "take it out by hand".into(),
            Self::Escaped | Self::Number | Self::Blanks => {
                "write it as a plain text in quotes, then the same command again".into()
            }
            Self::Unreadable => "mend the file, then the same command again".into(),
        }
    }
}
