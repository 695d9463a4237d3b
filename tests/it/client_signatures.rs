//! Requests that a client has signed with a placeholder: no key makes them right, and who is refused for it is told why.

use crate::support::exit::Exit;
use crate::support::locum::{of, stderr, told};
use crate::support::{Home, Upstream};

#[test]
fn a_signature_over_a_placeholder_is_named_where_it_was_refused() {
    let aws = "--aws-sigv4 aws:amz:us-east-1:s3 --user AKIDEXAMPLE:$TOOL_API_KEY";
    let digest = "-H 'Authorization: Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"/\", response=\"0\"'";
    for (options, path, said) in [
        (aws, "status/403", Some("answered 403: the client signed the request (AWS SigV4)")),
        (aws, "status/401", Some("answered 401: the client signed the request (AWS SigV4)")),
        (digest, "status/401", Some("answered 401: the client sent a hash of its password (Digest)")),
        (aws, "status/404", None),
        ("-H \"Authorization: Bearer $TOOL_API_KEY\"", "status/403", None),
    ] {
        let upstream = Upstream::start();
        let exit = Exit::to([("api.tool.example:443", upstream.address)]);
        let proxy = format!("upstream_proxy = \"http://{}\"\n", exit.address);
        let home = Home::with(&proxy, "[key.tool]\nhosts = [\"api.tool.example\"]\n");
        let curl = format!("curl -sS -o /dev/null {options} https://api.tool.example/{path}");
        // more than once is said once
        let output = home.run(&["sh", "-c", &format!("{curl}; {curl}")]);
        assert_eq!(upstream.seen().len(), 2, "{}", told(&output));
        let lines = stderr(&output);
        let hinting: Vec<&str> = lines.lines().filter(|line| line.contains("can't hold: ")).collect();
        let Some(said) = said else {
            assert!(hinting.is_empty(), "{lines}");
            continue;
        };
        let [log, summary] = hinting[..] else { panic!("{lines}") };
        let said = format!("api.tool.example {said}");
        assert!(log.contains(" WARN ") && log.contains(&said) && summary.contains(&said), "{lines}");
        let records = home.audit();
        let told_in_full = |r: &&serde_json::Value| r["reason"].as_str().is_some_and(|why| why.contains("can't hold"));
        assert_eq!(of(&records, "exchange").into_iter().filter(told_in_full).count(), 2, "{records:#?}");
    }
}
