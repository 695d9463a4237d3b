//! h2spec, the conformance suite of HTTP/2, inside an intercepted tunnel.
//!
//! It is a program of its own that no registry has: `H2SPEC` names it, and whoever has none leaves this out.

use super::Exit;
use crate::support::background::Background;
use crate::support::{Home, Upstream};
use std::net::SocketAddr;
use std::process::Command;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Leads each connection into a tunnel to `authority`, for a client that knows of no proxy.
async fn lead(mut client: TcpStream, proxy: SocketAddr, authority: String) -> std::io::Result<()> {
    let mut tunnel = TcpStream::connect(proxy).await?;
    tunnel.write_all(format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tunnel.read_u8().await?);
    }
    client.set_nodelay(true)?;
    tunnel.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut client, &mut tunnel).await?;
    Ok(())
}

#[test]
#[ignore = "needs h2spec: H2SPEC names it"]
fn h2spec_passes_whole_in_a_tunnel() {
    let h2spec = std::env::var_os("H2SPEC").expect("H2SPEC: the path of h2spec");
    let upstream = Upstream::start();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let door = listener.local_addr().expect("an address");
    let exit = Exit::to([(&door.to_string(), upstream.address)]);
    let proxy = format!("upstream_proxy = \"http://{}\"\nconnect_ports = [{}]\n", exit.address, door.port());
    let serve = Home::with(&proxy, "").serve();
    let to = serve.address;
    let _door = Background::start(move || async move {
        listener.set_nonblocking(true).expect("a listener");
        let listener = TcpListener::from_std(listener).expect("a listener");
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(lead(client, to, door.to_string()));
        }
    });
    let mut command = Command::new(h2spec);
    command.args(["--tls", "--insecure", "--strict", "--host", "127.0.0.1", "--path", "/echo"]);
    let output = command.args(["--port", &door.port().to_string()]).output().expect("h2spec");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success() && said.contains(" 0 failed"), "{said}");
    assert!(!upstream.seen().is_empty(), "its good requests went on");
}
