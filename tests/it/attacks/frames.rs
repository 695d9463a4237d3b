//! HTTP/2 made by hand: what no client's library would send, and streams that name another host than their tunnel's.

use super::{BOUND, OTHER, Stage};
use crate::support::Tunnel;
use crate::support::client::{Client, Http, full, none, pieces};
use crate::support::locum::TOOL_KEY;
use crate::support::upstream::Seen;
use std::io::{Read as _, Write as _};

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as HPACK literals, neither indexed nor coded.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |out: &mut Vec<u8>, text: &str| {
        let length = text.len();
        match u8::try_from(length) {
            Ok(short @ 0..127) => out.push(short),
            _ => {
                out.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    out.push(u8::try_from(rest % 128).unwrap_or_default() | 128);
                    rest /= 128;
                }
                out.push(u8::try_from(rest).unwrap_or_default());
            }
        }
        out.extend_from_slice(text.as_bytes());
    };
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        text(&mut out, name);
        text(&mut out, value);
    }
    out
}

const METHOD: (&str, &str) = (":method", "POST");
const SCHEME: (&str, &str) = (":scheme", "https");
const PATH: (&str, &str) = (":path", "/");
const AUTHORITY: (&str, &str) = (":authority", BOUND);
const KEY: (&str, &str) = ("x-api-key", "<<tool_key>>");

pub(super) fn good(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [&[METHOD, SCHEME, PATH, AUTHORITY, KEY], more].concat()
}

/// A tunnel to `host` in which both sides have said that they speak HTTP/2.
pub(super) fn preface(stage: &Stage, host: &str) -> Tunnel {
    let mut tunnel = Tunnel::open(&stage.serve, &format!("{host}:443"), host, b"h2").expect("a tunnel");
    tunnel.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("a preface");
    tunnel.stream.write_all(&frame(SETTINGS, 0, 0, &[])).expect("settings");
    tunnel
}

/// The first frame that answers stream 1, or the whole connection: its kind.
fn answer_to(mut tunnel: Tunnel, frames: &[u8]) -> u8 {
    let _ = tunnel.stream.write_all(frames).and_then(|()| tunnel.stream.flush());
    await_frame(&mut tunnel, |kind, _| matches!(kind, HEADERS | RST_STREAM | GOAWAY)).0
}

/// The next frame that is wanted by its kind and flags: its kind and payload. At the end of all it is taken for a GOAWAY.
fn await_frame(tunnel: &mut Tunnel, wanted: impl Fn(u8, u8) -> bool) -> (u8, Vec<u8>) {
    loop {
        let mut head = [0; 9];
        if tunnel.stream.read_exact(&mut head).is_err() {
            return (GOAWAY, Vec::new());
        }
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        if tunnel.stream.read_exact(&mut payload).is_err() {
            return (GOAWAY, Vec::new());
        }
        if wanted(head[3], head[4]) {
            return (head[3], payload);
        }
    }
}

/// A stream reset as malformed.
fn protocol_error() -> (u8, Vec<u8>) {
    (RST_STREAM, vec![0, 0, 0, 1])
}

/// How many streams a client may have at once on a connection is said at its beginning, and what is beyond is refused.
#[test]
fn a_connection_has_so_many_streams_at_once_and_no_more() {
    const MOST: u32 = 256;
    let stage = Stage::set();
    let mut tunnel = preface(&stage, BOUND);
    let head = block(&good(&[("content-length", "5")]));
    // none of them ends, so that each is under way
    let streams = (0..=MOST).map(|n| frame(HEADERS, END_HEADERS, 2 * n + 1, &head));
    tunnel.stream.write_all(&streams.collect::<Vec<_>>().concat()).expect("a connection");
    tunnel.stream.flush().expect("a connection");
    let mut refused = None;
    while refused.is_none() {
        let mut head = [0; 9];
        tunnel.stream.read_exact(&mut head).expect("a frame");
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        tunnel.stream.read_exact(&mut payload).expect("a frame");
        if head[3] == SETTINGS && !payload.is_empty() {
            let most = [0, 3].into_iter().chain(MOST.to_be_bytes()).collect::<Vec<u8>>();
            assert!(payload.chunks(6).any(|setting| setting == most), "{payload:?}");
        }
        if head[3] == RST_STREAM {
            refused = Some((u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload));
        }
    }
    // REFUSED_STREAM (RFC 9113, section 7): nothing of it was done, so that a client may ask again
    assert_eq!(refused, Some((2 * MOST + 1, vec![0, 0, 0, 7])));
}

