//! What locum tells an agent of itself: at its own host, to a model by `locum prompt`, and to an MCP client by `locum mcp`.

use crate::support::client::{self, none, whole};
use crate::support::locum::{TOOL_KEY, finish, of, stderr, stdout, told};
use crate::support::wire::{connect, exchange, read_head};
use crate::support::{Home, Http, Serve, Upstream, clients};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

/// `path` at locum's own host, asked in absolute form with this token. The status, the head and the body.
fn asked(serve: &Serve, method: &str, path: &str, more: &str) -> (u16, String, String) {
    let head = format!(
        "{method} http://locum.invalid{path} HTTP/1.1\r\nHost: locum.invalid\r\nConnection: close\r\n{more}\r\n"
    );
    let said = exchange(serve.address, head.as_bytes());
    let (head, body) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, head.to_ascii_lowercase(), body.to_owned())
}

fn bearer(token: &str) -> String {
    format!("Proxy-Authorization: Bearer {token}\r\n")
}

fn read(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"))
}

/// Two agents, `a` with the key `tool` and `b` with `other`, and their tokens.
fn of_two_agents(upstream: &Upstream) -> (Serve, [String; 2]) {
    let tables = format!(
        "[key.tool]\nhosts = [\"{}\"]\nmethods = [\"GET\"]\npaths = [\"/v1/**\"]\nwhere = [\"header:x-api-key\"]\n\
         [key.other]\nhosts = [\"api.other.example\"]\nplaceholder = \"other-0123456789abcdef\"\n\
         [agent.a]\ntoken_file = \"a\"\nkeys = [\"tool\"]\n\
         [agent.b]\ntoken_file = \"b\"\nkeys = [\"other\"]\nhosts = [\"api.other.example\"]\nmethods = [\"POST\"]\n",
        upstream.authority()
    );
    let home = Home::with("egress = \"listed\"", &tables).set("OTHER_API_KEY", "the-other-key-0123456789");
    let tokens = ["a", "b"].map(|name| {
        let token = format!("the-token-of-agent-{name}");
        let path = home.path().join(name);
        std::fs::write(&path, &token).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("a mode");
        token
    });
    (home.serve(), tokens)
}

