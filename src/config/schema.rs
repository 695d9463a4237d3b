//! The schema of the config file: every table and setting that locum knows, with its kind and an example.

use SettingKind::{Flag, Number, Numbers, Text, TextOrFlag, Texts};

/// The TOML type that a setting is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    Text,
    /// `true` or `false`.
    Flag,
    /// A text, or `true` or `false`, which are read as such texts.
    TextOrFlag,
    Number,
    Texts,
    Numbers,
}

impl SettingKind {
    /// The kind as messages say it: `a text in quotes`.
    pub fn name(self) -> &'static str {
        match self {
            Text => "a text in quotes",
            Flag => "true or false",
            TextOrFlag => "a text in quotes, true or false",
            Number => "a whole number",
            Texts => "a list of texts",
            Numbers => "a list of whole numbers",
        }
    }
}

/// A setting that locum knows: its name, its type, and an example that is right.
#[derive(Debug)]
pub struct SettingSchema {
    pub name: &'static str,
    pub kind: SettingKind,
    pub example: &'static str,
}

const fn known(name: &'static str, kind: SettingKind, example: &'static str) -> SettingSchema {
    SettingSchema { name, kind, example }
}

/// A table of the file and its settings. A section `named` holds one table per key or agent, and only the file can set
/// those.
#[derive(Debug)]
pub struct SectionSchema {
    pub name: &'static str,
    pub named: bool,
    pub settings: &'static [SettingSchema],
}

impl SectionSchema {
    /// The setting of this name, where the section has it.
    pub fn setting(&self, name: &str) -> Option<&'static SettingSchema> {
        self.settings.iter().find(|k| k.name == name)
    }
}

const SOURCES: &str = r#""auto", "env:NAME", "file:PATH", "keyring", "vault", "machine" or 'exec:["/usr/bin/op"]'"#;