#[test]
fn streams_that_are_reset_at_once_end_the_connection_and_fill_no_log() {
    let stage = Stage::set();
    let mut tunnel = preface(&stage, BOUND);
    let head = block(&good(&[]));
    for stream in (1..2_000).step_by(2) {
        let frames = [frame(HEADERS, END_HEADERS, stream, &head), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat();
        if tunnel.stream.write_all(&frames).is_err() {
            break;
        }
    }
    let _ = tunnel.stream.flush();
    let _ = tunnel.stream.read_to_end(&mut Vec::new());
    let said = stage.serve.said();
    let warnings: Vec<_> = said.lines().filter(|line| line.contains("WARN")).collect();
    assert!(warnings.len() < 5 && warnings.iter().all(|line| line.contains("unusual")), "{said}");
    assert!(stage.exit.asked().len() < 100, "hardly anything of it goes on");
}

#[test]
fn a_malformed_stream_is_reset_and_nothing_of_it_goes_on() {
    let stage = Stage::set();
    let cases: &[(&str, Vec<(&str, &str)>)] = &[
        ("CR LF in a value", good(&[("x-a", "b\r\nX-Evil: c")])),
        ("LF in a value", good(&[("x-a", "b\nc")])),
        ("CR in a value", good(&[("x-a", "b\rc")])),
        ("NUL in a value", good(&[("x-a", "b\0c")])),
        ("CR LF in a name", good(&[("x-a: b\r\nx-evil", "c")])),
        ("a colon in a name", good(&[("x:a", "b")])),
        ("a space in a name", good(&[("x-a ", "b")])),
        ("an empty name", good(&[("", "b")])),
        ("a name in capitals", good(&[("X-A", "b")])),
        ("transfer-encoding", good(&[("transfer-encoding", "chunked")])),
        ("connection", good(&[("connection", "x-api-key")])),
        ("keep-alive", good(&[("keep-alive", "1")])),
        ("proxy-connection", good(&[("proxy-connection", "close")])),
        ("upgrade", good(&[("upgrade", "websocket")])),
        ("te of another kind", good(&[("te", "gzip")])),
        ("a method with a space", vec![(":method", "GET / HTTP/1.1"), SCHEME, PATH, AUTHORITY, KEY]),
        ("a method with a line", vec![(":method", "GET\r\nX: y"), SCHEME, PATH, AUTHORITY, KEY]),
        ("no method", vec![SCHEME, PATH, AUTHORITY, KEY]),
        ("two methods", vec![METHOD, METHOD, SCHEME, PATH, AUTHORITY, KEY]),
        ("two paths", vec![METHOD, SCHEME, PATH, (":path", "/b"), AUTHORITY, KEY]),
        ("two authorities", vec![METHOD, SCHEME, PATH, AUTHORITY, (":authority", OTHER), KEY]),
        ("an empty path", vec![METHOD, SCHEME, (":path", ""), AUTHORITY, KEY]),
        ("a path with a line", vec![METHOD, SCHEME, (":path", "/ HTTP/1.1\r\nX: y"), AUTHORITY, KEY]),
        ("a path with a space", vec![METHOD, SCHEME, (":path", "/a b"), AUTHORITY, KEY]),
        ("an authority with a line", vec![METHOD, SCHEME, PATH, (":authority", "api.tool.example\r\nX: y"), KEY]),
        ("a pseudo-header after a field", vec![METHOD, SCHEME, KEY, PATH, AUTHORITY]),
        ("a pseudo-header that is none", good(&[(":evil", "b")])),
        ("a response's pseudo-header", vec![(":status", "200"), METHOD, SCHEME, PATH, AUTHORITY, KEY]),
        ("a protocol, without CONNECT", vec![METHOD, SCHEME, PATH, AUTHORITY, (":protocol", "websocket"), KEY]),
        ("a length and no body", good(&[("content-length", "5")])),
        ("a length that is none", good(&[("content-length", "+0")])),
    ];
    for (what, fields) in cases {
        let answer = answer_to(preface(&stage, BOUND), &frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields)));
        assert!(matches!(answer, RST_STREAM | GOAWAY | HEADERS), "{what}: {answer}");
        assert_eq!(stage.bound.begun() + stage.other.begun(), 0, "{what}: it went on");
    }
    let refused = stage.strike(&[]).iter().filter(|r| r["event"] == "refusal" && r["status"] == 400).count();
    assert_eq!(refused, cases.len(), "each has its record");
}

