//! `examples/from_other_guides.md`, line by line: each command is run and has to do what it is there for, each setting is checked.

use crate::support::locum::{finish, stderr, stdout, told};
use crate::support::stores::{SecretService, locum};
use crate::support::terminal::on_terminal;
use crate::support::{Home, Serve, Terminal};
use serde_json::Value;
use std::path::Path;
use std::process::Output;

const GUIDES: &str = include_str!("../../examples/from_other_guides.md");
const OLD: &str = "sk-ant-api03-0a1b2c3d4e5f60718293a4b5c6d7e8f9-OLDK";
const NEW: &str = "sk-ant-api03-f9e8d7c6b5a40392817f6e5d4c3b2a10-NEWK";
const OPENROUTER: &str = "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";

/// What it is there, and what it is here, of each line of the tables.
fn lines() -> Vec<(String, String)> {
    let rows = GUIDES.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| there "));
    let lines: Vec<_> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split(" | ").collect();
            assert!((2..=3).contains(&cells.len()), "{row}");
            let here = cells[1].trim().strip_prefix('`').and_then(|here| here.strip_suffix('`'));
            let there = cells[0].trim_start_matches("| ").trim_matches('`');
            (there.to_owned(), here.unwrap_or_else(|| panic!("{row}")).to_owned())
        })
        .collect();
    assert!(lines.len() > 40, "{}", lines.len());
    lines
}

/// The words behind the program's name, as a shell splits them.
fn words(line: &str) -> Vec<String> {
    let mut parts = line.split('\'');
    let mut words = Vec::new();
    while let Some(bare) = parts.next() {
        words.extend(bare.split_whitespace().map(str::to_owned));
        words.extend(parts.next().map(str::to_owned));
    }
    words.split_off(1)
}

#[test]
fn each_setting_of_the_guides_is_one_here() {
    let mut count = 0;
    for (there, here) in lines() {
        let Some((table, setting)) = here.strip_prefix('[').and_then(|here| here.split_once("] ")) else { continue };
        let checked = |setting: &str| {
            let home = Home::bare(&format!("[{table}]\n{setting}\n"));
            std::fs::write(home.path().join("providers.toml"), "").unwrap();
            finish(&mut home.locum(&["check"]))
        };
        let right = checked(setting);
        assert!(right.status.success(), "{there}: {}", told(&right));
        let (name, _) = setting.split_once(' ').unwrap();
        let wrong = checked(&setting.replacen(name, &format!("{name}x"), 1));
        assert!(wrong.status.code() == Some(1) && stdout(&wrong).contains(name), "{there}: {}", told(&wrong));
        count += 1;
    }
    assert!(count > 8, "{count}");
}

