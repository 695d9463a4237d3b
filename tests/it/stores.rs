//! The stores of keys, as a person at the command line has them: the vault and its faults, the store of the machine, files
//! that keys are moved out of, a real Secret Service.

use crate::support::client::none;
use crate::support::locum::{finish, stderr, stdout, told};
use crate::support::stores::{KEY, SecretService, locum, transcript, with_vault};
use crate::support::{HANGS, Home, Http, Upstream};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Instant;

fn vault_file(home: &Home) -> PathBuf {
    home.state().join("vault")
}

#[test]
fn a_vault_from_its_making_to_a_new_key_in_it() {
    let home = with_vault("correct horse battery");
    assert_eq!(
        transcript(&home, &["key", "set", "tool", "--stdin", "--store", "vault"], KEY),
        "error: there is no vault yet\n  next: make one with 'locum vault init'\n[4]\n"
    );
    assert_eq!(
        transcript(&home, &["vault", "init"], ""),
        "made ~/state/vault; 'locum key set NAME --store vault' puts keys into it\n\
         the password is kept nowhere: without it the keys are lost\n[0]\n"
    );
    assert_eq!(
        transcript(&home, &["vault", "init"], ""),
        "error: vault ~/state/vault exists already\n  next: change its password with 'locum vault passwd'\n[4]\n"
    );
    assert_eq!(
        transcript(&home, &["key", "set", "tool", "--stdin", "--store", "vault"], KEY),
        "tool is in the vault ~/state/vault; an agent writes <<tool_key>>\n\
         where it may go is in ~/locum.toml\n\
         a service that runs already takes it over with 'locum reload'\n[0]\n"
    );
    let bytes = std::fs::read(vault_file(&home)).expect("the vault");
    assert!(memchr::memmem::find(&bytes, KEY.as_bytes()).is_none());
    let list = transcript(&home, &["key", "list"], "");
    assert!(list.contains("<<tool_key>>") && list.contains("…WXYZ") && !list.contains(KEY), "{list}");
}

#[test]
fn each_fault_of_a_vault_is_told_apart() {
    let home = with_vault("correct horse battery");
    assert!(locum(&home, &["vault", "init"], "").status.success());
    assert!(locum(&home, &["key", "set", "tool", "--stdin", "--store", "vault"], KEY).status.success());
    let whole = std::fs::read(vault_file(&home)).expect("the vault");
    let wrong = home.set("LOCUM_MASTER_PASSWORD", "another one");
    let set = ["key", "set", "tool", "--stdin", "--store", "vault"];
    assert_eq!(
        transcript(&wrong, &set, KEY),
        "error: vault ~/state/vault does not open with this password\n  next: try again with the right master password\n[4]\n"
    );
    let home = wrong.set("LOCUM_MASTER_PASSWORD", "correct horse battery");
    let restore = "restore it from a backup, and see who can write to its folder";
    let newer = "use the locum that wrote it, or a later one; if there is none, restore a backup";
    for (change, said, next) in [
        (&(|b: &mut Vec<u8>| b.truncate(100)) as &dyn Fn(&mut Vec<u8>), "is cut short", restore),
        (
            &|b| b.truncate(0),
            "is no vault",
            "restore it from a backup, or move it away and make one with 'locum vault init'",
        ),
        (&|b| b[8] += 1, "was written by a newer locum", newer),
        (&|b| b[30] ^= 1, "was altered or damaged", restore),
        (&|b| *b.last_mut().expect("a byte") ^= 1, "was altered or damaged", restore),
    ] {
        let mut bytes = whole.clone();
        change(&mut bytes);
        std::fs::write(vault_file(&home), bytes).expect("the vault");
        let want = format!("error: vault ~/state/vault {said}\n  next: {next}\n[4]\n");
        assert_eq!(transcript(&home, &set, KEY), want);
    }
    std::fs::write(vault_file(&home), whole).expect("the vault");
    std::fs::set_permissions(vault_file(&home), std::fs::Permissions::from_mode(0o644)).expect("a mode");
    assert_eq!(
        transcript(&home, &set, KEY),
        "error: ~/state/vault is open to other users\n  next: chmod 600 ~/state/vault\n[4]\n"
    );
}