#[test]
fn a_body_that_is_not_as_long_as_said_is_no_request() {
    let stage = Stage::set();
    for (what, length, body) in [
        ("longer than said", "3", "GET /smuggled HTTP/1.1\r\nHost: api.tool.example\r\n\r\n"),
        ("shorter than said", "99", "hello"),
        ("none said to be there", "0", "hello"),
    ] {
        let fields = [METHOD, SCHEME, PATH, AUTHORITY, ("content-length", length)];
        let head = frame(HEADERS, END_HEADERS, 1, &block(&fields));
        let stream = [head, frame(DATA, END_STREAM, 1, body.as_bytes())].concat();
        let answer = answer_to(preface(&stage, BOUND), &stream);
        assert!(matches!(answer, RST_STREAM | GOAWAY | HEADERS), "{what}: {answer}");
    }
    assert!(stage.bound.seen().iter().all(|s| !s.whole), "{:#?}", stage.bound.seen());
    stage.strike(&[]);
}

/// What locum answers by itself it may answer before the request is whole, and that is still judged.
#[test]
fn what_is_malformed_behind_an_answer_is_reset_as_that() {
    let stage = Stage::set();
    let refused = [METHOD, SCHEME, PATH, AUTHORITY, ("x-api-key", "<<no_key>>")];
    let mut records = 0;
    for (what, rest) in [
        ("longer than said", frame(DATA, END_STREAM, 1, b"hello")),
        ("trailers that end nothing", frame(HEADERS, END_HEADERS, 1, &block(&[("x-a", "b")]))),
        ("a pseudo-header in trailers", frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[METHOD]))),
    ] {
        let mut tunnel = preface(&stage, BOUND);
        let length = if rest[3] == DATA { &[("content-length", "3")][..] } else { &[] };
        let head = frame(HEADERS, END_HEADERS, 1, &block(&[&refused[..], length].concat()));
        tunnel.stream.write_all(&head).and_then(|()| tunnel.stream.flush()).expect("a head");
        let (kind, payload) =
            await_frame(&mut tunnel, |kind, flags| kind == RST_STREAM || kind == DATA && flags & END_STREAM != 0);
        assert!(kind == DATA && String::from_utf8_lossy(&payload).contains("placeholder-refused"), "{what}: {kind}");
        tunnel.stream.write_all(&rest).and_then(|()| tunnel.stream.flush()).expect("the rest");
        let answer = await_frame(&mut tunnel, |kind, _| matches!(kind, HEADERS | RST_STREAM | GOAWAY));
        assert_eq!(answer, protocol_error(), "{what}");
        records += 2;
    }
    let refused = stage.strike(&[]).iter().filter(|r| r["event"] == "refusal").count();
    assert_eq!(refused, records, "the refusal and the fault have a record each");
}

#[test]
fn trailers_with_a_pseudo_header_are_malformed() {
    let stage = Stage::set();
    let kept = |name: &str, value: &str| [&[0x40][..], &block(&[(name, value)])[1..]].concat();
    for (what, fields, reset) in [
        ("a field", block(&[("x-a", "b")]), false),
        ("a path", block(&[PATH]), true),
        ("a field before it", block(&[("x-a", "b"), PATH]), true),
        ("one of the static table", vec![0x82], true),
        // the authority of the request's head, which is the newest but for the path
        ("one of the request's own", vec![0xbf], true),
        ("a path of it", vec![0xbe], true),
    ] {
        let head = [block(&[METHOD, SCHEME]), kept(":authority", BOUND), kept(":path", "/")].concat();
        let stream = [
            frame(HEADERS, END_HEADERS, 1, &head),
            frame(DATA, 0, 1, b"hello"),
            frame(HEADERS, END_STREAM, 1, &[]),
            frame(CONTINUATION, END_HEADERS, 1, &fields),
        ];
        let mut tunnel = preface(&stage, BOUND);
        tunnel.stream.write_all(&stream.concat()).and_then(|()| tunnel.stream.flush()).expect("a request");
        let answer = await_frame(&mut tunnel, |kind, _| matches!(kind, HEADERS | RST_STREAM | GOAWAY));
        if reset {
            assert_eq!(answer, protocol_error(), "{what}");
        } else {
            assert_eq!(answer.0, HEADERS, "{what}");
        }
    }
    assert_eq!(stage.bound.seen().iter().filter(|seen| seen.whole).count(), 1, "the one with a field");
    let records = stage.serve.stop().audit();
    assert_eq!(records.iter().filter(|r| r["event"] == "refusal" && r["error"] == "malformed").count(), 5);
}

