//! Requests whose method or path is another one to the server than to the proxy: what is limited stays limited.

use crate::support::client::{Answer, BOTH, Sent, full, none, pieces, tunnel};
use crate::support::locum::{TOOL_KEY, finish, of, stdout, told};
use crate::support::{Client, Home, Http, Serve, Upstream};
use serde_json::Value;

/// `<<tool_key>>` may go into GET and POST below `/v1/`, `<<openai_key>>` into anything, both to this host.
fn limited(upstream: &Upstream) -> Serve {
    let host = upstream.authority();
    let keys = format!(
        "[key.tool]\nhosts = [\"{host}\"]\nmethods = [\"GET\", \"POST\"]\npaths = [\"/v1/**\"]\n\
         [key.openai]\nhosts = [\"{host}\"]\nwhere = [\"header\"]\n"
    );
    Home::with(&format!("connect_ports = [{}]\n", upstream.port()), &keys).serve()
}

const HEADERS: [(&str, &str); 14] = [
    ("x-http-method-override", "DELETE"),
    ("x-http-method", "MERGE"),
    ("x-method-override", "PUT"),
    ("x-forwarded-method", "DELETE"),
    // a CGI program sees no difference
    ("x_http_method_override", "DELETE"),
    ("x-http_method-override", "DELETE"),
    ("x.http.method", "DELETE"),
    // whatever it asks for
    ("x-http-method-override", "GET"),
    ("x-original-url", "/admin/keys"),
    ("x-rewrite-url", "/admin/keys"),
    ("x-original-uri", "/admin/keys"),
    ("x-forwarded-prefix", "/admin"),
    ("x-envoy-original-path", "/admin/keys"),
    ("x_original_url", "/admin/keys"),
];

const QUERIES: [&str; 8] = [
    "_method=DELETE",
    "a=b&%5Fmethod=put",
    "$httpMethod=DELETE",
    "%24httpmethod=DELETE",
    "x-http-method-override=DELETE",
    "x-tunneled-method=DELETE",
    "method=delete",
    "rest_route=/wp/v2/users",
];

async fn ask(client: &mut Client, key: Option<&str>, path: &str, header: Option<(&str, &str)>) -> Answer {
    let mut request = client.request("POST", path);
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    if let Some((name, value)) = header {
        // a server takes the first or the last of two
        request = request.header(name, value).header(name, "GET");
    }
    client.ask(request.body(none()).expect("a request")).await
}

fn refusals(records: &[Value]) -> Vec<String> {
    of(records, "refusal").iter().map(|r| r["reason"].as_str().expect("a reason").to_owned()).collect()
}

#[tokio::test]
async fn what_stands_for_another_method_or_path_is_refused_with_a_limited_key() {
    for http in BOTH {
        let upstream = Upstream::start();
        let serve = limited(&upstream);
        let mut client = serve.client(&upstream, http).await;
        let heads = HEADERS.map(|header| ("/v1/echo".to_owned(), Some(header)));
        let queries = QUERIES.map(|query| (format!("/v1/echo?{query}"), None));
        let requests: Vec<_> = heads.into_iter().chain(queries).collect();
        for (path, header) in &requests {
            let answer = ask(&mut client, Some("<<tool_key>>"), path, *header).await;
            assert_eq!(answer.header("locum-refused"), Some("placeholder-refused"), "{http:?} {path} {header:?}");
            assert_eq!(answer.status, 403);
            // it tells the agent nothing of the binding
            assert!(
                answer.text().contains("<<tool_key>> may not go to localhost in this request"),
                "{}",
                answer.text()
            );
        }
        assert!(upstream.seen().is_empty(), "{:#?}", upstream.seen());
        // what has no limits has none to evade, and without a key there is nothing to guard
        for key in [Some("<<openai_key>>"), None] {
            for (path, header) in &requests {
                let answer = ask(&mut client, key, path, *header).await;
                assert_eq!(answer.status, 200, "{http:?} {key:?} {path} {header:?}: {}", answer.text());
            }
        }
        assert_eq!(ask(&mut client, Some("<<tool_key>>"), "/v1/echo?method=POST&q=_method", None).await.status, 200);
        drop(client);
        let records = serve.drained().await.audit();
        let reasons = refusals(&records);
        assert_eq!(reasons.len(), requests.len(), "{reasons:#?}");
        for (reason, (path, header)) in reasons.iter().zip(&requests) {
            let named = header.map_or_else(|| "the query's ".to_owned(), |(name, _)| format!("the header {name} "));
            assert!(reason.contains(&named), "{path} {header:?}: {reason}");
        }
    }
}