#[test]
fn an_old_copy_of_a_vault_is_found_and_counts_once_a_person_says_so() {
    let home = with_vault("correct horse battery");
    assert!(locum(&home, &["vault", "init"], "").status.success());
    let set = ["key", "set", "tool", "--stdin", "--store"];
    for (file, store, name) in [("vault", "vault", "vault"), ("machine.store", "machine", "machine-bound store")] {
        let path = home.state().join(file);
        let set = |value: &str| transcript(&home, &[&set[..], &[store]].concat(), value);
        set(KEY);
        set(KEY);
        let old = std::fs::read(&path).expect("the file");
        set("tk-7a3d5826b1-Yb5NcM1dJh-QRST");
        let new = std::fs::read(&path).expect("the file");

        std::fs::write(&path, &old).expect("the old copy");
        let next = "if you restored or moved it, run 'locum vault accept'; if not, restore the newest copy, and see who can \
                    write to its folder";
        let said = set(KEY);
        let (generation, rest) = (said.find("generation ").expect("which"), " so an old copy was put in its place");
        assert!(
            said.starts_with(&format!("error: {name} ~/state/{file} is older than one that was seen here: ")),
            "{said}"
        );
        assert!(said[generation..].contains(rest) && said.ends_with(&format!("\n  next: {next}\n[4]\n")), "{said}");

        // nor is what was seen set back by whoever can write there
        let record = home.state().join(format!("{file}.seen"));
        let seen = std::fs::read_to_string(&record).expect("a record");
        let forged = seen.split_once(' ').expect("a number and a code").1;
        std::fs::write(&record, format!("1 {forged}")).expect("a forged record");
        assert!(set(KEY).contains("a record of another vault's generations, or one that was changed"));
        std::fs::remove_file(&record).expect("no record");
        assert!(set(KEY).contains("which was seen here last isn't known"));
        std::fs::write(&record, &seen).expect("the record");
        std::fs::set_permissions(&record, std::fs::Permissions::from_mode(0o600)).expect("a mode");

        let said = transcript(&home, &["vault", "accept"], "");
        let told = format!("~/state/{file} counts from now on; it is older than one that was seen here: generation ");
        assert!(said.contains(&told) && said.ends_with("[0]\n"), "{said}");
        assert!(transcript(&home, &["vault", "accept"], "").contains(&format!("~/state/{file} is as new as any")));
        std::fs::write(&path, &new).expect("the copy that was newer");
        assert!(set(KEY).contains("is older than one that was seen here"), "what was accepted is newer than all");
        assert!(transcript(&home, &["vault", "accept"], "").ends_with("[0]\n"));
        assert!(set(KEY).ends_with("[0]\n"));
    }
}

#[test]
fn an_old_vault_is_opened_and_harder_to_guess_at_once_it_is_written() {
    let home = with_vault("correct horse battery staple ü");
    let first: &[u8] = include_bytes!("../data/vault-v1-argon2id");
    std::fs::create_dir_all(home.state()).expect("a folder");
    std::fs::set_permissions(home.state(), std::fs::Permissions::from_mode(0o700)).expect("a mode");
    std::fs::write(vault_file(&home), first).expect("a vault of the first version");
    std::fs::set_permissions(vault_file(&home), std::fs::Permissions::from_mode(0o600)).expect("a mode");
    let function = || std::fs::read(vault_file(&home)).expect("the vault")[9..22].to_vec();
    let before = function();
    let list = transcript(&home, &["key", "list"], "");
    assert!(list.ends_with("[0]\n"), "{list}");
    assert_eq!(function(), before, "nothing was written");
    assert!(transcript(&home, &["key", "set", "tool", "--stdin", "--store", "vault"], KEY).ends_with("[0]\n"));
    // RFC 9106, section 4: Argon2id with 64 MiB, three passes, four lanes
    assert_eq!(function(), [&[2][..], &65_536_u32.to_be_bytes(), &[0, 0, 0, 3, 0, 0, 0, 4]].concat());
    std::fs::write(vault_file(&home), first).expect("the first version again");
    let said = transcript(&home, &["key", "set", "tool", "--stdin", "--store", "vault"], KEY);
    assert!(said.contains("generation 0 of 1"), "it is a copy of long ago: {said}");
}