/// `<` and `>` are no part of a URI, but the first thing that people write.
#[test]
fn a_placeholder_in_a_path_is_found_however_the_path_is_packed() {
    const QUERY: (&str, &str) = (":path", "/v1?key=<<tool_key>>");
    let stage = Stage::with(|_| {}, "where = [\"query:key\"]\n");
    let named = [METHOD, SCHEME, AUTHORITY];
    let kept = [&[0x44][..], &block(&[QUERY])[7..]].concat();
    let mut tunnel = preface(&stage, BOUND);
    for (stream, path) in [(1, block(&[QUERY])), (3, kept), (5, vec![0xbe]), (7, vec![0xbe])] {
        let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &[block(&named), path].concat());
        tunnel.stream.write_all(&head).and_then(|()| tunnel.stream.flush()).expect("a request");
        let (kind, fields) = await_frame(&mut tunnel, |kind, _| matches!(kind, HEADERS | RST_STREAM | GOAWAY));
        assert_eq!((kind, fields.first()), (HEADERS, Some(&0x88)), "{stream}: 200");
    }
    let seen = stage.bound.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|seen| seen.target == format!("/v1?key={TOOL_KEY}")), "{seen:#?}");
    stage.serve.stop();
}

/// Java's client waits for ever, and curl for a second (RFC 9110, section 10.1.1).
#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked_where_it_is_wanted() {
    let stage = Stage::set();
    let mut tunnel = preface(&stage, BOUND);
    let expects = ("expect", "100-continue");
    let refused = [METHOD, SCHEME, PATH, AUTHORITY, ("x-api-key", "<<no_key>>"), expects];
    let own = ("locum-awaits-continue", "1");
    for (stream, fields, is_asked) in [
        (1, good(&[expects]), true),
        (3, refused.to_vec(), false),
        (5, good(&[own]), false),
        (7, good(&[expects]), true),
    ] {
        tunnel.stream.write_all(&frame(HEADERS, END_HEADERS, stream, &block(&fields))).expect("a head");
        tunnel.stream.flush().expect("a head");
        if is_asked {
            let (kind, fields) = await_frame(&mut tunnel, |kind, _| matches!(kind, HEADERS | RST_STREAM | GOAWAY));
            assert_eq!((kind, &fields[..]), (HEADERS, &b"\0\x07:status\x03100"[..]), "{stream}");
        }
        tunnel.stream.write_all(&frame(DATA, END_STREAM, stream, b"hello")).expect("a body");
        tunnel.stream.flush().expect("a body");
        let (kind, fields) = await_frame(&mut tunnel, |kind, _| matches!(kind, HEADERS | RST_STREAM | GOAWAY));
        assert_eq!((kind, fields.first() == Some(&0x88)), (HEADERS, stream != 3), "{stream}: {fields:?}");
    }
    let seen = stage.bound.seen();
    assert_eq!(seen.len(), 3);
    let is_plain = |seen: &Seen| ["expect", "locum-awaits-continue"].iter().all(|name| seen.header(name).is_none());
    assert!(seen.iter().all(|seen| seen.text() == "hello" && is_plain(seen)), "{seen:#?}");
}

