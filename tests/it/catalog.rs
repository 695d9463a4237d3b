//! The catalog as users meet it: a provider with a host for each customer, and one of a file of the user's own.

use crate::support::client::{full, none};
use crate::support::locum::{TOOL_KEY, finish, of, stderr, stdout, told};
use crate::support::{Home, Http, Upstream};
use base64::Engine as _;
use std::os::unix::fs::PermissionsExt as _;

const SHOPIFY_KEY: &str = "shpat_0123456789abcdef0123456789abcdef";
const GHCR_KEY: &str = "ghp_Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4zAb3d";
const ANYSCALE_KEY: &str = "aph0_Ck3vNp8RtQ2wXyZ5bDfHjLm7SgUe";

/// Without a host of theirs nobody's key goes anywhere, and all who could say so do; with one it is a key as any other.
#[tokio::test]
async fn a_key_of_a_provider_with_a_host_for_each_customer_waits_for_that_host() {
    let upstream = Upstream::start();
    let ports = format!("connect_ports = [{}]\n", upstream.port());
    let home = Home::with(&ports, "").set("SHOPIFY_ACCESS_TOKEN", SHOPIFY_KEY);
    let refused = finish(&mut home.locum(&["key", "set", "shopify", "--stdin", "--store", "machine"]));
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    assert!(stderr(&refused).contains("locum key set shopify --host NAME.myshopify.com"), "{}", told(&refused));

    let checked = stdout(&finish(&mut home.locum(&["check"])));
    assert!(checked.contains("key 'shopify' has a value and no host"), "{checked}");
    // the agent has no more than the placeholder, and it goes nowhere
    let told_of = home.run(&["sh", "-c", "echo \"$SHOPIFY_ACCESS_TOKEN\""]);
    assert_eq!(stdout(&told_of), "<<shopify_key>>\n", "{}", told(&told_of));
    assert!(stderr(&told_of).contains("SHOPIFY_ACCESS_TOKEN is set, and no host is known"), "{}", told(&told_of));

    let authority = upstream.authority();
    let args = ["key", "set", "shopify", "--stdin", "--store", "machine", "--host", &authority];
    let mut command = home.command("sh");
    let locum = format!(
        "printf {SHOPIFY_KEY} | '{}' --config '{}' --state '{}' {}",
        env!("CARGO_BIN_EXE_locum"),
        home.config().display(),
        home.state().display(),
        args.join(" ")
    );
    let set = finish(command.args(["-c", &locum]));
    assert!(set.status.success(), "{}", told(&set));
    // a company's gateway may stand there, but a slip as well
    assert!(stderr(&set).contains("hosts of Shopify look like NAME.myshopify.com"), "{}", told(&set));

    let serve = home.serve();
    let mut client = serve.client(&upstream, Http::Two).await;
    let request = client.request("GET", "/echo").header("x-shopify-access-token", "<<shopify_key>>");
    assert_eq!(client.ask(request.body(none()).unwrap()).await.status, 200);
    assert_eq!(upstream.only().header("x-shopify-access-token").as_deref(), Some(SHOPIFY_KEY));
    let request = client.request("GET", "/echo").header("x-other", "<<shopify_key>>");
    assert_eq!(client.ask(request.body(none()).unwrap()).await.status, 403, "it has the places of the catalog");
    assert_eq!(of(&serve.drained().await.audit(), "substitution").len(), 1);
}

/// A registry is asked for a token by Basic, and Anyscale's client sends a cookie: each key goes there, and nowhere else.
#[tokio::test]
async fn a_key_goes_to_the_one_place_where_its_own_client_puts_it() {
    let upstream = Upstream::start();
    let authority = upstream.authority();
    let hosts = |name: &str| format!("[key.{name}]\nhosts = [\"{authority}\"]\n");
    let ports = format!("connect_ports = [{}]\n", upstream.port());
    let home = Home::with(&ports, &(hosts("ghcr") + &hosts("anyscale")))
        .set("CR_PAT", GHCR_KEY)
        .set("ANYSCALE_CLI_TOKEN", ANYSCALE_KEY);
    let serve = home.serve();
    let mut client = serve.client(&upstream, Http::Two).await;
    let basic = |key: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("me:{key}")));
    for (header, sent, status) in [
        ("authorization", basic("<<ghcr_key>>"), 200),
        ("authorization", "Bearer <<ghcr_key>>".into(), 403),
        ("cookie", "cli_token=<<anyscale_key>>".into(), 200),
        ("authorization", "Bearer <<anyscale_key>>".into(), 403),
    ] {
        let answer = client.ask(client.request("GET", "/echo").header(header, &sent).body(none()).unwrap()).await;
        assert_eq!(answer.status, status, "{sent}: {}", answer.text());
    }
    let [registry, console] = upstream.await_seen(2).try_into().expect("the two that were not refused");
    assert_eq!(registry.header("authorization"), Some(basic(GHCR_KEY)));
    assert_eq!(console.header("cookie"), Some(format!("cli_token={ANYSCALE_KEY}")));
}