#[test]
fn a_password_that_may_be_guessed_in_time_is_advised_against() {
    let advice = "locum: warning: the password has under 12 characters: who gets at the file may guess it in time\n  \
                  next: choose five words at random, with 'locum vault passwd'\n";
    for (password, advised) in
        [("eight888", true), ("eleven11111", true), ("twelve222222", false), ("ümläutelf11", true)]
    {
        let said = transcript(&with_vault(password), &["vault", "init"], "");
        assert_eq!(said.contains(advice), advised, "{said}");
        assert!(said.ends_with("[0]\n"), "{said}");
    }
}

#[tokio::test]
async fn a_service_takes_the_master_password_from_a_file() {
    let upstream = Upstream::start();
    let home = Home::with(
        "",
        &format!("[key.tool]\nhosts = [\"{}\"]\n[vault]\npassword_file = \"master\"\n", upstream.authority()),
    );
    let home = home.set("TOOL_API_KEY", "");
    std::fs::write(home.path().join("master"), "correct horse battery\n").expect("a file");
    assert!(locum(&home, &["vault", "init"], "").status.success());
    assert!(locum(&home, &["key", "set", "tool", "--stdin", "--store", "vault"], KEY).status.success());
    let serve = home.serve();
    let mut client = serve.client(&upstream, Http::One).await;
    let request = client.request("GET", "/").header("x-api-key", "<<tool_key>>");
    let answer = client.ask(request.body(none()).expect("a request")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(upstream.only().header("x-api-key").as_deref(), Some(KEY));
    drop(client);
    serve.drained().await;
}

#[test]
fn a_key_is_set_listed_rotated_and_removed() {
    let home = Home::bare("");
    assert_eq!(
        transcript(&home, &["key", "set", "my_tool", "--stdin"], KEY),
        "error: 'my_tool' is no provider that locum knows, so it needs to be told where the key may go\n  \
         next: locum key set my_tool --host api.example.com\n[1]\n"
    );
    let set =
        ["key", "set", "my_tool", "--stdin", "--host", "api.tool.example", "--where", "header", "--store", "machine"];
    assert_eq!(
        transcript(&home, &set, KEY),
        "my_tool is in the machine-bound store ~/state/machine.store; an agent writes <<my_tool_key>>\n\
         where it may go is in ~/locum.toml\n\
         a service that runs already takes it over with 'locum reload'\n[0]\n"
    );
    let config = std::fs::read_to_string(home.config()).expect("the config");
    assert!(config.contains("[key.my_tool]") && !config.contains(KEY), "{config}");
    let json = locum(&home, &["key", "list", "--json"], "");
    let mut json: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert!(json[0]["since"].take().as_str().is_some_and(|since| since.ends_with('Z')), "{json}");
    let store = format!("machine-bound store {}", home.state().join("machine.store").display());
    assert_eq!(
        json,
        serde_json::json!([{
            "name": "my_tool", "placeholder": "<<my_tool_key>>", "source": "machine", "store": store, "masked": "…WXYZ",
            "hosts": ["api.tool.example"], "where": ["header"], "last_used": null, "since": null, "rotate_due": null,
        }])
    );
    assert_eq!(
        transcript(&home, &["key", "rotate", "my_tool", "--stdin"], "tk-7a3d5826b1-Yb5NcM1dJh-QRST"),
        "my_tool has a new value in the machine-bound store ~/state/machine.store, …QRST\n  revoke the old one where it was made\n\
         other machines with a store of their own still have the old values\n[0]\n"
    );
    let list = transcript(&home, &["key", "list"], "");
    assert!(list.contains("…QRST") && !list.contains("WXYZ"), "{list}");
    assert_eq!(
        transcript(&home, &["key", "remove", "my_tool"], ""),
        "my_tool is no longer in the machine-bound store ~/state/machine.store\n[key.my_tool] is no longer in the config\n[0]\n"
    );
    assert_eq!(
        transcript(&home, &["key", "remove", "my_tool"], ""),
        "error: neither a store of this machine nor the config has 'my_tool'\n  next: 'locum key list' shows those there are\n[1]\n"
    );
    for bad in ["", "a\nb", "a\tb"] {
        let output = locum(&home, &set, bad);
        assert_eq!(output.status.code(), Some(1), "{bad:?}: {}", told(&output));
    }
}

#[tokio::test]
async fn a_real_secret_service_keeps_keys() {
    let upstream = Upstream::start();
    let home = Home::with("", "").set("TOOL_API_KEY", "");
    let service = SecretService::start(&home, true);
    let home = home.set("DBUS_SESSION_BUS_ADDRESS", &service.address);
    assert_eq!(
        transcript(&home, &["key", "set", "tool", "--stdin", "--host", &upstream.authority()], KEY),
        "tool is in the keyring (Secret Service); an agent writes <<tool_key>>\n\
         where it may go is in ~/locum.toml\n\
         a service that runs already takes it over with 'locum reload'\n[0]\n"
    );
    let list = transcript(&home, &["key", "list"], "");
    assert!(list.contains("…WXYZ") && list.contains("keyring (Secret Service)"), "{list}");

    let serve = home.serve();
    let mut client = serve.client(&upstream, Http::One).await;
    let mut used = async || {
        let request = client.request("GET", "/").header("x-api-key", "<<tool_key>>").body(none()).expect("a request");
        let answer = client.ask(request).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        upstream.seen().pop().expect("a request").header("x-api-key").expect("a key")
    };
    assert_eq!(used().await, KEY);
    let new = "tk-7a3d5826b1-Yb5NcM1dJh-QRST";
    assert_eq!(
        transcript(&serve.home, &["key", "rotate", "tool", "--stdin"], new),
        "tool has a new value in the keyring (Secret Service), …QRST\n  revoke the old one where it was made\n\
         other machines with a store of their own still have the old values\n[0]\n"
    );
    let until = Instant::now() + HANGS;
    while used().await != new {
        assert!(Instant::now() < until, "it goes on with the old one");
    }
    drop(client);
    let home = serve.drained().await;
    assert_eq!(
        transcript(&home, &["key", "remove", "tool"], ""),
        "tool is no longer in the keyring (Secret Service)\n[key.tool] is no longer in the config\n[0]\n"
    );
    assert!(!transcript(&home, &["key", "list"], "").contains("tool"));
}

/// It would take its time to say what it holds, and whoever asks waits in a place of their own.
#[test]
fn a_keyring_that_hangs_holds_up_no_signal() {
    let home = Home::with("", "");
    let service = SecretService::start(&home, true);
    let serve = home.set("DBUS_SESSION_BUS_ADDRESS", &service.address).serve();
    let keyring = i32::try_from(service.keyring.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(keyring, Signal::STOP).expect("a process that stands still");
    serve.signal(Signal::HUP);
    serve.signal(Signal::USR2);
    serve.await_said(|line| line.contains("wiped"));
    assert!(!serve.said().contains("reloaded"), "{}", serve.said());
    serve.stop();
}

#[test]
fn without_a_keyring_that_works_the_vault_is_used_and_one_sentence_says_why() {
    for locked in [true, false] {
        let home = with_vault("correct horse battery");
        let service = locked.then(|| SecretService::start(&home, false));
        let address = service.as_ref().map_or("unix:path=/nowhere", |service| &service.address);
        let home = home.set("DBUS_SESSION_BUS_ADDRESS", address);
        assert!(locum(&home, &["vault", "init"], "").status.success());
        let output = locum(&home, &["key", "set", "tool", "--stdin"], KEY);
        assert!(output.status.success(), "{}", told(&output));
        let said = stderr(&output);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(
            said.starts_with("note: keyring (Secret Service) ") && said.ends_with(", so another store is used\n"),
            "{said}"
        );
        assert!(stdout(&output).starts_with(&format!("tool is in the vault {}", vault_file(&home).display())));
        let output = locum(&home, &["key", "list"], "");
        assert!(stdout(&output).contains("…WXYZ"), "{}", told(&output));
    }
}

/// A file of settings in each format, before and after.
const FILES: [(&str, &str, &str); 5] = [
    (
        ".env",
        "# mine\nexport OPENAI_API_KEY=KEY1\nPORT=80\nTOOL_API_KEY='KEY2'\r\n",
        "# mine\nexport OPENAI_API_KEY=\"<<openai_key>>\"\nPORT=80\nTOOL_API_KEY='<<tool_key>>'\r\n",
    ),
    (
        "mcp.json",
        "{\"servers\": {\"a\": {\"env\":{\"TOOL_API_KEY\":\"KEY2\"},\n\t\"headers\": {\"Authorization\": \"Bearer KEY1\"}}}}",
        "{\"servers\": {\"a\": {\"env\":{\"TOOL_API_KEY\":\"<<tool_key>>\"},\n\t\"headers\": {\"Authorization\": \"Bearer <<openai_key>>\"}}}}",
    ),
    ("a.toml", "[x]\nopenai_api_key = \"KEY1\" # why\n", "[x]\nopenai_api_key = \"<<openai_key>>\" # why\n"),
    (
        "b.yaml",
        "x:\n  - tool_api_key: KEY2\n    openai_api_key: |\n      KEY1\n  - openai_api_key: !env KEY1\n",
        "x:\n  - tool_api_key: <<tool_key>>\n    openai_api_key: |\n      <<openai_key>>\n  - openai_api_key: !env <<openai_key>>\n",
    ),
    (
        "compose.yaml",
        "environment:\n  - TOOL_API_KEY=KEY2\n  -   'OPENAI_API_KEY=KEY1'\n  - \"TOOL_API_KEY=KEY2\"\n",
        "environment:\n  - TOOL_API_KEY=<<tool_key>>\n  -   'OPENAI_API_KEY=<<openai_key>>'\n  - \"TOOL_API_KEY=<<tool_key>>\"\n",
    ),
];

const KEYS: [&str; 2] = ["sk-proj-Gf9Ps2Ua7Ei3oTzQxWnBr-MNOP", KEY];

#[test]
fn keys_are_moved_out_of_files_into_a_store() {
    let home = Home::bare("[key.tool]\nhosts = [\"api.tool.example\"]\n");
    let fill = |text: &str| text.replace("KEY1", KEYS[0]).replace("KEY2", KEYS[1]);
    let path = |name: &str| home.path().join(name);
    for (name, before, _) in FILES {
        std::fs::write(path(name), fill(before)).expect("a file");
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(0o640)).expect("a mode");
    }
    let names = FILES.map(|(name, ..)| name);
    let migrate = [&["key", "migrate", "--store", "machine"][..], &names].concat();
    let dry = transcript(&home, &[&migrate[..], &["--dry-run"]].concat(), "");
    let begins = "openai would go into the machine-bound store ~/state/machine.store\n\
         tool would go into the machine-bound store ~/state/machine.store\n--- .env\n+++ .env\n@@ -2 +2 @@\n\
         -export OPENAI_API_KEY=…MNOP\n+export OPENAI_API_KEY=\"<<openai_key>>\"\n@@ -4 +4 @@\n\
         -TOOL_API_KEY='…WXYZ'\n+TOOL_API_KEY='<<tool_key>>'\n--- mcp.json\n+++ mcp.json\n@@ -1,2 +1,2 @@\n";
    assert!(dry.starts_with(begins) && dry.ends_with("+  - \"TOOL_API_KEY=<<tool_key>>\"\n[0]\n"), "{dry}");
    assert!(KEYS.iter().all(|key| !dry.contains(key)), "{dry}");
    assert!(FILES.iter().all(|(name, before, _)| std::fs::read_to_string(path(name)).expect("a file") == fill(before)));
    assert!(!home.state().join("machine.store").exists());
    let said = transcript(&home, &migrate, "");
    assert!(said.starts_with("openai is in the machine-bound store") && said.ends_with("[0]\n"), "{said}");
    for (name, _, after) in FILES {
        assert_eq!(std::fs::read_to_string(path(name)).expect("a file"), after);
        assert_eq!(std::fs::metadata(path(name)).expect("a file").permissions().mode() & 0o777, 0o640);
    }
    let list = transcript(&home, &["key", "list"], "");
    assert!(list.contains("…MNOP") && list.contains("…WXYZ"), "{list}");
    // nothing is left of them anywhere
    for key in KEYS {
        assert_eq!(crate::support::scan::Scan::of(key).files(home.path()), []);
    }
    let again = locum(&home, &migrate, "");
    assert_eq!(again.status.code(), Some(1), "{}", told(&again));
}

#[test]
fn what_can_not_be_moved_whole_is_not_moved_at_all() {
    let home = Home::bare(
        "[key.tool]\nhosts = [\"api.tool.example\"]\n[key.filed]\nhosts = [\"a.example\"]\nsource = \"file:x\"\n",
    );
    let write = |name: &str, text: &str| std::fs::write(home.path().join(name), text).expect("a file");
    write("a", "TOOL_API_KEY=one\n");
    write("b", "\nTOOL_API_KEY=two\n");
    write("c", "# TOOL_API_KEY=one\n");
    write("d", "X=y\n");
    write("filed", "FILED_API_KEY=one\n");
    std::fs::hard_link(home.path().join("a"), home.path().join("link")).expect("a link");
    std::fs::write(home.path().join("latin"), b"TOOL_API_KEY=one\xe9\n").expect("a file");
    let nothing = "no key that locum knows is in there, so nothing has been changed";
    for (files, said) in [
        (&["a"][..], "a: it has another name (a hard link), under which the keys would stay"),
        (&["c", "d"], nothing),
        (&["filed"], "the config takes 'filed' from file:~/x, and no store"),
        (&["latin"], "latin: it is not UTF-8"),
        (&["no-such"], "no-such: No such file or directory"),
        (&["."], ".: it is no file of settings"),
    ] {
        let said_now = transcript(&home, &[&["key", "migrate", "--store", "machine"], files].concat(), "");
        assert!(said_now.starts_with(&format!("error: {said}\n")), "{files:?}: {said_now}");
    }
    std::fs::remove_file(home.path().join("link")).expect("a file");
    assert_eq!(
        transcript(&home, &["key", "migrate", "--store", "machine", "a", "b"], ""),
        "error: a:1 and b:2 have different values for 'tool'\n  next: nothing has been changed; take one of them out\n[1]\n"
    );
    assert!(locum(&home, &["key", "set", "tool", "--stdin", "--store", "machine"], "three").status.success());
    let said = transcript(&home, &["key", "migrate", "--store", "machine", "a"], "");
    assert!(said.starts_with("error: a:1 has another value for 'tool' than the machine-bound store"), "{said}");
    assert_eq!(std::fs::read_to_string(home.path().join("a")).expect("a file"), "TOOL_API_KEY=one\n");
}

#[test]
fn a_value_is_not_moved_behind_another_that_counts_first() {
    let home = Home::bare("[key.tool]\nhosts = [\"api.tool.example\"]\n").set("LOCUM_MASTER_PASSWORD", "of the vault");
    assert!(locum(&home, &["vault", "init"], "").status.success());
    assert!(locum(&home, &["key", "set", "tool", "--stdin"], KEY).status.success());
    std::fs::write(home.path().join("a"), "TOOL_API_KEY=another-one\n").expect("a file");
    let said = transcript(&home, &["key", "migrate", "--store", "machine", "a"], "");
    assert!(said.starts_with("error: a:1 has another value for 'tool' than the vault"), "{said}");
    let home = home.set("TOOL_API_KEY", "another-one");
    let said = transcript(&home, &["key", "import", "--from", "env", "--store", "machine"], "");
    assert!(said.starts_with("error: TOOL_API_KEY has another value for 'tool' than the vault"), "{said}");
    assert!(!home.state().join("machine.store").exists());
}

#[test]
fn what_agents_are_shown_is_no_key_though_it_looks_like_one() {
    let shown = "tool-0000000000000000";
    let home = Home::bare(&format!("[key.tool]\nhosts = [\"api.tool.example\"]\nplaceholder = \"{shown}\"\n"));
    std::fs::write(home.path().join("a"), format!("TOOL_API_KEY={shown}\n")).expect("a file");
    let nothing = transcript(&home, &["key", "migrate", "--store", "machine", "a"], "");
    assert!(nothing.starts_with("error: no key that locum knows is in there"), "{nothing}");
    let home = home.set("TOOL_API_KEY", shown);
    let nothing = transcript(&home, &["key", "import", "--from", "env", "--store", "machine"], "");
    assert!(nothing.starts_with("error: no variable of a key that locum knows is set"), "{nothing}");
}

#[test]
fn keys_of_the_environment_are_imported() {
    let home = Home::bare("[key.tool]\nhosts = [\"api.tool.example\"]\n").set("TOOL_API_KEY", KEY);
    let home = home.set("OPENAI_API_KEY", "<<openai_key>>");
    assert_eq!(
        transcript(&home, &["key", "import", "--from", "env", "--store", "machine"], ""),
        "tool is in the machine-bound store ~/state/machine.store, from TOOL_API_KEY\n\
         take TOOL_API_KEY out of wherever it is set: while it is, it counts first\n[0]\n"
    );
    let home = home.set("TOOL_API_KEY", "<<tool_key>>");
    let list = transcript(&home, &["key", "list"], "");
    assert!(list.contains("…WXYZ") && list.contains("machine-bound"), "a placeholder in a variable is no key: {list}");
    let said = transcript(&home, &["key", "import", "--from", "env", "--store", "machine"], "");
    assert!(said.starts_with("error: no variable of a key that locum knows is set"), "{said}");
}

/// In front of `upstream`, with a CA that is kept in a store.
fn with_kept_ca(upstream: &Upstream) -> Home {
    let home = Home::bound(&[upstream]);
    let config = std::fs::read_to_string(home.config()).expect("the config");
    home.write_config(&config.replace("[ca]\nsource = \"memory\"\nexport = \"ca.pem\"\n", ""));
    home.set("LOCUM_MASTER_PASSWORD", "correct horse battery")
}

#[test]
fn a_ca_in_a_vault_is_the_one_that_every_command_hands_out() {
    let upstream = Upstream::start();
    let home = with_kept_ca(&upstream);
    assert!(locum(&home, &["vault", "init"], "").status.success());
    let serve = home.serve();
    let exported = locum(&serve.home, &["ca", "export", "--out", "ca.pem"], "");
    assert!(exported.status.success(), "{}", told(&exported));
    let output = serve.curl(&["-f", "-H", "Authorization: Bearer <<tool_key>>", &upstream.url("/")]);
    assert!(output.status.success(), "it signs with another: {}", told(&output));
    let pem = std::fs::read_to_string(serve.home.path().join("ca.pem")).expect("a certificate");
    let script = "eval \"$(\"$0\" --config \"$1\" --state \"$2\" env --shell sh)\"; cat \"$SSL_CERT_FILE\"";
    let mut command = serve.home.command("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_locum")]).arg(serve.home.config()).arg(serve.home.state());
    assert!(stdout(&finish(&mut command)).contains(pem.trim()), "env trusts another");
    let home = serve.stop();
    assert!(!home.state().join("machine.store").exists(), "one was made besides");
}

