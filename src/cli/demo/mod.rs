//! `locum demo`: the real proxy between a real client and a real TLS upstream, all on this machine, with a key made up for it.

mod client;

use super::child_env;
use super::local_upstream::{HOST, LocalUpstream, ReceivedRequest};
use super::term::{self, CliError};
use crate::app::{self, App, LaunchOptions, RunningProxy};
use crate::audit::read::filter::Filter;
use crate::audit::read::lines::member;
use crate::audit::read::query;
use crate::audit::read::verify::{Proofs, verify_all};
use crate::config::settings::{CliPaths, ConfigEnvironment as Variables, Settings};
use crate::disk;
use crate::memory::SealedEnvironment;
use crate::trust_env::{self, PastProxy, ProxyAccess, Shell, TrustFiles};
use anyhow::Context as _;
use client::{DemoRequest, call};
use http::StatusCode;
use rustls::pki_types::CertificateDer;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Stay up, and say how to try it with curl or an agent
    #[arg(long)]
    serve: bool,
}

const SENT: &str = "Bearer <<demo_key>>";
const BODY: &str = r#"{"prompt":"use <<demo_key>> to ask"}"#;

/// Everything that the demo runs.
struct DemoStage {
    dir: tempfile::TempDir,
    upstream: LocalUpstream,
    /// What it received last.
    received: Arc<Mutex<ReceivedRequest>>,
    running: RunningProxy,
    ca: CertificateDer<'static>,
    key: String,
}

/// Runs the demo, and stays up where that is asked for.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stage = runtime.block_on(DemoStage::set())?;
    let played = runtime.block_on(stage.play());
    if args.serve && played.is_ok() {
        runtime.block_on(stage.stay())?;
    }
    let DemoStage { dir, running, .. } = stage;
    running.stop()?;
    played?;
    let report = verify_all(&audit_dir(dir.path()), &Proofs::default())?;
    anyhow::ensure!(!report.files.is_empty() && report.is_sound(), "the audit's chain is broken");
    println!("\nThe audit's hash chain is whole. Everything was on this machine, and is gone now.");
    println!("Next: 'locum run -- YOUR-AGENT' with a key such as OPENAI_API_KEY in the environment.");
    Ok(ExitCode::SUCCESS)
}

fn audit_dir(dir: &Path) -> PathBuf {
    dir.join("state/audit")
}

