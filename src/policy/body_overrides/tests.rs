//! Bodies in which a field stands for another method, and bodies that only look so, cut at every byte.

use super::*;
use http::Method;

const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=b";
const JSON: &str = "application/json";

fn limits() -> OverrideLimits {
    let mut limits = OverrideLimits::default();
    limits.methods(&[Method::GET, Method::POST]);
    limits
}

fn headers(content_type: &'static str) -> HeaderMap {
    [(CONTENT_TYPE, HeaderValue::from_static(content_type))].into_iter().collect()
}

/// Whether anything is found in the body, cut in two at `cut`.
fn found(content_type: &'static str, body: &str, cut: usize) -> bool {
    let mut watch = BodyOverrideScan::new(&limits(), &headers(content_type)).unwrap().unwrap();
    let (first, second) = body.as_bytes().split_at(cut);
    watch.push(first).is_some() || watch.push(second).is_some()
}

fn part(head: &str, value: &str) -> String {
    format!("--b\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\nx\r\n--b\r\n{head}\r\n\r\n{value}\r\n--b--\r\n")
}

#[test]
fn a_field_is_found_however_it_is_written_and_cut() {
    for (content_type, body, hidden) in [
        (FORM, "_method=DELETE".to_owned(), true),
        (FORM, "a=b&_method=DELETE&c=d".into(), true),
        (FORM, "a=b;%5fMethod=DELETE".into(), true),
        (FORM, format!("{}_method=DELETE", "+%20".repeat(200)), true),
        (FORM, "_method%00x=DELETE".into(), true),
        (FORM, ".method=DELETE".into(), true),
        (FORM, "method=delete".into(), true),
        (FORM, "method=get&x-http-method-override=PUT".into(), true),
        (FORM, "method=posting&a=_method".into(), false),
        (FORM, "a=_method=DELETE".into(), false),
        (FORM, "methods=delete&my_method=delete".into(), false),
        (MULTIPART, part("Content-Disposition: form-data; name=\"_method\"", "DELETE"), true),
        (MULTIPART, part("content-type: text/plain\r\nCONTENT-DISPOSITION:form-data;name=_method", "DELETE"), true),
        (MULTIPART, part("Content-Disposition : form-data; filename=\"f\"; name='_method'", "DELETE"), true),
        (MULTIPART, part("Content-Disposition: form-data;\r\n name=\"_method\"", "DELETE"), true),
        (MULTIPART, part("Content-Disposition: form-data; name*=utf-8''%5Fmethod", "DELETE"), true),
        (MULTIPART, part("Content-Disposition: form-data; name=\"\\_method\"", "DELETE"), true),
        (MULTIPART, part("Content-Disposition: form-data; name=\"method\"", "delete"), true),
        (MULTIPART, part("Content-Disposition: form-data; name=\"_method\"", "x").replace("\r\n", "\n"), true),
        (MULTIPART, part(&format!("Content-Disposition: form-data; x={}", "y".repeat(5000)), ""), true),
        (MULTIPART, part(&format!("{:y<1$}", "Content-Disposition: form-data; x=", MAX_DISPOSITION + 1), ""), true),
        (MULTIPART, part(&format!("{:y<1$}", "Content-Disposition: form-data; x=", MAX_DISPOSITION), ""), false),
        (MULTIPART, part("Content-Disposition: form-data; name=\"method\"", "posting"), false),
        (MULTIPART, part("Content-Disposition: form-data; filename=\"_method\"; name=\"file\"", "DELETE"), false),
        (MULTIPART, part("Content-Disposition: form-data; name=\"f\"", "<input name=\"_method\" value=\"x\">"), false),
        (JSON, r#"{"a": {"b": 1}, "_method": "DELETE"}"#.into(), true),
        (JSON, r#" { "\u005fmethod" : "DELETE"}"#.into(), true),
        (JSON, r#"{"a": "\"_method\":", "b": {"_method": 1}, "c": ["_method"], "method": "delete"}"#.into(), false),
    ] {
        for cut in 0..=body.len() {
            assert_eq!(found(content_type, &body, cut), hidden, "{content_type} {body} cut at {cut}");
        }
    }
}

#[test]
fn only_what_servers_read_fields_from_is_searched() {
    let watch = |limits: &OverrideLimits, headers: &HeaderMap| {
        BodyOverrideScan::new(limits, headers).map(|watch| watch.is_some())
    };
    assert_eq!(watch(&OverrideLimits::default(), &headers(FORM)), Ok(false), "without limits");
    assert_eq!(watch(&limits(), &HeaderMap::new()), Ok(false));
    for (content_type, searched) in [
        (FORM, true),
        ("Application/X-WWW-FormFields-URLEncoded; charset=utf-8", true),
        (MULTIPART, true),
        (JSON, true),
        ("application/vnd.api+json", true),
        ("application/octet-stream", false),
        ("text/plain", false),
    ] {
        assert_eq!(watch(&limits(), &headers(content_type)), Ok(searched), "{content_type}");
        let mut coded = headers(content_type);
        coded.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let is_form = searched && !content_type.contains("json");
        assert_eq!(watch(&limits(), &coded).is_err(), is_form, "{content_type}, coded");
    }
}
