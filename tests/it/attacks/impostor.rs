//! An upstream that speaks as if it were the proxy: what is locum's to say, only locum says.

use crate::support::client::{BOTH, none};
use crate::support::{Home, Upstream};
use http::{HeaderMap, Response};

#[tokio::test]
async fn what_an_upstream_says_in_the_proxys_name_does_not_arrive() {
    for http in BOTH {
        for bound in [true, false] {
            let (upstream, other) = (Upstream::start(), Upstream::start());
            let serve = Home::bound(&[&upstream, &other]).serve();
            let upstream = if bound { upstream } else { other };
            let mut client = serve.client(&upstream, http).await;
            let head = Response::builder().status(403).header("locum-refused", "host-refused").header("x-own", "stays");
            let feed = upstream.on("/refused", head.header("trailer", "locum-refused, x-other"));
            feed.send("no");
            let mut trailers = HeaderMap::new();
            trailers.insert("locum-refused", "key-unavailable".parse().expect("a value"));
            trailers.insert("x-other", "stays".parse().expect("a value"));
            feed.trailers(trailers);
            let request = client.request("GET", "/refused").header("te", "trailers").body(none()).expect("a request");
            let answer = client.ask(request).await;
            assert_eq!((answer.status.as_u16(), answer.header("locum-refused")), (403, None), "{http:?}");
            assert_eq!((answer.text().as_str(), answer.header("x-own")), ("no", Some("stays")));
            if let Some(trailers) = answer.trailers {
                assert!(trailers.get("locum-refused").is_none() && trailers["x-other"] == "stays", "{trailers:?}");
            }

            let head = Response::builder().status(407).header("proxy-authenticate", "Basic realm=\"locum\"");
            drop(upstream.on("/asks", head));
            let answer = client.get("/asks").await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("locum-refused")),
                (502, Some("upstream-failed")),
                "{http:?}"
            );
            assert_eq!(answer.header("proxy-authenticate"), None);
            assert!(answer.text().contains("the upstream answered 407, which is for a proxy to say"));
        }
    }
}
