//! Text that begins like JSON, like a form or like a form of several parts gets no key; what is one, to the letter, does.

use crate::support::client::{BOTH, Sent, full, generated};
use crate::support::coded::encode;
use crate::support::locum::{TOOL_KEY, of, stdout, told};
use crate::support::websocket::{Socket, open};
use crate::support::{Client, Home, Http, Serve, Upstream};
use bytes::Bytes;
use locum::proxy::wire::ws_frames::Opcode;
use std::sync::mpsc;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=b";

/// Types under which a body may be JSON only as a whole.
const TEXTS: [&str; 7] = [
    "text/plain",
    "text/plain;charset=UTF-8",
    "text/markdown; variant=GFM",
    "Text/CSV",
    "application/xml",
    "application/x-markdown",
    FORM,
];

/// Types that say JSON, or nothing.
const OTHERS: [&str; 5] = ["", "application/octet-stream", "application/x-of-mine", JSON, "application/x-ndjson"];

/// What is no JSON up to the placeholder.
const FAULT_BEFORE: [&[u8]; 30] = [
    b"[notes]: he said \"<<tool_key>>\" today",
    b"[notes]: he said, \"<<tool_key>>\", today",
    b"{draft} he said \"<<tool_key>>\" today",
    b"[he said \"<<tool_key>>\"]",
    b"[\"a\" \"<<tool_key>>\"]",
    b"{'a': \"<<tool_key>>\"}",
    b"{a: \"<<tool_key>>\"}",
    b"{\"a\" \"<<tool_key>>\"}",
    b"{\"a\":1 \"b\":\"<<tool_key>>\"}",
    b"{\"a\":1;\"b\":\"<<tool_key>>\"}",
    b"[1,,\"<<tool_key>>\"]",
    b"[,\"<<tool_key>>\"]",
    b"[NaN, \"<<tool_key>>\"]",
    b"[True, \"<<tool_key>>\"]",
    b"[nul, \"<<tool_key>>\"]",
    b"[01, \"<<tool_key>>\"]",
    b"[+1, \"<<tool_key>>\"]",
    b"[1., \"<<tool_key>>\"]",
    b"[0x1f, \"<<tool_key>>\"]",
    b"[// a note\n\"<<tool_key>>\"]",
    b"{\"a\":/* a note */\"<<tool_key>>\"}",
    b"[\"a\nb\", \"<<tool_key>>\"]",
    b"[\"a\\x41\", \"<<tool_key>>\"]",
    b"[\"\\u12g4\", \"<<tool_key>>\"]",
    b"[\"\xff\", \"<<tool_key>>\"]",
    b"[\"\xc0\xaf\", \"<<tool_key>>\"]",
    b"[\"\\ud800\", \"<<tool_key>>\"]",
    b"[\"a\0b\", \"<<tool_key>>\"]",
    b"[\0\"<<tool_key>>\"]",
    b"{\"a\":1}} \"b\", [\"<<tool_key>>\"]",
];

/// What is no whole value, or what follows it says so.
const NO_VALUE: [&[u8]; 8] = [
    b"\"<<tool_key>>\" he said",
    b"\"<<tool_key>>\": he said",
    b"\"he said\" \"<<tool_key>>\"",
    b"[1] \"<<tool_key>>\" [2]",
    b"[\"<<tool_key>>\"",
    b"{\"a\":[\"<<tool_key>>\"}",
    b"{\"<<tool_key>>\":1}",
    b"[\"say <<tool_key>>\", \"<<tool_key>> it is\"]",
];

/// What turns out to be no JSON behind the placeholder, which is too late where it streams.
const FAULT_BEHIND: [&[u8]; 12] = [
    b"{\"a\":\"<<tool_key>>\"} trailing words",
    b"{\"a\":\"<<tool_key>>\",}",
    b"[\"<<tool_key>>\",]",
    b"[\"<<tool_key>>\",,1]",
    b"[\"<<tool_key>>\"]]",
    b"[\"<<tool_key>>\", {\"a\":1]",
    b"[\"<<tool_key>>\", \"a\nb\"]",
    b"[\"<<tool_key>>\", \"\\udc00\"]",
    b"[\"<<tool_key>>\", \"\xe2\x82\"]",
    b"[\"<<tool_key>>\", Infinity]",
    b"[\"<<tool_key>>\"]\0",
    b"[\"<<tool_key>>\"]: he said",
];