#[test]
fn an_agent_is_told_of_its_own_placeholders_and_of_no_others() {
    let upstream = Upstream::start();
    let (serve, [a, b]) = of_two_agents(&upstream);
    let (status, head, body) = asked(&serve, "GET", "/placeholders", &bearer(&a));
    assert_eq!(status, 200, "{head}");
    for line in ["content-type: application/json", "cache-control: no-store", "x-content-type-options: nosniff"] {
        assert!(head.contains(line), "{head}");
    }
    let own = json!({ "name": "tool", "placeholder": "<<tool_key>>", "hosts": [upstream.authority()],
                      "where": ["header:x-api-key"], "methods": ["GET"], "paths": ["/v1/**"] });
    assert_eq!(read(&body), json!({ "agent": "a", "placeholders": [own] }));
    // neither its own hosts nor its methods keep an agent from asking, as `egress` doesn't
    let (_, _, body) = asked(&serve, "GET", "/placeholders?now", &bearer(&b));
    let own = json!({ "name": "other", "placeholder": "other-0123456789abcdef", "hosts": ["api.other.example"],
                      "where": ["header", "body"] });
    assert_eq!(read(&body), json!({ "agent": "b", "placeholders": [own] }));
    assert!(!body.contains("the-other-key"), "{body}");

    let (status, head, body) = asked(&serve, "HEAD", "/placeholders", &bearer(&a));
    assert!(status == 200 && head.contains("content-length: ") && body.is_empty(), "{head} {body}");
    for (more, status) in [("", 407), ("Proxy-Authorization: Bearer the-token-of-agent-c\r\n", 407)] {
        let (got, _, body) = asked(&serve, "GET", "/placeholders", more);
        assert!(got == status && !body.contains("tool"), "{body}");
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn an_agent_is_told_why_it_was_refused_itself_and_nothing_of_others() {
    let upstream = Upstream::start();
    let (serve, [a, b]) = of_two_agents(&upstream);
    let refuse = |token: &str, host: &str| {
        let head = format!(
            "GET http://{host}/v1/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{}X-Api-Key: <<tool_key>>\r\n\r\n",
            bearer(token)
        );
        let said = exchange(serve.address, head.as_bytes());
        read(said.split_once("\r\n\r\n").expect("an answer").1)
    };
    let (of_a, of_b) = (refuse(&a, "api.other.example"), refuse(&b, "elsewhere.example"));
    let address = |refusal: &Value| format!("/refusals/{}", refusal["exchange"].as_str().expect("an id"));
    for (token, refusal) in [(&a, &of_a), (&b, &of_b)] {
        let (status, _, body) = asked(&serve, "GET", &address(refusal), &bearer(token));
        assert_eq!((status, &read(&body)), (200, refusal));
    }
    // one of another agent is as unknown as one that never was
    let (_, _, never) = asked(&serve, "GET", "/refusals/aaaaaaaaaaaaaaaa", &bearer(&a));
    for (token, path) in [(&a, address(&of_b)), (&b, address(&of_a)), (&a, "/refusals/".into())] {
        let (status, head, body) = asked(&serve, "GET", &path, &bearer(token));
        assert_eq!((status, &body), (404, &never));
        assert!(!head.contains("locum-refused"), "{head}");
    }
    // of a tunnel too, whose refusal clients don't show
    let head = format!("CONNECT elsewhere.example:443 HTTP/1.1\r\nHost: elsewhere.example:443\r\n{}\r\n", bearer(&a));
    let said = exchange(serve.address, head.as_bytes());
    let refusal = read(said.split_once("\r\n\r\n").expect("an answer").1);
    let (status, _, body) = asked(&serve, "GET", &address(&refusal), &bearer(&a));
    assert_eq!((status, &read(&body)), (200, &refusal));

    let records = serve.stop().audit();
    let to_locum = |event| of(&records, event).into_iter().filter(|record| record["host"] == "locum.invalid").count();
    assert_eq!((to_locum("exchange"), to_locum("refusal"), to_locum("anomaly")), (7, 0, 0), "{records:#?}");
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn locum_answers_as_itself_in_one_way_alone() {
    // nothing of these is dialled: a name server would be asked first, and this proxy resolves no such name
    let serve = Home::with("intercept = \"bound\"", "[key.tool]\nhosts = [\"api.tool.example\"]\n").serve();
    let head = |line: &str, host: &str| format!("{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    for (sent, status, said) in [
        (head("POST http://locum.invalid/placeholders", "locum.invalid"), 405, "it is read by GET"),
        (head("GET http://locum.invalid/", "locum.invalid"), 404, "http://locum.invalid/placeholders"),
        (head("GET http://locum.invalid/placeholders/", "locum.invalid"), 404, "http://locum.invalid/placeholders"),
        (head("GET http://LOCUM.invalid./placeholders", "Locum.Invalid"), 200, "<<tool_key>>"),
        (head("GET http://locum.invalid:80/placeholders", "locum.invalid:80"), 200, "<<tool_key>>"),
        (head("GET http://locum.invalid/placeholders", "other.example"), 421, "misdirected"),
        (head("GET http://x@locum.invalid/placeholders", "locum.invalid"), 400, "malformed"),
        (head("GET https://locum.invalid/placeholders", "locum.invalid"), 400, "locum.invalid is this proxy itself"),
        (
            head("GET http://locum.invalid:81/placeholders", "locum.invalid:81"),
            400,
            "locum.invalid is this proxy itself",
        ),
        (head("CONNECT locum.invalid:443", "locum.invalid:443"), 400, "locum.invalid is this proxy itself"),
        (head("GET /placeholders", "locum.invalid"), 400, "this is a forward proxy"),
    ] {
        let answer = exchange(serve.address, sent.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(said), "{sent}{answer}");
    }
    // some clients ask for all in tunnels, over whatever HTTP
    let stream = client::tunnel(serve.address, "locum.invalid:80", "").await.expect("a tunnel");
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::get("http://locum.invalid/placeholders").body(none()).expect("a request");
    let answer = whole(sender.send_request(request).await.expect("an answer")).await.expect("its end");
    assert!(answer.status == 200 && answer.text().contains("<<tool_key>>"), "{}", answer.text());
    let failed = client::tunnel(serve.address, "locum.invalid:443", "").await.expect_err("no tunnel").to_string();
    assert!(failed.contains("400 locum.invalid is this proxy itself"), "{failed}");

    // several on one connection, as any other exchange
    let mut stream = connect(serve.address);
    for _ in 0..3 {
        stream
            .write_all(b"GET http://locum.invalid/placeholders HTTP/1.1\r\nHost: locum.invalid\r\n\r\n")
            .expect("sent");
        let head = read_head(&mut stream);
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or_else(|| panic!("{head}"))];
        stream.read_exact(&mut body).expect("a body");
        assert!(head.starts_with("HTTP/1.1 200 ") && body.ends_with(b"}\n"), "{head}");
    }
    drop(stream);
    drop(sender);
    serve.drained().await;
}

/// An operator who wants none of it says so as of any host.
#[test]
fn what_is_denied_is_not_answered() {
    let serve = Home::with("deny = [\"locum.invalid\"]", "[key.tool]\nhosts = [\"api.tool.example\"]\n").serve();
    let (status, head, body) = asked(&serve, "GET", "/placeholders", "");
    assert!(status == 403 && head.contains("locum-refused: host-refused") && !body.contains("tool"), "{head} {body}");
    let (status, ..) = asked(&serve, "GET", "/healthz", "");
    assert_eq!(status, 200);
}

#[test]
fn an_mcp_client_finds_out_by_itself_what_it_may_use_and_why_it_was_refused() {
    let (upstream, other) = (Upstream::start(), Upstream::start());
    let home = Home::bound(&[&upstream, &other]);
    let (python, program, locum) = (clients::python(), clients::program("mcp_client.py"), env!("CARGO_BIN_EXE_locum"));
    let output = home.run(&["env", "NO_PROXY=", "no_proxy=", &python, &program, locum, &other.url("/x")]);
    assert!(output.status.success(), "{}", told(&output));
    let seen = read(&stdout(&output));
    assert_eq!(seen["tools"], json!(["list_placeholders", "explain_refusal"]));
    assert_eq!(seen["server"]["serverInfo"]["name"], "locum");
    let listed = &seen["placeholders"];
    assert_eq!(listed["structured"]["placeholders"][1]["hosts"], json!([upstream.authority()]), "{listed}");
    let text = listed["text"].as_str().expect("a text");
    assert!(text.contains(&format!("- <<tool_key>>: to {}, in a header", upstream.authority())), "{text}");
    assert_eq!((&seen["refusal"], &seen["why"]["failed"]), (&seen["why"]["structured"], &json!(false)));
    let why = seen["why"]["text"].as_str().expect("a text");
    assert!(why.starts_with("403 A placeholder was refused: <<tool_key>> may not go to localhost in"), "{why}");
    for odd in ["unknown", "odd"] {
        assert_eq!(seen[odd]["failed"], true, "{seen}");
    }
    assert!(seen["errors"][0].as_str().is_some_and(|e| e.contains("there is no tool 'no_such_tool'")), "{seen}");
    assert!(seen["errors"][1].as_str().is_some_and(|e| e.contains("exchange is missing")), "{seen}");
    // questions to locum are neither refusals nor uses
    assert!(stderr(&output).contains("locum: 0 substitutions, 1 refusal, 0 scrubs"), "{}", told(&output));
    assert!(!told(&output).contains(TOOL_KEY) && other.connections() == 0);
}

/// What `locum mcp` says to these lines, and how it ends.
fn said_to(home: &Home, input: &[u8], proxy: Option<&str>) -> (Vec<Value>, std::process::Output) {
    let mut command = home.command(env!("CARGO_BIN_EXE_locum"));
    command.arg("mcp").envs(proxy.map(|url| ("HTTPS_PROXY", url)));
    // who runs the tests may well have a proxy
    command.env("https_proxy", proxy.unwrap_or("none://"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("locum starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("its end");
    writer.join().expect("the writer");
    let lines = stdout(&output).lines().map(read).collect();
    (lines, output)
}

const INITIALIZE: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"#,
    r#""clientInfo":{"name":"t","version":"1"}}}"#,
    "\n",
    r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    "\n",
);

#[test]
fn whatever_an_mcp_client_sends_only_the_protocol_is_answered() {
    let home = Home::bare("not even a config");
    let call = |id: u32, arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"explain_refusal","arguments":{arguments}}}}}"#
        ) + "\n"
    };
    let huge = format!(r#"{{"exchange":"{}"}}"#, "a".repeat(300 * 1024));
    let input = [
        INITIALIZE.as_bytes(),
        b"{\n\xff\xfe\x00\nnull\n[]\n\"text\"\n{\"jsonrpc\":\"2.0\",\"id\":2}\n",
        b"{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"no/such\"}\n",
        "[".repeat(200_000).as_bytes(),
        b"\n",
        call(4, &huge).as_bytes(),
        call(5, "null").as_bytes(),
        call(6, r#"{"exchange":7}"#).as_bytes(),
        call(7, r#"{"exchange":"a\u0000b"}"#).as_bytes(),
        b"{\"jsonrpc\":\"2.0\",\"id\":8,\"method\":\"tools/list\"}\n",
    ]
    .concat();
    let (lines, output) = said_to(&home, &input, None);
    assert!(output.status.success() && !stderr(&output).contains("panic"), "{}", told(&output));
    let answer = |id: u32| lines.iter().find(|line| line["id"] == id).unwrap_or(&Value::Null);
    assert!(lines.iter().all(|line| line["jsonrpc"] == "2.0"), "{lines:#?}");
    assert_eq!(answer(3)["error"]["code"], -32601, "{lines:#?}");
    assert!(answer(4).is_null(), "too long a message is dropped");
    assert_eq!((&answer(5)["error"]["code"], &answer(6)["error"]["code"]), (&json!(-32602), &json!(-32602)));
    assert_eq!(answer(7)["result"]["isError"], true, "{lines:#?}");
    assert_eq!(answer(8)["result"]["tools"][0]["name"], "list_placeholders", "{lines:#?}");
    for input in [&b""[..], b"not JSON\n", &INITIALIZE.as_bytes()[..40]] {
        let (lines, output) = said_to(&home, input, None);
        assert!(lines.is_empty() && output.status.success(), "{}", told(&output));
    }
}

#[test]
fn a_proxy_that_is_no_locum_or_wants_a_token_is_told_of() {
    let upstream = Upstream::start();
    let (serve, [a, _]) = of_two_agents(&upstream);
    let list = concat!(r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"list_placeholders"}}"#, "\n");
    let input = format!("{INITIALIZE}{list}");
    let with_token = format!("http://a:{a}@{}", serve.address);
    let nobody = format!("http://127.0.0.1:{}", crate::support::wire::closed_port());
    for (proxy, failed, said) in [
        (Some(with_token.as_str()), false, "<<tool_key>>"),
        (Some(&serve.proxy_url()), true, "wants the agent's token"),
        (Some(&nobody), true, "does not answer"),
        (None, true, "can't be asked"),
    ] {
        let (lines, output) = said_to(&serve.home, input.as_bytes(), proxy);
        let answer = lines.iter().find(|line| line["id"] == 2).unwrap_or_else(|| panic!("{}", told(&output)));
        let text = answer["result"]["content"][0]["text"].as_str().unwrap_or_default();
        assert!(text.contains(said) && answer["result"]["isError"] == failed, "{answer}");
        assert!(!text.contains(&a), "{text}");
    }
}

const CONFIG: &str = "[key.tool]\nhosts = [\"api.tool.example\", \"*.b.example:8443\"]\nmethods = [\"GET\"]\n\
                      where = [\"header:x-api-key\"]\n[key.other]\nhosts = [\"api.other.example\"]\n\
                      [agent.researcher]\nkeys = [\"tool\"]\n";

#[test]
fn a_prompt_tells_of_an_agents_placeholders_in_each_form() {
    let home = Home::bare(CONFIG).set("TOOL_API_KEY", TOOL_KEY).set("OTHER_API_KEY", "other-key-0123456789");
    let prompt = |args: &[&str]| {
        let output = finish(&mut home.locum(&[&["prompt"], args].concat()));
        assert!(output.status.success() && output.stderr.is_empty(), "{}", told(&output));
        assert!(!told(&output).contains(TOOL_KEY), "{}", told(&output));
        stdout(&output)
    };
    let line = "to api.tool.example, *.b.example:8443, in the header x-api-key; only GET\n";
    let text = prompt(&[]);
    assert!(
        text.contains(&format!("- <<tool_key>>: {line}")) && text.contains("- <<other_key>>: to api.other"),
        "{text}"
    );
    let text = prompt(&["--agent", "researcher", "--format", "markdown"]);
    assert!(text.contains(&format!("- `<<tool_key>>`: {line}")) && !text.contains("<<other_key>>"), "{text}");
    assert!(text.contains("Never ask anybody for the value of a key") && text.contains("`locum-refused`"), "{text}");
    let json = read(&prompt(&["--agent", "researcher", "--format", "json"]));
    assert_eq!((&json["agent"], &json["placeholders"][0]["methods"]), (&json!("researcher"), &json!(["GET"])));
    for format in ["agents-md", "claude-md"] {
        let marked = prompt(&["--agent", "researcher", "--format", format]);
        assert_eq!(marked, format!("<!-- locum:begin -->\n{text}<!-- locum:end -->\n"));
    }
    let output = finish(&mut home.locum(&["prompt", "--agent", "nobody"]));
    assert_eq!(stderr(&output), "error: there is no agent 'nobody'\n  next: there is researcher\n");
    let output = finish(&mut Home::bare("").locum(&["prompt"]));
    assert!(
        output.status.success() && stderr(&output).contains("there is no placeholder to tell of"),
        "{}",
        told(&output)
    );
}

#[test]
fn a_block_in_a_file_is_kept_up_to_date_and_all_else_left() {
    let home = Home::bare(CONFIG).set("TOOL_API_KEY", TOOL_KEY).set("OTHER_API_KEY", "other-key-0123456789");
    let file = home.path().join("AGENTS.md");
    std::fs::write(&file, b"# Mine\r\n\xff\n").expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("a mode");
    let link = home.path().join("CLAUDE.md");
    std::os::unix::fs::symlink("AGENTS.md", &link).expect("a link");
    let write = |args: &[&str]| {
        let output = finish(&mut home.locum(&[&["prompt", "--write"], args].concat()));
        (output.status.code(), stdout(&output) + &stderr(&output))
    };
    assert_eq!(write(&["AGENTS.md"]), (Some(0), "AGENTS.md tells of 2 placeholders\n".into()));
    let first = std::fs::read(&file).expect("the file");
    assert!(first.starts_with(b"# Mine\r\n\xff\n\r\n<!-- locum:begin -->\r\n## API keys\r\n"));
    let inode = |path: &std::path::Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().expect("a file"));
    let before = inode(&file);
    assert_eq!(write(&["CLAUDE.md"]), (Some(0), "CLAUDE.md is up to date\n".into()));
    assert_eq!((std::fs::read(&file).expect("the file"), inode(&file)), (first, before));
    assert_eq!(
        write(&["CLAUDE.md", "--agent", "researcher"]).1,
        format!("CLAUDE.md, which is a link to {}, tells of 1 placeholder\n", home.path().join("AGENTS.md").display())
    );
    assert!(link.is_symlink() && file.metadata().expect("a file").permissions().mode() & 0o777 == 0o640);
    assert!(!String::from_utf8_lossy(&std::fs::read(&file).expect("the file")).contains("<<other_key>>"));

    let half = "text\n<!-- locum:begin -->\nmore\n";
    std::fs::write(&file, half).expect("a file");
    let (code, said) = write(&["AGENTS.md"]);
    assert!(code == Some(1) && said.contains("locum:begin has no locum:end behind it\n  next: remove"), "{said}");
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), half);
    let (code, said) = write(&["mcp.json"]);
    assert!(
        code == Some(1) && said.contains("JSON has no comments") && !home.path().join("mcp.json").exists(),
        "{said}"
    );
    assert_eq!(write(&["prompt.py", "--agent", "researcher"]).0, Some(0));
    let python = std::fs::read_to_string(home.path().join("prompt.py")).expect("a file");
    assert!(python.lines().all(|line| line.starts_with('#')) && python.contains("# - <<tool_key>>: to"), "{python}");
}

