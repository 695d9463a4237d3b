//! The same hostile streams in front of servers of the real world: none of them sees a request that locum did not see.

use super::framing::{CHUNKS, HEADS, SOUND};
use super::{BOUND, last, plain_last};
use crate::support::exit::Exit;
use crate::support::wire::closed_port;
use crate::support::{HANGS, Home, Tunnel, authority};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const NGINX: &str = r#"
daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/error.log;
events { }
http {
  log_format seen '$request';
  client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
  uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
  server {
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {dir}/certificate.pem; ssl_certificate_key {dir}/key.pem;
    access_log {dir}/seen.log seen;
    location / { return 200 "ok"; }
  }
}
"#;

const NODE: &str = r#"
const fs = require('fs'), https = require('https');
const options = { cert: fs.readFileSync('{dir}/certificate.pem'), key: fs.readFileSync('{dir}/key.pem') };
const note = line => fs.appendFileSync('{dir}/seen.log', line + '\n');
const server = https.createServer(options, (request, response) => {
  note(`${request.method} ${request.url} HTTP/${request.httpVersion}`);
  request.on('error', () => {});
  request.resume().on('end', () => response.end('ok'));
});
// a connection that locum breaks off is no request
const cut = ['ECONNRESET', 'HPE_INVALID_EOF_STATE'];
server.on('clientError', (error, socket) => {
  if (!cut.includes(error.code)) note('unreadable: ' + error.code);
  socket.destroy();
});
server.listen({port}, '127.0.0.1');
"#;

/// A server of the real world, in a folder of its own.
struct Origin {
    dir: tempfile::TempDir,
    child: Child,
    address: SocketAddr,
}

impl Origin {
    fn start(config: &str, command: impl Fn(&Path) -> Command) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let address = SocketAddr::from(([127, 0, 0, 1], closed_port()));
        authority::write(dir.path());
        std::fs::write(dir.path().join("seen.log"), "").expect("a log");
        let config = config.replace("{dir}", &dir.path().to_string_lossy());
        let path = dir.path().join("config");
        std::fs::write(&path, config.replace("{port}", &address.port().to_string())).expect("a config");
        let child = command(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut origin = Self { dir, child: child.expect("a server: tests/run installs it"), address };
        let until = Instant::now() + HANGS;
        while TcpStream::connect(origin.address).is_err() {
            assert!(origin.child.try_wait().expect("a status").is_none(), "the server has ended");
            assert!(Instant::now() < until, "the server does not listen");
        }
        origin
    }

    fn nginx() -> Self {
        Self::start(NGINX, |config| {
            let mut command = Command::new("nginx");
            command.arg("-e").arg(config.with_file_name("error.log")).arg("-c").arg(config);
            command
        })
    }

    fn node() -> Self {
        Self::start(NODE, |config| {
            let mut command = Command::new("node");
            command.arg(config);
            command
        })
    }

    /// The request lines that it saw.
    fn seen(&self) -> Vec<String> {
        let log = std::fs::read_to_string(self.dir.path().join("seen.log")).expect("a log");
        log.lines().map(str::to_owned).collect()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn streams() -> Vec<String> {
    let (smuggled, end) = (last(BOUND, "/smuggled"), plain_last(BOUND));
    let head = format!("POST /head HTTP/1.1\r\nHost: {BOUND}\r\n");
    let chunked = format!("POST /chunks HTTP/1.1\r\nHost: {BOUND}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let heads = HEADS.iter().map(|(_, rest)| format!("{head}{rest}{smuggled}"));
    let chunks = CHUNKS.iter().map(|(_, body)| format!("{chunked}{body}{smuggled}"));
    let sound = SOUND.iter().map(|(_, stream, _)| format!("{}{end}", stream.replace("{h}", BOUND)));
    heads.chain(chunks).chain(sound).collect()
}

fn agrees_with(origin: &Origin) {
    let exit = Exit::to([("api.tool.example:443", origin.address)]);
    let proxy = format!("upstream_proxy = \"http://{}\"\n", exit.address);
    let serve = Home::with(&proxy, &format!("[key.tool]\nhosts = [\"{BOUND}\"]\n")).serve();
    let mut answered = 0;
    for stream in streams() {
        let tunnel = Tunnel::open(&serve, &format!("{BOUND}:443"), BOUND, b"http/1.1").expect("a tunnel");
        answered += tunnel.talk(stream.as_bytes()).iter().filter(|t| t.status == 200).count();
    }
    let records = serve.stop().audit();
    let mut known: Vec<String> = records
        .iter()
        .filter(|r| r["event"] == "exchange" && r["status"].is_u64())
        .map(|r| format!("{} {}", r["method"].as_str().unwrap_or_default(), r["path"].as_str().unwrap_or_default()))
        .collect();
    let path = |line: &String| line.rsplit_once(" HTTP/").map_or_else(|| line.clone(), |(asked, _)| asked.to_owned());
    let mut seen: Vec<String> = origin.seen().iter().map(path).collect();
    known.sort();
    seen.sort();
    assert_eq!(seen, known, "what the origin saw is what locum saw");
    assert!(answered == seen.len() && answered > SOUND.len(), "{answered} answers, {} requests", seen.len());
    assert!(seen.iter().all(|line| !line.contains("smuggled")), "{seen:#?}");
}

#[test]
fn nginx_sees_no_request_that_locum_did_not_see() {
    agrees_with(&Origin::nginx());
}

#[test]
fn node_sees_no_request_that_locum_did_not_see() {
    agrees_with(&Origin::node());
}