impl DemoStage {
    /// An upstream, a key that it wants, and a proxy that has it.
    async fn set() -> anyhow::Result<Self> {
        let dir = term::private_tempdir("locum-demo-")?;
        let received = Arc::new(Mutex::new(ReceivedRequest::default()));
        let last = received.clone();
        let note = move |request| *last.lock().unwrap_or_else(PoisonError::into_inner) = request;
        let upstream = LocalUpstream::start(note).await?;
        let key = format!(
            "demo-{:016x}{:016x}",
            app::random().map_err(CliError::from)?,
            app::random().map_err(CliError::from)?
        );
        let at = |name: &str| dir.path().join(name);
        write_private(&at("key"), &key)?;
        write_private(&at("upstream-ca.pem"), &upstream.ca_pem)?;
        let port = upstream.address.port();
        let config = format!(
            r#"[proxy]
private_addresses = ["127.0.0.1:{port}", "[::1]:{port}"]
connect_ports = [{port}]
upstream_ca = ["upstream-ca.pem"]

[ca]
source = "memory"

[key.demo]
source = "file:{}"
hosts = ["{HOST}:{port}"]
where = ["header", "body"]
"#,
            at("key").display()
        );
        write_private(&at("locum.toml"), &config)?;
        let given = CliPaths { config: Some(at("locum.toml")), state: Some(at("state")) };
        let settings = Settings::load(&given, &Variables::default())?;
        let plan = LaunchOptions {
            settings,
            environment: Arc::new(SealedEnvironment::default()),
            listen: Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0)),
            tokens: Vec::new(),
            descendants: false,
        };
        let app = App::build(plan).map_err(CliError::from)?;
        let ca = app.ca().current.certificate().clone();
        write_private(&at("ca.pem"), &app.ca().bundle())?;
        let running = app.spawn().map_err(CliError::from)?;
        Ok(Self { dir, upstream, received, running, ca, key })
    }

    /// Tells what is sent, received and come back, and checks it as it goes.
    async fn play(&self) -> anyhow::Result<()> {
        println!("A proxy, an upstream with TLS and an agent, all on this machine. The key is made up: {}", self.key);
        for (title, http2) in [("HTTP/1.1", false), ("HTTP/2", true)] {
            let answer = self.call(HOST, http2).await?;
            let received = self.received.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let came_back = text(&answer);
            println!("\n{title}");
            line("agent sent", &format!("Authorization: {SENT}"));
            line("", BODY);
            line("upstream received", &format!("Authorization: {}", received.authorization));
            line("", &format!("{}   (a mention, not a value: it stays)", received.body));
            line("came back", &came_back);
            self.tell_audit("substitution").await?;
            anyhow::ensure!(
                received.protocol == "HTTP/1.1" || http2,
                "the upstream was asked over {}",
                received.protocol
            );
            anyhow::ensure!(
                received.authorization == format!("Bearer {}", self.key),
                "the upstream did not receive the key"
            );
            anyhow::ensure!(received.body == BODY, "the body was changed on its way");
            anyhow::ensure!(came_back.contains("<<demo_key>>") && !came_back.contains(&self.key), "the key came back");
        }
        let answer = self.call("127.0.0.1", false).await?;
        println!("\nA host that the key is not bound to");
        line("agent sent", &format!("Authorization: {SENT}   to 127.0.0.1"));
        line("locum answered", &format!("{}   the upstream saw nothing", answer.status()));
        self.tell_audit("refusal").await?;
        anyhow::ensure!(answer.status() == StatusCode::FORBIDDEN, "the placeholder was not refused");
        Ok(())
    }

    async fn call(&self, host: &str, http2: bool) -> anyhow::Result<http::Response<bytes::Bytes>> {
        let (proxy, port) = (self.running.app().address(), self.upstream.address.port());
        call(DemoRequest { proxy, ca: &self.ca, host, port, http2, authorization: SENT, body: BODY }).await
    }

    /// The newest record of this kind, as the audit has it.
    async fn tell_audit(&self, event: &str) -> anyhow::Result<()> {
        self.running.flush_audit().await?;
        let mut newest = None;
        query::Merge::new(&audit_dir(self.dir.path()), Filter::default())?.run(|record| {
            let read = |name: &str| member(record, name).map(|v| v.text().into_owned()).unwrap_or_default();
            if read("event") == event {
                newest = Some(format!(
                    "{event} {} {} {}{}",
                    read("operation"),
                    read("where"),
                    read("host"),
                    Some(read("reason")).filter(|r| !r.is_empty()).map_or(String::new(), |r| format!(": {r}")),
                ));
            }
            Ok(())
        })?;
        line("audit", &newest.with_context(|| format!("the audit has no {event}"))?);
        Ok(())
    }

    /// A file for a shell to read: what makes clients use and trust the proxy, and a placeholder where their key would be.
    fn environment(&self) -> anyhow::Result<PathBuf> {
        let dir = self.dir.path().join("trust");
        app::make_state_dir(&dir).map_err(CliError::from)?;
        let app = self.running.app();
        let files = TrustFiles::write(&dir, &app.ca().bundle(), None, &child_env::now)?;
        // even to this machine itself, where the upstream is
        let access = ProxyAccess {
            address: app.address(),
            tls_host: None,
            agent: "local",
            token: None,
            past: PastProxy::Nothing,
        };
        let stands = [(vec!["DEMO_API_KEY".to_owned()], "<<demo_key>>".to_owned())];
        let mut changes = trust_env::changes(&access, &files, &child_env::stands(&stands), &[], &child_env::now);
        changes.insert("DEMO_URL".into(), Some(format!("https://{HOST}:{}", self.upstream.address.port())));
        let path = self.dir.path().join("env");
        write_private(&path, &Shell::Sh.write(&changes))?;
        Ok(path)
    }

    async fn stay(&self) -> anyhow::Result<()> {
        let (proxy, port) = (self.running.app().address(), self.upstream.address.port());
        println!("\nTry it (Ctrl-C ends it):\n");
        println!("  curl --noproxy '' --proxy http://{proxy} --cacert {} \\", self.dir.path().join("ca.pem").display());
        println!("    -H 'Authorization: {SENT}' https://{HOST}:{port}/\n");
        println!("Or have all that a shell starts go through it, such as an agent:\n");
        println!("  . {}", disk::shell_quoted(&self.environment()?));
        println!("  python3 examples/agent_python/agent.py\n");
        tokio::signal::ctrl_c().await?;
        Ok(())
    }
}

fn text(answer: &http::Response<bytes::Bytes>) -> String {
    String::from_utf8_lossy(answer.body()).trim_end().to_owned()
}

fn line(label: &str, text: &str) {
    println!("  {label:<18} {text}");
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}