/// The body may go on with its placeholder as text: no key is in it then.
#[tokio::test]
async fn a_body_gets_no_limited_key_from_such_a_request() {
    for http in BOTH {
        let upstream = Upstream::start();
        let serve = limited(&upstream);
        let mut client = serve.client(&upstream, http).await;
        let body = r#"{"key":"<<tool_key>>"}"#;
        for (name, value) in [("x-http-method-override", "DELETE"), ("x-original-url", "/admin"), ("x-plain", "yes")] {
            let request = client.request("POST", "/v1/echo").header("content-type", "application/json");
            let answer = client.ask(request.header(name, value).body(full(body)).expect("a request")).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        let bodies: Vec<String> = upstream.seen().iter().map(|seen| seen.text()).collect();
        assert_eq!(bodies, [body, body, &body.replace("<<tool_key>>", TOOL_KEY)], "{http:?}");
        drop(client);
        let records = serve.drained().await.audit();
        let kept: u64 = of(&records, "exchange").iter().filter_map(|r| r["kept"].as_u64()).sum();
        assert_eq!((kept, of(&records, "substitution").len()), (2, 1), "{records:#?}");
    }
}

#[test]
fn a_key_that_is_injected_is_limited_too() {
    let upstream = Upstream::start();
    let key = format!(
        "[key.tool]\nhosts = [\"{}\"]\nmethods = [\"POST\"]\ninject = \"X-Api-Key: <<tool_key>>\"\n",
        upstream.authority()
    );
    let serve = Home::with("", &key).serve();
    for (header, status, code) in [("X-HTTP-Method-Override: DELETE", "403", 3), ("X-Plain: yes", "200", 0)] {
        let url = upstream.url("/a");
        let sent = serve.curl(&["-X", "POST", "-H", header, "-o", "answer", "-w", "%{http_code}", &url]);
        assert_eq!(stdout(&sent), status, "{}", told(&sent));
        // and explained so
        let explained = finish(&mut serve.home.locum(&["explain", "POST", &url, "-H", header]));
        assert_eq!(explained.status.code(), Some(code), "{}", told(&explained));
        let named = stdout(&explained).contains("the header x-http-method-override may stand for another method");
        assert_eq!(named, code == 3, "{}", told(&explained));
    }
    assert_eq!(upstream.only().header("x-api-key").as_deref(), Some(TOOL_KEY));
}

const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=b";

/// The same trick in a body, in two pieces of which neither has it whole.
fn forms() -> [(&'static str, [String; 2]); 5] {
    let two = |first: &str, second: &str| [first.to_owned(), second.to_owned()];
    let head =
        "--b\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\nb\r\n--b\r\nContent-Disposition: form-data; na";
    [
        (FORM, two("a=b&_met", "hod=DELETE&c=d")),
        (FORM, two("a=b&method=del", "ete")),
        (FORM, two("a=b&%5Fme", "th%6Fd=put")),
        (MULTIPART, two(head, "me=\"_method\"\r\n\r\nDELETE\r\n--b--\r\n")),
        ("application/json", two("{\"a\": {}, \"_met", "hod\": \"DELETE\"}")),
    ]
}

async fn post(client: &mut Client, key: Option<&str>, content_type: &str, body: Sent) -> http::Result<(u16, String)> {
    let mut request = client.request("POST", "/v1/echo").header("content-type", content_type);
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    let answer = client.ask(request.body(body)?).await;
    Ok((answer.status.as_u16(), answer.header("locum-refused").unwrap_or_default().to_owned()))
}

#[tokio::test]
async fn a_form_stands_for_no_other_method_either() -> http::Result<()> {
    for http in BOTH {
        for places in ["[\"header\"]", "[\"header\", \"body\"]"] {
            let upstream = Upstream::start();
            let host = upstream.authority();
            let keys = format!(
                "[key.tool]\nhosts = [\"{host}\"]\nmethods = [\"GET\", \"POST\"]\nwhere = {places}\n\
                 [key.openai]\nhosts = [\"{host}\"]\nwhere = [\"header\"]\n"
            );
            let serve = Home::with(&format!("connect_ports = [{}]\n", upstream.port()), &keys).serve();
            let refused = (403, "body-refused".to_owned());
            for (content_type, parts) in forms() {
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                for body in [full(parts.concat()), pieces(&parts, None)] {
                    // a connection each: HTTP/1.1 has no other way to end a request
                    let mut client = serve.client(&upstream, http).await;
                    let told = post(&mut client, Some("<<tool_key>>"), content_type, body).await?;
                    assert_eq!(told, refused, "{http:?} {places} {content_type} {parts:?}");
                }
            }
            let mut client = serve.client(&upstream, http).await;
            let coded = client.request("POST", "/v1/echo").header("content-type", FORM);
            let coded = coded.header("content-encoding", "gzip").header("x-api-key", "<<tool_key>>");
            assert_eq!(client.ask(coded.body(full("a=b"))?).await.status, 403);
            assert!(upstream.seen().iter().all(|seen| !seen.whole), "{:#?}", upstream.seen());
            // what is no such field goes on, and so does one that evades nothing
            let mut client = serve.client(&upstream, http).await;
            let plain = "a=_method&my_method=DELETE&method=POST";
            assert_eq!(post(&mut client, Some("<<tool_key>>"), FORM, full(plain)).await?.0, 200);
            if places == "[\"header\"]" {
                for (content_type, parts) in forms() {
                    for key in [Some("<<openai_key>>"), None] {
                        let told = post(&mut client, key, content_type, full(parts.concat())).await?;
                        assert_eq!(told.0, 200, "{content_type} {parts:?} {key:?}");
                    }
                }
            }
            drop(client);
            let reasons = refusals(&serve.drained().await.audit());
            assert!(reasons.len() == 11 && reasons[0].starts_with("the body's _method may stand for"), "{reasons:#?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_agent_of_few_methods_has_no_others_by_another_name() {
    const TOKEN: &str = "researcher-token-0123456789abcdef";
    for http in [Http::One, Http::Two] {
        let upstream = Upstream::start();
        let agent = "[agent.researcher]\ntoken_file = \"token\"\nmethods = [\"GET\", \"POST\"]\n";
        let home = Home::with(&format!("connect_ports = [{}]\n", upstream.port()), agent);
        std::fs::write(home.path().join("token"), TOKEN).expect("a token");
        let serve = home.serve();
        let stream = tunnel(serve.address, &upstream.authority(), TOKEN).await.expect("a tunnel");
        let mut client = Client::over(stream, &serve.ca, &upstream.authority(), http).await;
        for (path, header) in [("/echo", Some(HEADERS[0])), ("/echo", Some(HEADERS[4])), ("/echo?_method=PUT", None)] {
            let answer = ask(&mut client, None, path, header).await;
            assert_eq!(answer.header("locum-refused"), Some("host-refused"), "{http:?} {path} {header:?}");
        }
        // paths are no limit of agents
        assert_eq!(ask(&mut client, None, "/echo", Some(("x-original-url", "/x"))).await.status, 200);
        assert_eq!(upstream.seen().len(), 1);
        drop(client);
        let reasons = refusals(&serve.drained().await.audit());
        let told = "the header x-http-method-override may stand for another method than POST, and [agent.researcher] \
                    methods limits those";
        assert_eq!(reasons[0], told);
    }
}
