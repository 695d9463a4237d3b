//! gRPC between real clients and a real server: every kind of call, trailers, errors, and refusals that clients understand.

use crate::support::exit::Exit;
use crate::support::locum::{TOOL_KEY, of, stdout, told};
use crate::support::{Home, authority, clients};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Lines};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Stdio};

/// `tests/clients/grpc_server.py`.
struct Server {
    address: SocketAddr,
    said: Lines<BufReader<ChildStdout>>,
    child: Child,
}

impl Server {
    fn start(home: &Home) -> Self {
        authority::write(home.path());
        let mut command = home.command(clients::python());
        command.args([&clients::program("grpc_server.py"), "certificate.pem", "key.pem"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the server");
        let mut said = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let port = said.next().expect("its port").expect("a line").parse().expect("a port");
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)), said, child }
    }

    /// What it saw of each call, once it has ended.
    fn stop(mut self) -> Vec<Value> {
        drop(self.child.stdin.take());
        let seen = self.said.map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON")).collect();
        assert!(self.child.wait().expect("an end").success());
        seen
    }
}

/// One protobuf string.
fn message(text: &str) -> String {
    format!("\n{}{text}", char::from(u8::try_from(text.len()).expect("a short text")))
}

fn calls(client: &[&str]) {
    let server = Server::start(&Home::bare(""));
    let exit = Exit::to([("api.tool.example:443", server.address)]);
    let proxy = format!("upstream_proxy = \"http://{}\"\n", exit.address);
    let key = "[key.tool]\nhosts = [\"api.tool.example\"]\nwhere = [\"header\", \"body:any\"]\n";
    let home = Home::with(&proxy, key).set("NODE_PATH", &clients::node_path());
    let output = home.run(client);
    assert!(output.status.success(), "{}", told(&output));
    let got: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|e| panic!("{e}: {}", told(&output)));

    // the placeholder in a message has its own length again, and each length around it is right
    let placeholder = message("<<tool_key>>");
    let echoed = |texts: &[&str]| -> Vec<String> { texts.iter().map(|text| message(text)).collect() };
    let answers = [&got["unary"], &got["collected"]].map(|reply| reply.as_str().unwrap_or_default().len());
    assert!(answers.iter().all(|length| *length > 0), "{got}");
    assert_eq!(got["trailers"]["x-saw"], "Bearer <<tool_key>>", "{got}");
    assert_eq!(got["streamed"].as_array().map(Vec::len), Some(5), "{got}");
    assert_eq!(got["talked"].as_array().map(Vec::len), Some(3), "{got}");
    assert_eq!((&got["talked"][0], &got["talked"][2]), (&json!(message("one")), &json!(message("three"))));
    assert!(got["unary"].as_str().is_some_and(|reply| reply.contains("<<tool_key>>")), "{got}");
    assert!(!stdout(&output).contains(TOOL_KEY), "{got}");
    assert_eq!(got["failed"], json!(["FAILED_PRECONDITION", "not with Bearer <<tool_key>>, n\u{e9}"]));
    // it compresses though it was told that nobody takes that: what can't be searched for keys is withheld
    assert_eq!(got["compressed"], json!(["UNAVAILABLE"]));
    assert_eq!(got["refused"][0], "PERMISSION_DENIED");
    let detail = got["refused"][1].as_str().expect("why");
    assert!(
        detail.starts_with("<<other_key>> may not go to api.tool.example in this request (locum explain"),
        "{detail}"
    );
    assert_eq!(got["refused"][2]["locum-refused"], "placeholder-refused", "{got}");
    assert_eq!(got["down"], json!(["UNAVAILABLE"]));

    let seen = server.stop();
    let by =
        |method: &str| seen.iter().find(|s| s["method"] == method).unwrap_or_else(|| panic!("{method}: {seen:#?}"));
    for method in ["unary", "server_stream", "client_stream", "both", "fail"] {
        assert_eq!(by(method)["metadata"]["authorization"], format!("Bearer {TOOL_KEY}"), "{method}");
    }
    assert_eq!(by("unary")["messages"], json!(echoed(&[TOOL_KEY])));
    assert_eq!(by("client_stream")["messages"], json!(echoed(&["one", "two", TOOL_KEY])));
    assert_eq!(by("both")["messages"], json!(echoed(&["one", TOOL_KEY, "three"])));
    assert_ne!(by("unary")["messages"][0], json!(placeholder));
    assert_eq!(seen.len(), 6, "what is refused reaches nobody: {seen:#?}");

    let records = home.audit();
    assert_eq!(of(&records, "substitution").iter().filter(|r| r["where"] == "body:any").count(), 4, "{records:#?}");
    let refused: Vec<&Value> = of(&records, "refusal").iter().map(|r| &r["error"]).collect();
    assert!(
        refused.contains(&&json!("placeholder-refused")) && refused.contains(&&json!("upstream-failed")),
        "{refused:?}"
    );
    assert!(of(&records, "exchange").iter().all(|r| r["http"] == "2" && r["success"] == true), "{records:#?}");
}

#[test]
pub fn python_grpcio() {
    calls(&[&clients::python(), &clients::program("grpc_client.py")]);
}

#[test]
pub fn node_grpc_js() {
    calls(&["node", &clients::program("grpc_client.cjs")]);
}