/// Whoever can't look into the vault does not know whether the CA is there: a second one would be trusted by nobody.
#[test]
fn while_a_store_can_not_be_asked_no_second_ca_is_made() {
    let upstream = Upstream::start();
    let home = with_kept_ca(&upstream);
    assert!(locum(&home, &["vault", "init"], "").status.success());
    let home = home.set("LOCUM_MASTER_PASSWORD", "");
    let want = "error: the CA may be in a store that can't be asked, so none is made in another: vault ~/state/vault is \
                locked: no master password was given\n  \
                next: set LOCUM_MASTER_PASSWORD, or [vault] password_file, or run where it can be asked for; \
                or keep it elsewhere, by [ca] source\n[4]\n";
    for args in [&["ca", "export"][..], &["ca", "show"], &["env"], &["serve"]] {
        let said = transcript(&home, args, "");
        let said: String = said.lines().filter(|l| !l.contains("warning: ")).map(|l| format!("{l}\n")).collect();
        assert_eq!(said, want, "{args:?}");
        assert!(!home.state().join("machine.store").exists(), "{args:?}");
    }
    // one that was made before is found all the same
    let home = Home::bare("");
    let before = transcript(&home, &["ca", "export"], "");
    assert!(before.ends_with("[0]\n"), "{before}");
    let home = home.set("LOCUM_MASTER_PASSWORD", "correct horse battery");
    assert!(locum(&home, &["vault", "init"], "").status.success());
    let home = home.set("LOCUM_MASTER_PASSWORD", "");
    let after = locum(&home, &["ca", "export"], "");
    assert!(after.status.success() && before.starts_with(&stdout(&after)), "{}", told(&after));
}
