//! Streams that two readers could cut into requests in two ways, and the near misses that they can't.

use super::{BOUND, OTHER, Stage, last, plain_last, verdicts};

/// Ends of a head, after `POST / HTTP/1.1`, `Host` and the placeholder, each with what follows it: all of it is refused
/// before anything goes on.
pub(super) const HEADS: &[(&str, &str)] = &[
    ("CL.TE", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n"),
    ("CL.TE, length 0", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("CL.TE in odd case", "content-length: 4\r\ntRANSFER-eNCODING: cHUNKED\r\n\r\n0\r\n\r\n"),
    ("CL.TE, not chunked", "Content-Length: 4\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    ("TE.TE, chunked then identity", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    ("TE.TE, identity then chunked", "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("TE.TE, chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("TE, list", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("TE, chunked in a list", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("TE, xchunked", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("TE, quoted", "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("TE, parameter", "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    ("TE, trailing comma", "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"),
    ("TE, vertical tab", "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("TE, empty", "Transfer-Encoding:\r\n\r\n0\r\n\r\n"),
    ("TE behind a bare CR", "X-A: b\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("TE behind a bare LF", "X-A: b\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("TE behind a fold", "X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("TE before its colon", "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("TE after a space", " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("two lengths", "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd"),
    ("one length twice", "Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
    ("lengths in a list", "Content-Length: 4, 4\r\n\r\nabcd"),
    ("length with a plus", "Content-Length: +4\r\n\r\nabcd"),
    ("length below zero", "Content-Length: -4\r\n\r\nabcd"),
    ("length in hex", "Content-Length: 0x4\r\n\r\nabcd"),
    ("length with a space in it", "Content-Length: 4 0\r\n\r\nabcd"),
    ("length with a point", "Content-Length: 4.0\r\n\r\nabcd"),
    ("length beyond 64 bits", "Content-Length: 18446744073709551620\r\n\r\nabcd"),
    ("length of none", "Content-Length:\r\n\r\nabcd"),
    ("length of other digits", "Content-Length: \u{664}\r\n\r\nabcd"),
    ("length before its colon", "Content-Length : 4\r\n\r\nabcd"),
    ("folded value", "X-A: b\r\n c\r\n\r\n"),
    ("folded by a tab", "X-A: b\r\n\tc\r\n\r\n"),
    ("folded into nothing", "X-A:\r\n \r\n\r\n"),
    ("folded length", "Content-Length:\r\n 4\r\n\r\nabcd"),
    ("bare LF ends the head", "X-A: b\n\n"),
    ("bare LF ends half of it", "X-A: b\r\n\n"),
    ("CR CR LF", "X-A: b\r\r\n\r\n"),
    ("NUL in a value", "X-A: b\0c\r\n\r\n"),
    ("NUL in a name", "X\0A: b\r\n\r\n"),
    ("DEL in a value", "X-A: b\x7fc\r\n\r\n"),
    ("escape in a value", "X-A: b\x1bc\r\n\r\n"),
    ("no name", ": b\r\n\r\n"),
    ("no colon", "X-A\r\n\r\n"),
    ("tab before the colon", "X-A\t: b\r\n\r\n"),
    ("separators in a name", "X(A): b\r\n\r\n"),
    ("a letter beyond ASCII in a name", "X-\u{e4}: b\r\n\r\n"),
];

#[test]
fn a_head_that_could_be_read_in_two_ways_is_refused_whole() {
    let stage = Stage::set();
    let mut told = Vec::new();
    for (what, rest) in HEADS {
        let start = format!("POST / HTTP/1.1\r\nHost: {BOUND}\r\nX-Api-Key: <<tool_key>>\r\n");
        let stream = [start.as_bytes(), rest.as_bytes(), last(BOUND, "/smuggled").as_bytes()].concat();
        let said = stage.say(BOUND, &stream);
        assert_eq!(verdicts(&said), "400 malformed", "{what}");
        told.extend(said);
    }
    stage.strike(&told);
}

/// What `Connection` names goes no further than the proxy.
#[test]
fn a_key_is_not_dropped_with_a_header_that_is_for_the_next_hop() {
    let stage = Stage::set();
    let mut told = Vec::new();
    let basic = "Authorization: Basic dXNlcjo8PHRvb2xfa2V5Pj4=";
    for (connection, header) in [
        ("close, x-api-key", "X-Api-Key: <<tool_key>>"),
        ("Authorization", "Authorization: Bearer <<tool_key>>"),
        ("keep-alive, AUTHORIZATION ,", basic),
        ("x-api-key", "X-Api-Key: <<unknown_key>>"),
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: {BOUND}\r\nConnection: {connection}\r\n{header}\r\n\r\n");
        let said = stage.say(BOUND, format!("{head}{}", plain_last(BOUND)).as_bytes());
        assert_eq!(verdicts(&said[..1]), "400 malformed", "{connection}");
        let name = header.split(':').next().expect("a name").to_lowercase();
        assert!(
            said[0].text().contains(&format!("Connection names {name}, which would not reach the host")),
            "{said:?}"
        );
        told.extend(said);
    }
    // others are dropped as ever, and it is the next hop's close that ends a connection
    let head = format!("GET / HTTP/1.1\r\nHost: {BOUND}\r\nConnection: x-own, close\r\nX-Own: 1\r\n\r\n");
    let said = stage.say(BOUND, head.as_bytes());
    assert_eq!(verdicts(&said), "200");
    assert!(stage.bound.seen().iter().all(|seen| seen.header("x-own").is_none()));
    told.extend(said);
    stage.strike(&told);
}

#[test]
fn a_request_line_is_plain_or_refused() {
    let stage = Stage::set();
    let mut told = Vec::new();
    for line in [
        "GET  / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1\rX: y",
        "GET /\0 HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /\u{e4} HTTP/1.1",
        "GET / HTTP/2.0",
        "GET / HTTP/1.2",
        "GET / HTTP/1.10",
        "GET / HTTP/01.1",
        "GET / http/1.1",
        "GET / ICAP/1.0",
        "GET /",
        "GET",
        "G(T / HTTP/1.1",
        "GET: / HTTP/1.1",
        "GET / HTTP/1.1, HTTP/1.1",
    ] {
        let head = format!("{line}\r\nHost: {BOUND}\r\nX-Api-Key: <<tool_key>>\r\n\r\n");
        let said = stage.say(BOUND, format!("{head}{}", last(BOUND, "/smuggled")).as_bytes());
        assert_eq!(verdicts(&said), "400 malformed", "{line:?}");
        told.extend(said);
    }
    stage.strike(&told);
}

/// Chunked bodies in which a size, an extension, an end or a trailer is odd.
pub(super) const CHUNKS: &[(&str, &str)] = &[
    ("size with a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("size with a sign", "+5\r\nhello\r\n0\r\n\r\n"),
    ("size below zero", "-5\r\nhello\r\n0\r\n\r\n"),
    ("space before a size", " 5\r\nhello\r\n0\r\n\r\n"),
    ("space after a size", "5 \r\nhello\r\n0\r\n\r\n"),
    ("size of no digits", "\r\nhello\r\n0\r\n\r\n"),
    ("size of other letters", "g\r\nhello\r\n0\r\n\r\n"),
    ("size beyond 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("size that ends in LF", "5\nhello\r\n0\r\n\r\n"),
    ("size that ends in CR", "5\rhello\r\n0\r\n\r\n"),
    ("underscore in a size", "0_5\r\nhello\r\n0\r\n\r\n"),
    ("extension without a size", ";a=b\r\nhello\r\n0\r\n\r\n"),
    ("LF in an extension", "5;a\n\r\nhello\r\n0\r\n\r\n"),
    ("CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("NUL in an extension", "5;a=\0\r\nhello\r\n0\r\n\r\n"),
    ("chunk longer than it says", "4\r\nhello\r\n0\r\n\r\n"),
    ("chunk that ends in LF", "5\r\nhello\n0\r\n\r\n"),
    ("chunk that ends in two", "5\r\nhelloXX0\r\n\r\n"),
    ("end by a bare LF", "5\r\nhello\r\n0\n\n"),
    ("trailer that frames", "5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n"),
    ("trailer that codes", "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("trailer that routes", "5\r\nhello\r\n0\r\nHost: api.other.example\r\n\r\n"),
    ("trailer with a space", "5\r\nhello\r\n0\r\nX : y\r\n\r\n"),
    ("trailer with a bare LF", "5\r\nhello\r\n0\r\nX: y\nZ: a\r\n\r\n"),
    ("trailer that is folded", "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n"),
];

#[test]
fn a_chunk_is_what_it_says_or_the_stream_ends() {
    let stage = Stage::set();
    let mut told = Vec::new();
    for host in [BOUND, OTHER] {
        for (what, body) in CHUNKS {
            let head = format!("POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n");
            let said = stage.say(host, format!("{head}{body}{}", last(host, "/smuggled")).as_bytes());
            assert_eq!(verdicts(&said), "400 malformed", "{host}: {what}");
            told.extend(said);
        }
        let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(300));
        let head = format!("POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n");
        let said = stage.say(host, format!("{head}{long}{}", last(host, "/smuggled")).as_bytes());
        assert_eq!(verdicts(&said), "431 too-large");
        told.extend(said);
    }
    stage.strike(&told);
}

#[test]
fn a_fault_after_a_good_start_ends_the_exchange_and_nothing_whole_arrives() {
    let stage = Stage::set();
    for host in [BOUND, OTHER] {
        let mut tunnel = crate::support::Tunnel::open(&stage.serve, &format!("{host}:443"), host, b"http/1.1").unwrap();
        let begun = stage.bound.begun() + stage.other.begun();
        let head = format!("POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        std::io::Write::write_all(&mut tunnel.stream, head.as_bytes()).unwrap();
        // the body is passed on as it comes: the upstream has its beginning now
        if host == BOUND { &stage.bound } else { &stage.other }.await_begun(1);
        assert_eq!(stage.bound.begun() + stage.other.begun(), begun + 1);
        let said = tunnel.talk(format!("5 \r\nhello\r\n0\r\n\r\n{}", last(host, "/smuggled")).as_bytes());
        assert!(said.iter().all(|t| t.status == 400 || t.status == 502), "{said:?}");
    }
    let (bound, other) = (stage.bound.await_seen(1), stage.other.await_seen(1));
    assert!(bound.iter().chain(&other).all(|s| !s.whole && s.target.ends_with('/')), "{bound:#?} {other:#?}");
    stage.strike(&[]);
}

/// What is sound, though it looks odd, and what comes of it with one more request behind.
pub(super) const SOUND: &[(&str, &str, &str)] = &[
    ("an empty line first", "\r\nGET / HTTP/1.1\r\nHost: {h}\r\n\r\n", "200, 200"),
    ("spaces around a value", "GET / HTTP/1.1\r\nHost: \t{h} \r\nX-A:b\r\n\r\n", "200, 200"),
    ("zeros before a length", "POST / HTTP/1.1\r\nHost: {h}\r\nContent-Length: 0004\r\n\r\nabcd", "200, 200"),
    (
        "zeros before a size",
        "POST / HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n0004\r\nabcd\r\n000\r\n\r\n",
        "200, 200",
    ),
    ("chunked after a tab", "POST / HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding:\tChunked\r\n\r\n0\r\n\r\n", "200, 200"),
    (
        "an extension",
        "POST / HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n4;a=\"b\"\r\nabcd\r\n0;c\r\nX: y\r\n\r\n",
        "200, 200",
    ),
    ("a body on GET", "GET / HTTP/1.1\r\nHost: {h}\r\nContent-Length: 4\r\n\r\nabcd", "200, 200"),
    (
        "a request in a body",
        "POST / HTTP/1.1\r\nHost: {h}\r\nContent-Length: 32\r\n\r\nGET /smuggled HTTP/1.1\r\nA: b\r\n\r\n",
        "200, 200",
    ),
    (
        "a request in a chunk",
        "POST / HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nGET /smuggled HTTP/1.1\r\nA: b\r\n\r\n\r\n0\r\n\r\n",
        "200, 200",
    ),
    ("two at once", "GET /1 HTTP/1.1\r\nHost: {h}\r\n\r\nGET /2 HTTP/1.1\r\nHost: {h}\r\n\r\n", "200, 200, 200"),
    ("no length on POST", "POST / HTTP/1.1\r\nHost: {h}\r\n\r\n", "200, 200"),
    (
        "a length that Connection names",
        "POST / HTTP/1.1\r\nHost: {h}\r\nConnection: content-length\r\nContent-Length: 4\r\n\r\nabcd",
        "200, 200",
    ),
    ("a fragment", "GET /a#/../b HTTP/1.1\r\nHost: {h}\r\n\r\n", "200, 200"),
    (
        "an upgrade that nobody takes",
        "GET / HTTP/1.1\r\nHost: {h}\r\nConnection: Upgrade\r\nUpgrade: h2c, foo\r\n\r\n",
        "200, 200",
    ),
    (
        "a WebSocket's handshake without its key",
        "GET / HTTP/1.1\r\nHost: {h}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "400 malformed, 200",
    ),
    (
        "an upgrade to h2c",
        "GET / HTTP/1.1\r\nHost: {h}\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        "200, 200",
    ),
];

#[test]
fn what_can_be_read_in_one_way_only_is_passed_on_anew() {
    let stage = Stage::set();
    let (mut told, end) = (Vec::new(), plain_last(OTHER));
    for (what, stream, wanted) in SOUND {
        let said = stage.say(OTHER, format!("{}{end}", stream.replace("{h}", OTHER)).as_bytes());
        assert_eq!(verdicts(&said), *wanted, "{what}");
        told.extend(said);
    }
    let seen = stage.other.seen();
    for gone in ["connection", "upgrade", "http2-settings"] {
        assert!(seen.iter().all(|s| s.header(gone).is_none()), "{gone}: {seen:#?}");
    }
    assert!(seen.iter().all(|s| !s.target.contains("smuggled") && !s.target.contains('#')), "{seen:#?}");
    stage.strike(&told);
}

#[test]
fn what_follows_a_refused_request_is_judged_by_itself() {
    let stage = Stage::set();
    let smuggled = last(OTHER, "/smuggled");
    let (one, many) = (smuggled.clone(), smuggled.repeat(40_000));
    let refused = format!("POST / HTTP/1.1\r\nHost: {OTHER}\r\nX-Api-Key: <<tool_key>>\r\n");
    let length = |body: &str| format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let chunks = |body: &str| format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let (end, no) = (plain_last(OTHER), "403 placeholder-refused");
    let mut told = Vec::new();
    for (what, stream, wanted) in [
        ("good after bad", format!("{refused}\r\n{end}"), format!("{no}, 200")),
        ("bad after bad", format!("{refused}\r\n{one}"), format!("{no}, {no}")),
        ("good after an unread body", format!("{refused}{}{end}", length(&one)), format!("{no}, 200")),
        ("good after unread chunks", format!("{refused}{}{end}", chunks(&one)), format!("{no}, 200")),
        (
            "a body that waits to be asked for",
            format!("{refused}Expect: 100-continue\r\n{}{end}", length(&one)),
            format!("{no}, 200"),
        ),
        ("a body too long to be read in vain", format!("{refused}{}", length(&many)), no.into()),
        (
            "a tunnel in the tunnel",
            format!("CONNECT {BOUND}:443 HTTP/1.1\r\nHost: {BOUND}:443\r\n\r\n{end}"),
            "400 not-forwarded, 200".into(),
        ),
        (
            "a frame after an upgrade that nobody took",
            format!(
                "GET / HTTP/1.1\r\nHost: {OTHER}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\u{1}\u{5}{one}"
            ),
            "400 malformed".into(),
        ),
        (
            "HTTP/2 after an upgrade that nobody took",
            format!(
                "GET / HTTP/1.1\r\nHost: {OTHER}\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            ),
            "400 malformed".into(),
        ),
    ] {
        let said = stage.say(OTHER, stream.as_bytes());
        let verdicts = verdicts(&said);
        // a connection that was closed instead of drained is as good an end
        assert!(verdicts == wanted || wanted.strip_prefix(&verdicts) == Some(", 200"), "{what}: {verdicts}");
        told.extend(said);
    }
    assert!(stage.other.seen().iter().all(|s| s.target.ends_with("/last")), "{:#?}", stage.other.seen());
    stage.strike(&told);
}

#[test]
fn headers_that_belong_to_one_connection_carry_no_key() {
    let stage = Stage::set();
    let mut told = Vec::new();
    for (header, wanted) in [
        ("Connection: x-api-key\r\nX-Api-Key: <<tool_key>>", "400 malformed, 200"),
        ("Connection: close, X-API-KEY\r\nX-Api-Key: <<tool_key>>", "400 malformed"),
        ("Proxy-Authorization: Bearer <<tool_key>>", "200, 200"),
        ("Proxy-Connection: <<tool_key>>", "200, 200"),
        ("Keep-Alive: <<tool_key>>", "200, 200"),
        ("Connection: <<tool_key>>", "200, 200"),
        ("Proxy-Secret: <<tool_key>>", "403 placeholder-refused, 200"),
        ("Proxy: <<tool_key>>", "403 placeholder-refused, 200"),
        ("Forwarded: by=<<tool_key>>", "403 placeholder-refused, 200"),
        ("X-Forwarded-Host: <<tool_key>>", "403 placeholder-refused, 200"),
        ("X-Original-URL: /<<tool_key>>", "403 placeholder-refused, 200"),
        ("Cookie: a=<<tool_key>>", "403 placeholder-refused, 200"),
        ("Referer: <<tool_key>>", "403 placeholder-refused, 200"),
        ("User-Agent: <<tool_key>>", "403 placeholder-refused, 200"),
        ("Trailer: <<tool_key>>", "403 placeholder-refused, 200"),
        ("locum-tool: <<tool_key>>", "200, 200"),
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: {BOUND}\r\n{header}\r\n\r\n");
        let said = stage.say(BOUND, format!("{head}{}", plain_last(BOUND)).as_bytes());
        assert_eq!(verdicts(&said), wanted, "{header}");
        told.extend(said);
    }
    assert!(stage.bound.seen().iter().all(|s| !format!("{s:?}").contains("<<")), "{:#?}", stage.bound.seen());
    stage.strike(&told);
}

#[test]
fn a_trailer_carries_no_key() {
    let stage = Stage::set();
    let head = format!("POST / HTTP/1.1\r\nHost: {BOUND}\r\nTrailer: x-api-key\r\nTransfer-Encoding: chunked\r\n\r\n");
    let body = "4\r\nabcd\r\n0\r\nX-Api-Key: <<tool_key>>\r\n\r\n";
    let said = stage.say(BOUND, format!("{head}{body}{}", plain_last(BOUND)).as_bytes());
    assert_eq!(verdicts(&said), "200, 200");
    stage.strike(&said);
}