/// A child of `run` has placeholders where keys were: it is told of what it may use by its proxy.
#[test]
fn within_run_a_prompt_is_that_of_the_proxy() {
    let home = Home::bare(CONFIG).set("TOOL_API_KEY", TOOL_KEY).set("OTHER_API_KEY", "other-key-0123456789");
    let (config, state) = (home.config().display().to_string(), home.state().display().to_string());
    let locum = env!("CARGO_BIN_EXE_locum");
    let inner = [locum, "--config", &config, "--state", &state, "prompt"];
    let output = finish(home.locum(&["run", "--agent", "researcher", "--"]).args(inner));
    let said = stdout(&output);
    assert!(said.contains("- <<tool_key>>: ") && !said.contains("<<other_key>>"), "{}", told(&output));
}

/// The version that a client speaks changes nothing of what it is told.
#[tokio::test]
async fn a_request_in_a_tunnel_can_not_pose_as_one_to_locum() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    for http in [Http::One, Http::Two] {
        let mut client = serve.client(&upstream, http).await;
        let request = client.request("GET", "/placeholders").header("host", "locum.invalid").body(none());
        let answer = client.ask(request.expect("a request")).await;
        assert!([400, 421].contains(&answer.status.as_u16()), "{http:?}: {}", answer.text());
        drop(client);
    }
    serve.drained().await;
}