#[test]
fn each_command_of_the_guides_is_one_here() {
    let mut proofs = vec![("locum prompt --format markdown".to_owned(), "locum context --format markdown".to_owned())];
    for (there, here) in lines() {
        if here.starts_with("locum ") {
            // their own words for it do the same
            let theirs = there.starts_with("nostromo ") || there.starts_with("nanofolks ");
            proofs.extend(theirs.then(|| (here.clone(), there)));
            proofs.push((here.clone(), here));
        }
    }
    assert!(proofs.len() > 30, "{}", proofs.len());
    proofs.sort();
    proofs.dedup();
    let fails = |(line, typed): &&(String, String)| std::panic::catch_unwind(|| prove(line, &words(typed))).is_err();
    let failed: Vec<_> = proofs.iter().filter(fails).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

fn masked(home: &Home, key: &str) -> Value {
    let listed = finish(&mut home.locum(&["key", "list", "--json"]));
    let rows: Value = serde_json::from_slice(&listed.stdout).unwrap_or_else(|_| panic!("{}", told(&listed)));
    let row = rows.as_array().unwrap().iter().find(|row| row["name"] == key).cloned();
    row.unwrap_or_default()["masked"].clone()
}

/// A home whose machine-bound store has this key.
fn with_key(name: &str, value: &str) -> Home {
    let home = Home::bare("");
    let set = locum(&home, &["key", "set", name, "--stdin", "--store", "machine"], value);
    assert!(set.status.success(), "{}", told(&set));
    home
}

/// Types a value at the question for it.
fn typed(home: &Home, words: &[&str], value: &str) {
    let (shown, code) = on_terminal(home, words, &[("value of", value)]);
    assert!(code == Some(0) && !shown.contains(value), "{words:?}: {shown}");
}

fn good(output: Output) -> String {
    assert!(output.status.success(), "{}", told(&output));
    stdout(&output)
}

/// A service with a key, on a port of its own.
fn service() -> Serve {
    Home::with("", "[key.tool]\nhosts = [\"api.tool.example\"]\nsource = \"env:TOOL_API_KEY\"\n").serve()
}

/// Runs the words in a home that has what they need, and looks at what came of it.
fn prove(line: &str, words: &[String]) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let plain = |home: &Home| good(finish(&mut home.locum(&words)));
    match line.strip_prefix("locum ").unwrap() {
        "configure" | "configure --provider anthropic" => {
            let home = Home::bare("");
            let mut terminal = Terminal::locum(&home, &words.join(" "));
            let is_named = words.len() > 1;
            if !is_named {
                terminal.await_shown("another key?");
                terminal.press("anthropic\n");
            }
            terminal.await_shown("value of 'anthropic': ");
            terminal.press(&format!("{NEW}\n"));
            terminal.await_shown("it ends in …NEWK: right?");
            terminal.press(if is_named { "\n" } else { "\n\n" });
            let (status, shown) = terminal.ended();
            assert!(status.success() && !shown.contains(NEW), "{shown}");
            assert_eq!(masked(&home, "anthropic"), "…NEWK");
        }
        "key set anthropic --store keyring" => {
            let home = Home::bare("");
            let service = SecretService::start(&home, true);
            let home = home.set("DBUS_SESSION_BUS_ADDRESS", &service.address);
            typed(&home, &words, NEW);
            assert!(good(finish(&mut home.locum(&["key", "list"]))).contains("keyring"));
        }
        "vault init" => {
            let home = Home::bare("").set("LOCUM_MASTER_PASSWORD", "correct horse battery");
            assert!(plain(&home).contains("the password is kept nowhere") && home.state().join("vault").exists());
        }
        "key set anthropic --store vault" => {
            let home = Home::bare("").set("LOCUM_MASTER_PASSWORD", "correct horse battery");
            good(finish(&mut home.locum(&["vault", "init"])));
            typed(&home, &words, NEW);
            assert_eq!(masked(&home, "anthropic"), "…NEWK");
        }
        "vault passwd" => {
            let home = Home::bare("").set("LOCUM_MASTER_PASSWORD", "correct horse battery");
            good(finish(&mut home.locum(&["vault", "init"])));
            let before = std::fs::read(home.state().join("vault")).unwrap();
            let (shown, code) = on_terminal(
                &home,
                &words,
                &[("new master password", "another horse battery"), ("once more", "another horse battery")],
            );
            assert_eq!(code, Some(0), "{shown}");
            assert_ne!(std::fs::read(home.state().join("vault")).unwrap(), before);
        }
        "key list" => {
            let home = with_key("openrouter", OPENROUTER).set("ANTHROPIC_API_KEY", NEW).set("OPENAI_API_KEY", OLD);
            let listed = plain(&home);
            assert!(["…NEWK", "…OLDK", "…e8f9"].iter().all(|end| listed.contains(end)), "{listed}");
            assert!([OLD, NEW, OPENROUTER].iter().all(|value| !listed.contains(value)), "{listed}");
        }
        "key list --json" => {
            let home = with_key("openrouter", OPENROUTER);
            assert!(!plain(&home).contains(OPENROUTER));
            assert_eq!(masked(&home, "openrouter"), "…e8f9");
        }
        "key rotate anthropic" => {
            let home = with_key("anthropic", OLD);
            typed(&home, &words, NEW);
            assert_eq!(masked(&home, "anthropic"), "…NEWK");
        }
        "key rotate --all" => {
            let home = with_key("anthropic", OLD);
            typed(&home, &words, NEW);
            assert_eq!(masked(&home, "anthropic"), "…NEWK");
        }
        "key remove openrouter" => {
            let home = with_key("openrouter", OPENROUTER);
            assert!(plain(&home).contains("openrouter is no longer in the machine-bound store"));
            assert_eq!(masked(&home, "openrouter"), Value::Null);
        }
        "key set openrouter --stdin" => {
            let home = Home::bare("");
            good(locum(&home, &words, OPENROUTER));
            assert_eq!(masked(&home, "openrouter"), "…e8f9");
        }
        "key set openrouter --store machine" => {
            let home = Home::bare("");
            typed(&home, &words, OPENROUTER);
            assert!(home.state().join("machine.store").exists());
        }
        "key migrate config.json" => {
            let home = Home::bare("");
            let file = home.path().join("config.json");
            let written = |key: &str| {
                format!(
                    "{{\n  \"providers\": {{\n    \"openrouter\": {{\n      \"api_key\": \"{key}\"\n    }}\n  }}\n}}\n"
                )
            };
            std::fs::write(&file, written(OPENROUTER)).unwrap();
            plain(&home);
            assert_eq!(std::fs::read_to_string(&file).unwrap(), written("<<openrouter_key>>"));
            assert_eq!(masked(&home, "openrouter"), "…e8f9");
        }
        "key providers" => {
            assert!(plain(&Home::bare("")).contains("https://openrouter.ai/settings/keys"));
        }
        "status" => assert!(plain(&with_key("anthropic", OLD)).contains("anthropic")),
        "status --json" => {
            let status: Value = serde_json::from_str(&plain(&Home::bare(""))).unwrap();
            let stores = status["stores"].as_array().unwrap();
            assert!(
                stores.iter().any(|store| store["usable"] == true)
                    && stores.iter().any(|store| store["why"].is_string())
            );
        }
        "agent add researcher" | "agent add researcher --expires 24h" => {
            let home = Home::bare("");
            let token = plain(&home);
            let listed = good(finish(&mut home.locum(&["agent", "list", "--json"])));
            let rows: Value = serde_json::from_str(&listed).unwrap();
            assert_eq!(
                (rows[0]["name"].as_str(), rows[0]["expires"].is_string()),
                (Some("researcher"), line.contains("24h"))
            );
            let kept = std::fs::read_to_string(home.state().join("agents.json")).unwrap();
            assert!(token.trim().len() >= 32 && !kept.contains(token.trim()), "{kept}");
        }
        "agent list" => {
            let home = Home::bare("");
            good(finish(&mut home.locum(&["agent", "add", "researcher"])));
            assert!(plain(&home).contains("researcher"));
        }
        "env" => {
            let serve = Home::with("", "").set("LOCUM_PROXY_TOKEN", "a-token-of-this-test-0123456789abcdef").serve();
            let with_token = format!("a-token-of-this-test-0123456789abcdef@{}", serve.address);
            assert!(plain(&serve.home).contains(&with_token));
        }
        "check" => {
            let home = with_key("anthropic", OLD);
            assert!(plain(&home).contains("anthropic"));
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
            std::fs::set_permissions(home.config(), open).unwrap();
            let output = finish(&mut home.locum(&words));
            assert!(output.status.code() == Some(1) && stdout(&output).contains("chmod"), "{}", told(&output));
        }
        "reload" => {
            let serve = service();
            plain(&serve.home);
            serve.await_said(|line| line == "locum: reloaded");
        }
        "wipe" => {
            let serve = service();
            assert!(plain(&serve.home).contains("until `locum reload`"));
            serve.await_said(|line| line.contains("wiped"));
        }
        "prompt" | "prompt --format markdown" => {
            assert!(plain(&with_key("openrouter", OPENROUTER)).contains("<<openrouter_key>>"));
        }
        "prompt --format json" => {
            let told: Value = serde_json::from_str(&plain(&with_key("openrouter", OPENROUTER))).unwrap();
            assert_eq!(told["placeholders"][0]["placeholder"], "<<openrouter_key>>");
        }
        explain if explain.starts_with("explain ") => {
            let said =
                plain(&with_key("openrouter", OPENROUTER).set("BRAVE_API_KEY", "BSA0a1b2c3d4e5f60718293a4b5c6d7"));
            let wanted = if explain.contains("literal") { "sent      as it is" } else { "replaced  <<brave_key>>" };
            assert!(said.contains(wanted), "{said}");
        }
        "run -- python3 agent.py" => {
            let home = with_key("openrouter", OPENROUTER);
            std::fs::write(home.path().join("agent.py"), "import os\nprint(os.environ['OPENROUTER_API_KEY'])\n")
                .unwrap();
            assert_eq!(plain(&home), "<<openrouter_key>>\n");
        }
        "audit stats" | "audit tail --json" | "audit query --key openrouter --failed" => audited(line, &words),
        other => panic!("nothing proves 'locum {other}'"),
    }
}