/// The tunnel's host, the stream's URL and headers, and the status it gets.
type Named = (&'static str, &'static str, &'static [(&'static str, &'static str)], u16);

#[tokio::test]
async fn a_stream_that_names_another_host_is_misdirected_and_its_neighbour_is_not() {
    let stage = Stage::set();
    let cases: &[Named] = &[
        (OTHER, "https://api.tool.example/", &[], 421),
        (BOUND, "https://api.other.example/", &[], 421),
        (BOUND, "https://api.tool.example:8443/", &[], 421),
        (BOUND, "https://x@api.tool.example/", &[], 421),
        (BOUND, "https://api.tool.example/", &[("host", "api.other.example")], 421),
        (OTHER, "https://api.other.example/", &[("host", "api.tool.example")], 421),
        (BOUND, "https://api.tool.example/", &[("host", "api.tool.example, x.example")], 421),
        (BOUND, "http://api.tool.example/", &[], 400),
        (OTHER, "https://api.other.example/", &[], 403),
        (OTHER, "https://api.other.example/", &[("x-forwarded-host", "api.tool.example")], 403),
        (BOUND, "https://API.tool.example:443/", &[], 200),
    ];
    for (host, url, headers, status) in cases {
        let mut client = Client::open(stage.serve.address, &stage.serve.ca, &format!("{host}:443"), Http::Two).await;
        let mut request = http::Request::get(*url).header("x-api-key", "<<tool_key>>");
        for (name, value) in *headers {
            request = request.header(*name, *value);
        }
        let answer = client.ask(request.body(none()).unwrap()).await;
        assert_eq!(answer.status.as_u16(), *status, "{url} {headers:?} in {host}: {}", answer.text());
        let fine = client.ask(http::Request::get(format!("https://{host}/fine")).body(none()).unwrap()).await;
        assert_eq!(fine.status, 200, "the next stream");
    }
    let (bound, other) = (stage.bound.seen(), stage.other.seen());
    let keyed: Vec<_> = bound.iter().filter(|s| s.header("x-api-key").is_some()).collect();
    assert_eq!((keyed.len(), bound.len() + other.len()), (1, cases.len() + 1), "{bound:#?} {other:#?}");
    let records = stage.serve.drained().await.audit();
    assert_eq!(records.iter().filter(|r| r["event"] == "refusal").count(), cases.len() - 1);
    assert_eq!(records.iter().filter(|r| r["event"] == "substitution").count(), 1);
}

/// HTTP/2 on this side and HTTP/1.1 on the other: what frames a body there is written anew.
#[tokio::test]
async fn a_downgrade_brings_nothing_into_the_framing() {
    let upstream = crate::support::Upstream::speaking(&["http/1.1"]);
    let serve = crate::support::Home::bound(&[&upstream]).serve();
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut client = serve.client(&upstream, Http::Two).await;
    for (body, length) in [(full(smuggled), true), (pieces(&[smuggled], None), false), (none(), false)] {
        let mut request = client.request("POST", "/one").header("x-http2-settings", "a");
        if length {
            request = request.header("content-length", smuggled.len());
        }
        assert_eq!(client.ask(request.body(body).unwrap()).await.status, 200);
    }
    let seen = upstream.seen();
    assert!(seen.len() == 3 && seen.iter().all(|s| s.whole && s.target == "/one"), "{seen:#?}");
    assert!(seen.iter().all(|s| s.header("content-length").is_none() || s.header("transfer-encoding").is_none()));
}

#[test]
fn floods_of_frames_end_the_flooder_alone() {
    let stage = Stage::set();
    let fields = block(&good(&[]));
    let resets: Vec<u8> = (0..20_000_u32)
        .flat_map(|n| {
            let open = frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block(&[METHOD, SCHEME, PATH, AUTHORITY]));
            [open, frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8])].concat()
        })
        .collect();
    let mut continued = frame(HEADERS, END_STREAM, 1, &fields);
    for _ in 0..20_000 {
        continued.extend(frame(CONTINUATION, 0, 1, &block(&[("x-a", "b")])));
    }
    // a header of 4 KiB is put into the table once, and then named again and again by one byte
    let mut bomb = vec![0x40];
    bomb.extend(&block(&[("x-bomb", &"b".repeat(4000))])[1..]);
    bomb.extend(std::iter::repeat_n(0xbe, 16_000));
    let bomb = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[&block(&good(&[]))[..], &bomb].concat());
    for (what, flood) in [
        ("rapid reset", resets),
        ("CONTINUATION without end", continued),
        ("an HPACK bomb", bomb),
        ("pings", frame(PING, 0, 0, &[0; 8]).repeat(20_000)),
        ("settings", frame(SETTINGS, 0, 0, &[]).repeat(20_000)),
        ("empty DATA", [frame(HEADERS, END_HEADERS, 1, &fields), frame(DATA, 0, 1, &[]).repeat(20_000)].concat()),
        ("a frame beyond its size", frame(DATA, 0, 1, &vec![0; 100_000])),
    ] {
        let tunnel = preface(&stage, BOUND);
        let mut writer = tunnel.stream.sock.try_clone().expect("a socket");
        let mut flooder = tunnel;
        // who is flooded hangs up at some point: then writing fails, and that is that
        let _ = flooder.stream.write_all(&flood);
        let _ = writer.flush();
        let said = stage.say(OTHER, super::plain_last(OTHER).as_bytes());
        assert_eq!(super::verdicts(&said), "200", "{what}");
        let _ = writer.shutdown(std::net::Shutdown::Both);
    }
    let peak = stage.serve.memory("VmHWM");
    assert!(peak < 256 * 1024, "{peak} KiB");
    let records = stage.serve.stop().audit();
    let told = |why: &str| records.iter().any(|r| r["reason"].as_str().is_some_and(|reason| reason.contains(why)));
    assert!(told("ENHANCE_YOUR_CALM") && told("FRAME_SIZE_ERROR"), "a flood leaves its record: {records:#?}");
}
