//! The clients that are tried, each with one cheap request of its own kind, and what to do where it fails.

use std::path::Path;

/// The end of the names of hosts that are asked for: no name server knows any of them (RFC 6761, section 6.4).
const DOMAIN: &str = "doctor.invalid";
/// The exit code of a script that lacks a library.
pub const LACKS_LIBRARY: i32 = 77;

/// A client, and how it is tried. `{url}`, `{host}` and `{dir}`, a folder to write into, are filled in.
pub struct ClientProbe {
    /// As people call it; the first label of the host that it asks for.
    pub name: &'static str,
    pub program: &'static str,
    arguments: &'static [&'static str],
    /// What keeps it from asking anybody else, and from leaving anything behind.
    variables: &'static [(&'static str, &'static str)],
    /// It is started in a folder of its own: in the user's it might change something.
    pub is_apart: bool,
    /// What to do where it went past the proxy.
    pub past: &'static str,
    /// What to do where it doesn't trust the CA.
    pub refused: &'static str,
}

const BY_SETTINGS: &str =
    "see what outranks variables under 'settings', or name the proxy to it by an option of its own";
const BY_VARIABLE: &str =
    "have it trust what SSL_CERT_FILE names: an option, a wrapper or a build of it may outrank that";
const BY_NODE: &str = "Node from 18 on loads what NODE_OPTIONS names: see that nothing takes that variable away";
const BY_JAVA: &str = "a JVM reads JAVA_TOOL_OPTIONS: see that nothing takes that variable away";

const PLAIN: ClientProbe = ClientProbe {
    name: "",
    program: "",
    arguments: &[],
    variables: &[],
    is_apart: false,
    past: BY_SETTINGS,
    refused: BY_VARIABLE,
};

/// Java's request, which is compiled as it is started.
pub const JAVA: &str = "public class Probe {\n    public static void main(String[] args) throws Exception {\n        \
    var asked = (java.net.HttpURLConnection) new java.net.URL(args[0]).openConnection();\n        \
    System.exit(asked.getResponseCode() > 0 ? 0 : 1);\n    }\n}\n";

