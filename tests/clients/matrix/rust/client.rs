//! The steps of ../../README.md with reqwest, or with ureq: the second argument says which.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

type Failed = Box<dyn std::error::Error>;

/// What a request carries.
enum Body {
    None,
    Json(Value),
    Form(Vec<(&'static str, String)>),
    Bytes(Vec<u8>),
}

/// Method, URL, `Authorization` and body in; the whole answer out.
type Send<'a> = &'a dyn Fn(&str, &str, Option<String>, Body) -> Result<Vec<u8>, Failed>;

fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let (base, client) = (arguments.next().ok_or("no URL")?, arguments.next().ok_or("no client")?);
    match client.as_str() {
        "reqwest" => {
            let client = reqwest::blocking::Client::new();
            steps(&base, &|method, url, authorization, body| {
                let mut request = client.request(method.parse()?, url);
                if let Some(value) = authorization {
                    request = request.header("authorization", value);
                }
                let request = match body {
                    Body::None => request,
                    Body::Json(value) => request.json(&value),
                    Body::Form(fields) => request.form(&fields),
                    Body::Bytes(bytes) => request.body(bytes),
                };
                Ok(request.send()?.error_for_status()?.bytes()?.to_vec())
            })
        }
        "ureq" => {
            let tls = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build();
            let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().tls_config(tls).build());
            steps(&base, &|method, url, authorization, body| {
                let (bytes, kind) = match body {
                    Body::None => (Vec::new(), None),
                    Body::Json(value) => (serde_json::to_vec(&value)?, Some("application/json")),
                    Body::Form(fields) => {
                        let mut url = reqwest::Url::parse("form:")?;
                        url.query_pairs_mut().extend_pairs(&fields);
                        (url.query().unwrap_or_default().into(), Some("application/x-www-form-urlencoded"))
                    }
                    Body::Bytes(bytes) => (bytes, Some("application/octet-stream")),
                };
                let mut request = ureq::http::Request::builder().method(method).uri(url);
                for (name, value) in [("authorization", authorization.as_deref()), ("content-type", kind)] {
                    if let Some(value) = value {
                        request = request.header(name, value);
                    }
                }
                let mut answer = match method {
                    "GET" => agent.run(request.body(())?)?,
                    _ => agent.run(request.body(bytes)?)?,
                };
                Ok(answer.body_mut().with_config().limit(u64::MAX).read_to_vec()?)
            })
        }
        other => Err(format!("{other} is neither reqwest nor ureq").into()),
    }
}

fn steps(base: &str, send: Send) -> Result<(), Failed> {
    let key = std::env::var("TOOL_API_KEY")?;
    let text = format!("use {key} here");
    let get = |path: &str, authorization| send("GET", &format!("{base}{path}"), authorization, Body::None);
    let put = |method, path: &str, body| send(method, &format!("{base}{path}"), None, body);
    let read = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes);
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("user:{key}")));
    let download: String = Sha256::digest(get("/blob?n=3000000", None)?).iter().map(|b| format!("{b:02x}")).collect();
    let printed = json!({
        "header": read(get("/header", Some(format!("Bearer {key}")))?)?,
        "basic": read(get("/basic", Some(basic))?)?,
        "json": read(put("POST", "/json", Body::Json(json!({ "key": key, "text": text })))?)?,
        "form": read(put("POST", "/form", Body::Form(vec![("key", key.clone()), ("text", text)]))?)?,
        "stream": read(get("/chunked", None)?)?,
        "download": download,
        "upload": read(put("PUT", "/upload", Body::Bytes(b"0123456789".repeat(300_000)))?)?,
    });
    println!("{printed}");
    Ok(())
}