#[test]
fn a_star_over_everybodys_hosts_and_a_table_without_a_host_are_told() {
    let home = Home::with("", "[key.zendesk]\nhosts = [\"*.zendesk.com\"]\n[key.shopify]\nmax_uses = 2\n");
    let checked = finish(&mut home.locum(&["check"]));
    let said = stdout(&checked);
    assert!(said.contains("bound to *.zendesk.com, where strangers have hosts too"), "{said}");
    assert!(said.contains("the key 'shopify' has no hosts"), "{said}");
    assert!(said.contains("hosts = [\"NAME.myshopify.com\"]"), "{said}");
    assert_eq!(checked.status.code(), Some(1));
}

/// A provider that the user's company wrote down is as good as one of ours, for `run` and for the proxy.
#[tokio::test]
async fn a_provider_of_a_file_of_ones_own_is_used() {
    let upstream = Upstream::start();
    let ports = format!("connect_ports = [{}]\n", upstream.port());
    let home = Home::with(&ports, "[catalog]\nfiles = [\"company.toml\"]\n").set("ACME_TOKEN", TOOL_KEY);
    let entry = format!(
        "[acme]\ntitle = \"Acme\"\nhosts = [\"{}\"]\nwhere = [\"body:/key\"]\nenv = [\"ACME_TOKEN\"]\n\
         revoke = \"https://acme.example/keys\"\n",
        upstream.authority()
    );
    std::fs::write(home.path().join("company.toml"), &entry).unwrap();
    let seen = home.run(&["sh", "-c", "echo \"$ACME_TOKEN\""]);
    assert_eq!(stdout(&seen), "<<acme_key>>\n", "{}", told(&seen));
    let listed = stdout(&finish(&mut home.locum(&["key", "providers", "--json"])));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let row = |name: &str| listed.as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
    assert_eq!((&row("acme")["env"][0], &row("acme")["file"]["line"]), (&"ACME_TOKEN".into(), &1.into()));
    assert_eq!(row("azure_openai")["tenant"][0], "NAME.openai.azure.com");
    assert_eq!(row("acme")["test"], serde_json::Value::Null);
    assert_eq!(row("mistral")["test"][0], "GET https://api.mistral.ai/v1/models");
    assert_eq!(row("mistral")["usage"], "https://admin.mistral.ai/organization/usage");

    let serve = home.serve();
    let mut client = serve.client(&upstream, Http::Two).await;
    let request = client.request("POST", "/echo").header("content-type", "application/json");
    let answer = client.ask(request.body(full("{\"key\":\"<<acme_key>>\",\"text\":\"<<acme_key>>\"}")).unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(upstream.only().text(), format!("{{\"key\":\"{TOOL_KEY}\",\"text\":\"<<acme_key>>\"}}"));
}

#[test]
fn what_is_wrong_in_a_file_of_ones_own_is_told_as_of_the_config() {
    let home = Home::with("", "[catalog]\nfiles = [\"company.toml\", \"none.toml\"]\n");
    let file = home.path().join("company.toml");
    std::fs::write(&file, "[acme]\nhosts = [\"*.com\"]\n[openai]\nhosts = [\"llm.acme.example\"]\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    let checked = finish(&mut home.locum(&["check"]));
    let said = stdout(&checked);
    for expected in [
        "company.toml:2:10: hosts: '*.com' covers hosts of strangers",
        "company.toml: is writable by others",
        "none.toml: can't be read",
        "company.toml:3:2: warning: the provider 'openai' takes the place of locum's own as a whole",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    assert_eq!(checked.status.code(), Some(1));
    let output = finish(&mut home.locum(&["key", "list"]));
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
}

#[test]
fn providers_are_a_table_for_people() {
    let home = Home::bare("");
    let listed = stdout(&finish(&mut home.locum(&["key", "providers"])));
    assert!(listed.starts_with("NAME "), "{listed}");
    let row = |name: &str| listed.lines().find(|line| line.split(' ').next() == Some(name)).unwrap();
    assert!(
        row("azure_openai").contains("NAME.openai.azure.com") && row("azure_openai").contains("AZURE_OPENAI_API_KEY")
    );
    assert!(row("github").contains("https://github.com/settings/tokens"), "{}", row("github"));
}