/// All that are tried where the PATH has them.
pub const PROBES: [ClientProbe; 18] = [
    ClientProbe { name: "curl", program: "curl", arguments: &["-sS", "-o", "/dev/null", "{url}"], ..PLAIN },
    ClientProbe {
        name: "wget",
        program: "wget",
        arguments: &["-nv", "-O", "/dev/null", "--tries=1", "{url}"],
        refused: "wget takes a CA from the file that WGETRC names alone: see that nothing takes that variable away",
        ..PLAIN
    },
    ClientProbe {
        name: "git",
        program: "git",
        arguments: &["ls-remote", "{url}repository.git"],
        variables: &[("GIT_TERMINAL_PROMPT", "0")],
        past: "git from 2.31 on reads GIT_CONFIG_COUNT: take a newer one",
        refused: "git reads GIT_SSL_CAINFO unless http.sslBackend is schannel: set that to openssl",
        ..PLAIN
    },
    ClientProbe {
        name: "python-urllib",
        program: "python3",
        arguments: &["-c", "import sys, urllib.request\nurllib.request.urlopen(sys.argv[1])", "{url}"],
        ..PLAIN
    },
    ClientProbe { name: "python-requests", program: "python3", arguments: &["-c", REQUESTS, "{url}"], ..PLAIN },
    ClientProbe { name: "python-httpx", program: "python3", arguments: &["-c", HTTPX, "{url}"], ..PLAIN },
    ClientProbe {
        name: "node-fetch",
        program: "node",
        arguments: &[
            "-e",
            "fetch(process.argv[1]).catch(e => { console.error(e.cause?.message ?? e.message); process.exit(1) })",
            "{url}",
        ],
        past: BY_NODE,
        ..PLAIN
    },
    ClientProbe {
        name: "node-https",
        program: "node",
        arguments: &[
            "-e",
            "require('https').get(process.argv[1]).on('error', e => { console.error(e.message); process.exit(1) })",
            "{url}",
        ],
        past: BY_NODE,
        ..PLAIN
    },
    ClientProbe {
        name: "npm",
        program: "npm",
        arguments: &[
            "ping",
            "--registry",
            "{url}",
            "--fetch-retries",
            "0",
            "--no-update-notifier",
            "--cache",
            "{dir}/npm",
        ],
        ..PLAIN
    },
    ClientProbe {
        name: "pip",
        program: "pip",
        arguments: &[
            "download",
            "--no-deps",
            "--index-url",
            "{url}simple/",
            "--retries",
            "0",
            "--no-cache-dir",
            "--disable-pip-version-check",
            "-d",
            "{dir}",
            "doctor",
        ],
        ..PLAIN
    },
    ClientProbe {
        name: "go",
        program: "go",
        // its own way to modules: nothing has to be compiled
        arguments: &["list", "-m", "-versions", "doctor.invalid/module"],
        variables: &[
            ("GOPROXY", "https://{host}"),
            ("GONOSUMDB", "*"),
            ("GONOPROXY", "none"),
            ("GOFLAGS", "-mod=mod"),
            ("GOTOOLCHAIN", "local"),
            ("GOMODCACHE", "{dir}/go"),
            ("GOCACHE", "{dir}/go-build"),
        ],
        is_apart: true,
        refused: "Go reads SSL_CERT_FILE, but not on macOS: 'locum ca export', and trust it there",
        ..PLAIN
    },
    ClientProbe {
        name: "java",
        program: "java",
        arguments: &["{dir}/Probe.java", "{url}"],
        is_apart: true,
        past: BY_JAVA,
        refused: BY_JAVA,
        ..PLAIN
    },
    ClientProbe {
        name: "deno",
        program: "deno",
        arguments: &["eval", "await fetch('{url}')"],
        variables: &[("DENO_DIR", "{dir}/deno"), ("DENO_NO_UPDATE_CHECK", "1")],
        ..PLAIN
    },
    ClientProbe { name: "bun", program: "bun", arguments: &["-e", "await fetch('{url}')"], ..PLAIN },
    ClientProbe {
        name: "cargo",
        program: "cargo",
        arguments: &["search", "--index", "sparse+{url}", "doctor"],
        variables: &[("CARGO_HOME", "{dir}/cargo"), ("CARGO_NET_RETRY", "0")],
        is_apart: true,
        ..PLAIN
    },
    ClientProbe {
        name: "gh",
        program: "gh",
        arguments: &["api", "{url}"],
        variables: &[
            ("GH_TOKEN", "none"),
            ("GH_ENTERPRISE_TOKEN", "none"),
            ("GH_CONFIG_DIR", "{dir}/gh"),
            ("GH_NO_UPDATE_NOTIFIER", "1"),
        ],
        ..PLAIN
    },
    ClientProbe {
        name: "aws",
        program: "aws",
        arguments: &[
            "s3api",
            "list-buckets",
            "--no-sign-request",
            "--region",
            "us-east-1",
            "--endpoint-url",
            "https://{host}",
        ],
        variables: &[("AWS_MAX_ATTEMPTS", "1"), ("AWS_EC2_METADATA_DISABLED", "true")],
        ..PLAIN
    },
    ClientProbe {
        name: "kubectl",
        program: "kubectl",
        arguments: &["--server", "https://{host}", "--cache-dir", "{dir}/kube", "get", "--raw", "/version"],
        // the user's own has a login for a cluster, which is nobody's business here
        variables: &[("KUBECONFIG", "/dev/null")],
        ..PLAIN
    },
];

const REQUESTS: &str =
    "import sys\ntry:\n    import requests\nexcept ImportError:\n    sys.exit(77)\nrequests.get(sys.argv[1])";
const HTTPX: &str = "import sys\ntry:\n    import httpx\nexcept ImportError:\n    sys.exit(77)\nhttpx.get(sys.argv[1])";

impl ClientProbe {
    /// The host that it asks for.
    pub fn host(&self) -> String {
        format!("{}.{DOMAIN}", self.name)
    }

    /// Its program and arguments.
    pub fn words(&self, dir: &Path) -> Vec<String> {
        let words = [self.program].into_iter().chain(self.arguments.iter().copied());
        words.map(|word| self.filled(word, dir)).collect()
    }

    /// The variables that it has besides those of `run`.
    pub fn variables(&self, dir: &Path) -> Vec<(&'static str, String)> {
        self.variables.iter().map(|(name, value)| (*name, self.filled(value, dir))).collect()
    }

    fn filled(&self, text: &str, dir: &Path) -> String {
        let (host, dir) = (self.host(), dir.to_string_lossy());
        text.replace("{url}", &format!("https://{host}/")).replace("{host}", &host).replace("{dir}", &dir)
    }
}