/// Every section of the file.
pub static SECTIONS: &[SectionSchema] = &[
    SectionSchema {
        name: "proxy",
        named: false,
        settings: &[
            known("listen", Text, r#""127.0.0.1:8787""#),
            known("intercept", Text, r#""all" or "bound""#),
            known("passthrough", Texts, r#"["*.bank.example"]"#),
            known("egress", Text, r#""open" or "listed""#),
            known("allow", Texts, r#"["docs.example", "*.tool.example"]"#),
            known("deny", Texts, r#"["telemetry.example"]"#),
            known("connect_ports", Numbers, "[80, 443]"),
            known("private_addresses", Texts, r#"["127.0.0.1:11434", "10.0.0.0/8"]"#),
            known("cleartext", Flag, "false"),
            known("braces", Flag, "false"),
            known("uids", Numbers, "[1001]"),
            known("transparent", Text, r#""127.0.0.1:8789""#),
            known("transparent_agent", Text, r#""researcher""#),
            known("tls_cert", Text, r#""/etc/locum/proxy.pem""#),
            known("tls_key", Text, r#""/etc/locum/proxy.key""#),
            known("upstream_ca", Texts, r#"["/etc/ssl/company.pem"]"#),
            known("upstream_proxy", Text, r#""http://proxy.example:3128""#),
            known("upstream_proxy_ca", Texts, r#"["/etc/ssl/proxy.pem"]"#),
            known("upstream_proxy_bypass", Texts, r#"["corp.example", "10.0.0.0/8"]"#),
        ],
    },
    SectionSchema {
        name: "ca",
        named: false,
        settings: &[
            known("source", Text, r#""auto", "memory" or "file:PATH""#),
            known("export", Text, r#""/shared/locum-ca.pem""#),
        ],
    },
    SectionSchema {
        name: "key",
        named: true,
        settings: &[
            known("source", Text, SOURCES),
            known("hosts", Texts, r#"["api.tool.example", "*.tool.example:8443"]"#),
            known("methods", Texts, r#"["GET", "POST"]"#),
            known("paths", Texts, r#"["/v1/**"]"#),
            known("where", Texts, r#"["header:authorization", "body:/api_key"]"#),
            known("placeholder", Text, r#""tool-00000000000000000000""#),
            known("inject", Text, r#""Authorization: Bearer <<tool_key>>""#),
            known("max_uses", Number, "4"),
            known("scrub", TextOrFlag, r#""auto""#),
            known("lifetime", Text, r#""1h""#),
            known("rotate_after", Text, r#""90d""#),
        ],
    },
    SectionSchema {
        name: "agent",
        named: true,
        settings: &[
            known("token_file", Text, r#""/run/secrets/researcher""#),
            known("keys", Texts, r#"["openai", "brave"]"#),
            known("hosts", Texts, r#"["api.tool.example"]"#),
            known("methods", Texts, r#"["GET", "POST"]"#),
            known("rate", Text, r#""60/min""#),
            known("concurrent", Number, "8"),
        ],
    },
    SectionSchema { name: "catalog", named: false, settings: &[known("files", Texts, r#"["providers.toml"]"#)] },
    SectionSchema {
        name: "vault",
        named: false,
        settings: &[known("password_file", Text, r#""/run/secrets/locum-master""#)],
    },
    SectionSchema {
        name: "audit",
        named: false,
        settings: &[
            known("dir", Text, r#""audit""#),
            known("durability", Text, r#""write" or "fsync""#),
            known("exchanges", Flag, "true"),
            known("max_file", Text, r#""64MB""#),
            known("keep_for", Text, r#""90d" or "1 year""#),
            known("keep_size", Text, r#""10GB""#),
        ],
    },
    SectionSchema {
        name: "anomaly",
        named: false,
        settings: &[
            known("rate_per_minute", Number, "60"),
            known("errors", Number, "5"),
            known("large_response", Text, r#""10MB""#),
            known("action", Text, r#""alert" or "refuse""#),
            known("webhook", Text, r#""https://alerts.example/locum""#),
            known("webhook_secret_file", Text, r#""/run/secrets/webhook""#),
        ],
    },
    SectionSchema {
        name: "confine",
        named: false,
        settings: &[
            known("hide", Texts, r#"["~/notes"]"#),
            known("allow_socket", Texts, r#"["/run/postgresql/.s.PGSQL.5432"]"#),
            known("allow_write", Texts, r#"["~/.cache"]"#),
        ],
    },
    SectionSchema {
        name: "limits",
        named: false,
        settings: &[
            known("connections", Number, "16384"),
            known("under_way", Number, "16384"),
            known("head", Text, r#""64KiB""#),
            known("held_body", Text, r#""256KiB""#),
            known("first_byte", Text, r#""", or "10m""#),
            known("drain", Text, r#""5s""#),
        ],
    },
];

/// One provider of a catalog: each table of such a file is one.
pub static PROVIDER: SectionSchema = SectionSchema {
    name: "provider",
    named: true,
    settings: &[
        known("title", Text, r#""Tool""#),
        known("model", Flag, "true"),
        known("hosts", Texts, r#"["api.tool.example"]"#),
        known("tenant", Texts, r#"["NAME.tool.example"]"#),
        known("where", Texts, r#"["header:authorization", "body:/api_key"]"#),
        known("env", Texts, r#"["TOOL_API_KEY"]"#),
        known("prefixes", Texts, r#"["tool_"]"#),
        known("shape", Text, r#""tool_[0-9a-f]{32}""#),
        known("revoke", Text, r#""https://tool.example/keys""#),
        known("usage", Text, r#""https://tool.example/usage""#),
        known("test", Texts, r#"["GET https://api.tool.example/me", "Authorization: Bearer <<tool_key>>"]"#),
        known("doc", Text, r#""https://docs.tool.example/authentication""#),
    ],
};

/// The section of this name.
pub fn section(name: &str) -> Option<&'static SectionSchema> {
    SECTIONS.iter().find(|s| s.name == name)
}