/// What only a type that says JSON makes a value, and what is a value under no type at all.
const SCALARS: [&[u8]; 2] = [b"\"<<tool_key>>\"", b" \"<<tool_key>>\"\n"];

/// What has a type that it isn't.
const NO_FORM: [(&str, &[u8]); 12] = [
    ("text/plain", b"he said &a=<<tool_key>>& today"),
    ("", b"a=<<tool_key>>&b=1"),
    (FORM, b"he said &a=<<tool_key>>& today"),
    (FORM, b"[notes] he said &a=<<tool_key>>&"),
    (FORM, b"text=he said\r\n&a=<<tool_key>>&b=1"),
    (FORM, b"text=100%&a=<<tool_key>>&b=1"),
    (FORM, b"\xe5\xbd\xbc&a=<<tool_key>>&b=1"),
    (FORM, b"{\"a\":\"b&c=<<tool_key>>&d\"}"),
    (MULTIPART, b"He said:\r\n--b\r\nContent-Disposition: form-data; name=a\r\n\r\n<<tool_key>>\r\n--b--\r\n"),
    (MULTIPART, b"--b\r\nhe said\r\nContent-Disposition: form-data; name=a\r\n\r\n<<tool_key>>\r\n--b--\r\n"),
    (MULTIPART, b"--b\r\nContent-Disposition: form-data; name=a; filename=a\r\n\r\n<<tool_key>>\r\n--b--\r\n"),
    ("text/plain", b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n<<tool_key>>\r\n--b--\r\n"),
];

/// The same, where it shows only behind the placeholder.
const NO_FORM_BEHIND: [(&str, &[u8]); 4] = [
    (FORM, b"a=<<tool_key>>&he said"),
    (FORM, b"a=<<tool_key>>&b=%zz"),
    (MULTIPART, b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n<<tool_key>>\r\n--b\r\n"),
    (MULTIPART, b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n<<tool_key>>\r\n--b--\r\nhe said"),
];

/// How a body comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// With its length.
    Held,
    /// Without, and cut everywhere.
    Streamed,
}

fn body(way: Way, bytes: &[u8]) -> Sent {
    match way {
        Way::Held => full(bytes.to_vec()),
        Way::Streamed => {
            let pieces: Vec<Bytes> = bytes.chunks(5).map(Bytes::copy_from_slice).collect();
            generated(pieces.into_iter())
        }
    }
}

struct Stage {
    upstream: Upstream,
    serve: Serve,
    client: Client,
    sent: usize,
}

impl Stage {
    async fn new(http: Http, key: &str) -> Self {
        let upstream = Upstream::speaking(if http == Http::One { &["http/1.1"] } else { &["h2"] });
        let key = format!("[key.tool]\nhosts = [\"{}\"]\n{key}", upstream.authority());
        let serve = Home::with(&format!("connect_ports = [{}]\n", upstream.port()), &key).serve();
        let client = serve.client(&upstream, http).await;
        Self { upstream, serve, client, sent: 0 }
    }

    /// What of a body arrives.
    async fn arrives(&mut self, way: Way, content_type: &str, bytes: &[u8]) -> String {
        let mut request = self.client.request("POST", "/status/200");
        if !content_type.is_empty() {
            request = request.header("content-type", content_type);
        }
        let answer = self.client.ask(request.body(body(way, bytes)).unwrap()).await;
        assert_eq!(answer.status, 200, "{way:?} {content_type}: {}: {}", bytes.escape_ascii(), answer.text());
        self.sent += 1;
        self.upstream.await_seen(self.sent).pop().unwrap().body.escape_ascii().to_string()
    }

    async fn stays(&mut self, way: Way, content_type: &str, bytes: &[u8]) {
        let seen = self.arrives(way, content_type, bytes).await;
        assert_eq!(seen, bytes.escape_ascii().to_string(), "{way:?} {content_type}");
    }

    async fn gets_its_key(&mut self, way: Way, content_type: &str, text: &str, want: &str) {
        let seen = self.arrives(way, content_type, text.as_bytes()).await;
        let want = want.replace("KEY", TOOL_KEY);
        assert_eq!(seen, want.as_bytes().escape_ascii().to_string(), "{way:?} {content_type}: {text}");
    }

    async fn used(self) -> u64 {
        drop(self.client);
        let records = self.serve.drained().await.audit();
        of(&records, "substitution").iter().map(|r| r["count"].as_u64().unwrap()).sum()
    }
}

#[tokio::test]
async fn running_text_that_begins_like_json_gets_no_key() {
    for http in BOTH {
        let mut stage = Stage::new(http, "").await;
        for way in [Way::Held, Way::Streamed] {
            for content_type in TEXTS {
                let late: &[&[u8]] = &FAULT_BEHIND;
                for bytes in FAULT_BEFORE.iter().chain(&NO_VALUE).chain(late).chain(&SCALARS) {
                    stage.stays(way, content_type, bytes).await;
                }
            }
            for content_type in OTHERS {
                let late = FAULT_BEHIND.iter().filter(|_| way == Way::Held);
                for bytes in FAULT_BEFORE.iter().chain(&NO_VALUE).chain(late) {
                    stage.stays(way, content_type, bytes).await;
                }
            }
            for content_type in ["", "application/octet-stream", "application/x-of-mine"] {
                for bytes in SCALARS {
                    stage.stays(way, content_type, bytes).await;
                }
            }
        }
        assert!(stage.sent > 1000, "{}", stage.sent);
        assert_eq!(stage.used().await, 0, "{http:?}");
    }
}

#[tokio::test]
async fn what_is_no_form_but_says_so_gets_no_key() {
    for http in BOTH {
        let mut stage = Stage::new(http, "").await;
        for way in [Way::Held, Way::Streamed] {
            for (content_type, bytes) in NO_FORM.iter().chain(NO_FORM_BEHIND.iter().filter(|_| way == Way::Held)) {
                stage.stays(way, content_type, bytes).await;
            }
        }
        assert_eq!(stage.used().await, 0, "{http:?}");
    }
}

/// Under a type that says text a body counts as JSON as a whole only, and one that streams is never there as a whole.
#[tokio::test]
async fn json_that_streams_as_text_stays() {
    let mut stage = Stage::new(Http::One, "").await;
    let long = format!("{{\"a\":\"<<tool_key>>\",\"b\":\"{}\"}}", "x".repeat(300_000));
    for content_type in TEXTS {
        stage.stays(Way::Streamed, content_type, b"{\"a\":\"<<tool_key>>\"}").await;
        stage.stays(Way::Held, content_type, long.as_bytes()).await;
    }
    assert_eq!(stage.used().await, 0);
}

#[tokio::test]
async fn json_to_the_letter_gets_its_key() {
    let object = ("{\"a\": \"<<tool_key>>\", \"b\": [1]}\n", "{\"a\": \"KEY\", \"b\": [1]}\n");
    let both = [
        (JSON, object),
        ("application/vnd.mine+json; v=1", object),
        ("application/octet-stream", object),
        ("", object),
        // as Go's json.Marshal writes it
        (JSON, ("{\"a\":\"\\u003c\\u003ctool_key\\u003e\\u003e\"}", "{\"a\":\"KEY\"}")),
        (JSON, ("\u{feff}[\"<<tool_key>>\"]", "\u{feff}[\"KEY\"]")),
        (JSON, (" \r\n\t[\"<<tool_key>>\" \n] \n", " \r\n\t[\"KEY\" \n] \n")),
        (JSON, ("\"<<tool_key>>\"\n", "\"KEY\"\n")),
        (
            JSON,
            (
                "[\"\\ud83d\\ude00 é\\n\\u00e9 \u{1f600}\",\"<<tool_key>>\"]",
                "[\"\\ud83d\\ude00 é\\n\\u00e9 \u{1f600}\",\"KEY\"]",
            ),
        ),
        (
            JSON,
            (
                "[-0.5e+10, true, null, false, {}, [], \"<<tool_key>>\"]",
                "[-0.5e+10, true, null, false, {}, [], \"KEY\"]",
            ),
        ),
        ("application/x-ndjson", ("{\"a\":1}\n{\"a\":\"<<tool_key>>\"}\n", "{\"a\":1}\n{\"a\":\"KEY\"}\n")),
        ("application/jsonl", ("\"<<tool_key>>\"\r\n[\"<<tool_key>>\"]\r\n", "\"KEY\"\r\n[\"KEY\"]\r\n")),
        (JSON, ("{\"index\":{}}\n{\"a\":\"<<tool_key>>\"}\n", "{\"index\":{}}\n{\"a\":\"KEY\"}\n")),
        ("", ("{\"a\":\"<<tool_key>>\"}{\"a\":2}", "{\"a\":\"KEY\"}{\"a\":2}")),
        (FORM, ("a=%3C%3Ctool_key%3E%3E&b=<<tool_key>>&c=x+y", "a=KEY&b=KEY&c=x+y")),
        (
            MULTIPART,
            (
                "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n<<tool_key>>\r\n--b--\r\n",
                "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nKEY\r\n--b--\r\n",
            ),
        ),
    ];
    let array = ("[\"<<tool_key>>\",\"say <<tool_key>>\"]", "[\"KEY\",\"say <<tool_key>>\"]");
    for http in BOTH {
        let mut stage = Stage::new(http, "").await;
        let mut uses = 0;
        for way in [Way::Held, Way::Streamed] {
            for (content_type, (text, want)) in both {
                stage.gets_its_key(way, content_type, text, want).await;
                uses += want.matches("KEY").count() as u64;
            }
        }
        for (content_type, (text, want)) in TEXTS.iter().flat_map(|t| [(t, object), (t, array)]) {
            stage.gets_its_key(Way::Held, content_type, text, want).await;
            uses += 1;
        }
        stage.gets_its_key(Way::Held, MULTIPART, object.0, object.1).await;
        assert_eq!(stage.used().await, uses + 1, "{http:?}");
    }
}

#[tokio::test]
async fn pointers_and_fields_are_held_to_the_same_letter() {
    for way in [Way::Held, Way::Streamed] {
        let mut stage = Stage::new(Http::One, "where = [\"body:/a/1/k\", \"body:api_key\"]\n").await;
        let nested = "{\"a\":[0,{\"k\":\"<<tool_key>>\"}],\"k\":\"<<tool_key>>\"}";
        stage.gets_its_key(way, JSON, nested, &nested.replacen("<<tool_key>>", "KEY", 1)).await;
        stage.gets_its_key(way, FORM, "api_key=<<tool_key>>&b=<<tool_key>>", "api_key=KEY&b=<<tool_key>>").await;
        for bytes in [
            &b"{\"a\":[0 ,{'x':1,\"k\":\"<<tool_key>>\"}]}"[..],
            b"{\"a\":[00,{\"k\":\"<<tool_key>>\"}]}",
            b"{\"a\":[0,{\"k\":\"<<tool_key>>\"",
        ] {
            stage.stays(way, JSON, bytes).await;
            stage.stays(way, "text/plain", bytes).await;
        }
        stage.stays(way, FORM, b"text=he said&api_key=<<tool_key>>&b=1").await;
        assert_eq!(stage.used().await, 2, "{way:?}");
    }
}

#[tokio::test]
async fn a_coded_body_is_judged_by_all_that_it_unfolds_to() {
    let mut stage = Stage::new(Http::One, "").await;
    let filler = format!("\"{}\"", "x".repeat(200_000));
    let whole = format!("[\"<<tool_key>>\",{filler}]");
    for (content_type, text, gets) in [
        (JSON, whole.clone(), true),
        ("text/plain", whole.clone(), true),
        (JSON, format!("{whole} he said"), false),
        ("text/plain", format!("{whole} he said"), false),
        (JSON, format!("[\"<<tool_key>>\",{filler}"), false),
        (FORM, format!("a=<<tool_key>>&b={}", "x".repeat(200_000)), true),
        (FORM, format!("a=<<tool_key>>&b={} he said", "x".repeat(200_000)), false),
    ] {
        for coding in ["gzip", "br", "zstd", "deflate, gzip"] {
            let sent = encode(coding, text.as_bytes());
            let request = stage.client.request("POST", "/status/200").header("content-encoding", coding);
            let request = request.header("content-type", content_type).body(full(sent.clone())).unwrap();
            assert_eq!(stage.client.ask(request).await.status, 200, "{coding}");
            stage.sent += 1;
            let seen = stage.upstream.await_seen(stage.sent).pop().unwrap().body;
            if gets {
                let text = text.replace("<<tool_key>>", TOOL_KEY);
                assert!(crate::support::coded::decode(coding, &seen).unwrap() == text.as_bytes(), "{coding}");
            } else {
                assert!(seen == sent, "{coding}: {content_type}: not the bytes that came");
            }
        }
    }
    assert_eq!(stage.used().await, 3 * 4);
}

#[test]
fn curl_sends_json_under_the_type_of_a_form() {
    let upstream = Upstream::start();
    let serve = Home::bound(&[&upstream]).serve();
    for (number, (data, want)) in [
        (r#"{"key": "<<tool_key>>"}"#, format!("{{\"key\": \"{TOOL_KEY}\"}}")),
        ("key=<<tool_key>>", format!("key={TOOL_KEY}")),
        ("[notes] he said &key=<<tool_key>>&", "[notes] he said &key=<<tool_key>>&".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let output = serve.curl(&["-d", data, &upstream.url("/echo")]);
        assert!(output.status.success(), "{}", told(&output));
        assert_eq!(upstream.await_seen(number + 1)[number].text(), want);
    }
}

/// Which would be the way round: a page that breaks the JSON it is quoted in, and so gets keys into its text.
#[test]
fn a_message_that_begins_like_json_and_is_none_gets_no_key() {
    let (tell, seen) = mpsc::channel();
    let upstream = Socket::open(move |mut peer| tell.send(peer.echo()).expect("the test"));
    let port = upstream.authority().rsplit_once(':').expect("a port").1.to_owned();
    let key = format!("[key.tool]\nhosts = [\"{}\"]\nwhere = [\"ws\"]\n", upstream.authority());
    let serve = Home::with(&format!("connect_ports = [{port}]\n"), &key).serve();
    let (_, mut client) = open(&serve, &upstream.authority(), "").expect("a WebSocket");
    let messages = [
        ("AUTH <<tool_key>>", "AUTH KEY"),
        ("42[\"auth\",\"<<tool_key>>\"]", "42[\"auth\",\"KEY\"]"),
        ("\"<<tool_key>>\"", "\"KEY\""),
        ("{\"a\":\"<<tool_key>>\"}", "{\"a\":\"KEY\"}"),
        ("{\"say\":\"use <<tool_key>>\",}", ""),
        ("{\"say\":\"\\ud83d use <<tool_key>>\"}", ""),
        ("[notes]: he said \"<<tool_key>>\" today", ""),
        ("\"<<tool_key>>\" he said <<tool_key>>", ""),
    ];
    for (message, _) in messages {
        client.text(message);
        assert_eq!(client.said(), message);
        let (first, rest) = message.split_at(message.find("ool").unwrap());
        client.send(Opcode::Text, false, first);
        client.send(Opcode::Continuation, true, rest);
        assert_eq!(client.said(), message);
    }
    let late = "{\"a\":\"<<tool_key>>\"} he said";
    client.text(late);
    assert_eq!(client.said(), late);
    client.send(Opcode::Close, true, 1000_u16.to_be_bytes());
    while client.next().is_some() {}
    let seen: Vec<(Opcode, Vec<u8>)> = seen.recv().expect("what was seen");
    let seen: Vec<_> = seen.iter().map(|(_, text)| String::from_utf8_lossy(text).into_owned()).collect();
    for (seen, (message, want)) in seen.chunks(2).zip(messages) {
        let want = if want.is_empty() { message.to_owned() } else { want.replace("KEY", TOOL_KEY) };
        assert_eq!(seen, [want.clone(), want], "{message}");
    }
    assert_eq!(seen[2 * messages.len()], late);
}

/// `locum explain` judges as the service does.
#[test]
fn explain_says_that_running_text_stays() {
    let home = Home::with("", "[key.tool]\nhosts = [\"api.tool.example\"]\n");
    for (body, said) in [
        ("{\"a\":\"<<tool_key>>\"}", "  replaced  <<tool_key>> in body, 1x"),
        ("{\"a\":\"<<tool_key>>\"} he said", "  kept      1 in the body, as text"),
        ("[notes]: he said \"<<tool_key>>\" today", "  kept      1 in the body, as text"),
    ] {
        let args = ["explain", "POST", "https://api.tool.example/", "-H", "Content-Type: text/plain", "--body", body];
        let output = crate::support::locum::finish(&mut home.locum(&args));
        assert!(stdout(&output).contains(said), "{body}: {}", told(&output));
    }
}