/// What the commands on the audit say, after a refusal.
fn audited(line: &str, words: &[&str]) {
    let home = with_key("openrouter", OPENROUTER);
    let asked = home.run(&[
        "curl",
        "--silent",
        "--output",
        "/dev/null",
        "--header",
        "Authorization: Bearer <<openrouter_key>>",
        "--header",
        "locum-tool: web_search",
        "http://api.other.example/",
    ]);
    assert!(stderr(&asked).contains("1 refusal"), "{}", told(&asked));
    let said = good(finish(&mut home.locum(words)));
    assert!(said.contains("openrouter") || line.ends_with("stats") && said.contains("refusal"), "{said}");
    assert!(!line.contains("tail") || said.contains("\"tool\":\"web_search\""), "{said}");
    assert!(!said.contains(OPENROUTER), "{said}");
}

#[test]
fn a_slip_gets_what_was_meant() {
    let home = Home::bare("");
    for (line, meant) in [
        ("stauts", "'status'"),
        ("run --stirct -- true", "'--strict'"),
        ("key rotat", "'rotate'"),
        ("key ls", "'list'"),
        ("audit query --filed", "'--failed'"),
        ("man key rotat", "'rotate'"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let output = finish(&mut home.locum(&words));
        assert!(output.status.code() == Some(2) && stderr(&output).contains(meant), "{line}: {}", told(&output));
    }
}

/// The job of `examples/github_actions.yml`, by the shell that GitHub has its steps run in.
#[test]
fn the_job_for_github_runs_and_a_refusal_fails_it() {
    use crate::first_use::{exit, newcomer};
    use crate::support::locum::TOOL_KEY;
    use crate::support::{Upstream, clients};
    let upstream = Upstream::start();
    let exit = exit(&upstream);
    let home = newcomer(&exit);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/github_actions.yml");
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let read = good(finish(home.command(clients::python()).args(["-c", script]).arg(&file)));
    let workflow: Value = serde_json::from_str(&read).unwrap();
    let job = &workflow["jobs"]["agent"];
    let steps: Vec<&Value> = job["steps"].as_array().unwrap().iter().filter(|step| step["run"].is_string()).collect();

    // a release: an archive with the program in it
    let at = |name: &str| home.path().join(name).to_string_lossy().into_owned();
    let program = format!("#!/bin/sh\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_locum"));
    std::fs::write(at("locum"), program).unwrap();
    good(finish(home.command("chmod").args(["+x", "locum"])));
    good(finish(home.command("tar").args(["--create", "--gzip", "--file", "release.tar.gz", "locum"])));
    std::fs::remove_file(at("locum")).unwrap();
    let sum = good(finish(home.command("sha256sum").arg("release.tar.gz")));
    let sum = sum.split(' ').next().unwrap();

    // as the runner does: what a step wrote into GITHUB_PATH comes first in the next ones'
    let run = |step: &Value, changed: &[(&str, &str)]| {
        let mut command = home.command("bash");
        command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"].as_str().unwrap()]);
        for (name, value) in job["env"].as_object().into_iter().chain(step["env"].as_object()).flatten() {
            command.env(name, value.as_str().unwrap().replace("${{ secrets.TOOL_API_KEY }}", TOOL_KEY));
        }
        command.env("RUNNER_TEMP", home.path()).env("GITHUB_PATH", at("added-path"));
        let added = std::fs::read_to_string(at("added-path")).unwrap_or_default();
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", added.lines().chain([path.as_str()]).collect::<Vec<_>>().join(":"));
        finish(command.envs(changed.iter().copied()))
    };
    let release = format!("file://{}", at("release.tar.gz"));
    let [install, agent] = steps.as_slice() else { panic!("{read}") };
    let other = run(install, &[("LOCUM_RELEASE", &release)]);
    assert!(!other.status.success() && !Path::new(&at(".local/bin/locum")).exists(), "{}", told(&other));
    good(run(install, &[("LOCUM_RELEASE", &release), ("LOCUM_SHA256", sum)]));

    let done = run(agent, &[]);
    assert!(done.status.success() && stderr(&done).contains("1 substitution, 0 refusals"), "{}", told(&done));
    assert_eq!(upstream.only().header("authorization"), Some(format!("Bearer {TOOL_KEY}")));
    let refused = run(agent, &[("TOOL_URL", "https://api.openai.com/v1/models")]);
    assert_eq!(refused.status.code(), Some(3), "{}", told(&refused));
    assert_eq!(upstream.seen().len(), 1);
    assert!(Path::new(&at(".local/state/locum/audit")).is_dir(), "where the job keeps it");
}
