//! Which store a command on keys reads and writes: the one that the proxy reads, or none and it says why.

use crate::support::Home;
use crate::support::locum::{stdout, told};
use crate::support::stores::{KEY, SecretService, locum, transcript, with_vault};

const NEW: &str = "tk-7a3d5826b1-Yb5NcM1dJh-QRST";
const OTHER: &str = "tk-0c4f9b1e7a-VyKlC4mD6q-MNOP";

/// What `key list --json` has of one key.
fn listed(home: &Home, key: &str) -> serde_json::Value {
    let output = locum(home, &["key", "list", "--json"], "");
    let list: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(&output)));
    list.as_array().expect("an array").iter().find(|row| row["name"] == key).cloned().unwrap_or_default()
}

fn set(home: &Home, store: &str, value: &str) {
    let output = locum(home, &["key", "set", "tool", "--stdin", "--store", store], value);
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn rotate_and_set_write_where_the_source_says() {
    let home = with_vault("correct horse battery");
    assert!(locum(&home, &["vault", "init"], "").status.success());
    set(&home, "vault", KEY);
    // the last that was said counts, and the vault still has one
    set(&home, "machine", KEY);
    let said = transcript(&home, &["key", "rotate", "tool", "--stdin"], NEW);
    assert!(said.starts_with("tool has a new value in the machine-bound store"), "{said}");
    assert_eq!(listed(&home, "tool")["masked"], "…QRST");
    let said = transcript(&home, &["key", "set", "tool", "--stdin"], OTHER);
    assert!(said.starts_with("tool is in the machine-bound store"), "{said}");
    assert_eq!(listed(&home, "tool")["masked"], "…MNOP");
}

#[test]
fn rotate_leaves_a_keyring_alone_that_the_source_does_not_name() {
    let home = with_vault("correct horse battery");
    let service = SecretService::start(&home, true);
    let home = home.set("DBUS_SESSION_BUS_ADDRESS", &service.address);
    assert!(locum(&home, &["key", "set", "tool", "--stdin"], KEY).status.success());
    assert!(locum(&home, &["vault", "init"], "").status.success());
    set(&home, "vault", OTHER);
    let said = transcript(&home, &["key", "rotate", "tool", "--stdin"], NEW);
    assert!(said.starts_with("tool has a new value in the vault"), "{said}");
    assert_eq!(listed(&home, "tool")["masked"], "…QRST");
}

/// One that comes from elsewhere is changed there, and not put where nobody reads it.
#[test]
fn a_key_whose_source_is_no_store_is_not_put_into_one() {
    for source in ["file:tool.key", "env:MY_TOOL", "exec:[\\\"/bin/echo\\\"]"] {
        let config = format!("[key.tool]\nhosts = [\"api.tool.example\"]\nsource = \"{source}\"\n");
        let home = Home::bare(&config);
        for args in [&["key", "set", "tool", "--stdin"][..], &["key", "rotate", "tool", "--stdin"]] {
            let said = transcript(&home, args, KEY);
            assert!(said.starts_with("error: the config takes 'tool' from ") && said.ends_with("[1]\n"), "{said}");
        }
        assert!(!home.state().join("machine.store").exists());
        assert_eq!(std::fs::read_to_string(home.config()).expect("the config"), config);
    }
}

#[test]
fn a_variable_that_counts_first_is_told_of() {
    let home = Home::bare("[key.tool]\nhosts = [\"api.tool.example\"]\n");
    let set = ["key", "set", "tool", "--stdin"];
    assert!(!transcript(&home, &set, KEY).contains("counts first"));
    let home = home.set("TOOL_API_KEY", OTHER);
    for args in [set, ["key", "rotate", "tool", "--stdin"]] {
        let said = transcript(&home, &args, NEW);
        assert!(said.contains("note: TOOL_API_KEY is set here, and counts first\n"), "{said}");
    }
}

/// It may hold the very key that is to be changed or taken away.
#[test]
fn a_store_that_can_not_be_read_is_not_taken_for_one_without_the_key() {
    let home = with_vault("correct horse battery");
    assert!(locum(&home, &["vault", "init"], "").status.success());
    set(&home, "machine", KEY);
    set(&home, "vault", KEY);
    let config = "[key.tool]\nhosts = [\"api.tool.example\"]\n";
    home.write_config(config);
    let home = home.set("LOCUM_MASTER_PASSWORD", "another password");
    let closed = "error: vault ~/state/vault does not open with this password\n  \
                  next: try again with the right master password\n[4]\n";
    assert_eq!(transcript(&home, &["key", "rotate", "tool", "--stdin"], NEW), closed);
    assert_eq!(transcript(&home, &["key", "rotate", "--all"], ""), closed);
    assert_eq!(transcript(&home, &["key", "remove", "tool"], ""), closed);
    assert_eq!(std::fs::read_to_string(home.config()).expect("the config"), config);
    assert_eq!(listed(&home, "tool")["masked"], "…WXYZ", "the machine's store still has it");
}

/// A bus without a keyring is what a server has; what is not there holds no key.
#[test]
fn a_keyring_that_nobody_runs_holds_nothing() {
    let home = Home::bare("[key.tool]\nhosts = [\"api.tool.example\"]\n");
    let home = home.set("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere");
    assert!(locum(&home, &["key", "set", "tool", "--stdin"], KEY).status.success());
    let output = locum(&home, &["key", "rotate", "tool", "--stdin"], NEW);
    assert!(stdout(&output).starts_with("tool has a new value in the machine-bound store"), "{}", told(&output));
    let said = transcript(&home, &["key", "remove", "tool"], "");
    assert!(said.ends_with("[key.tool] is no longer in the config\n[0]\n"), "{said}");
}

#[test]
fn a_list_names_the_one_place_that_a_value_is_from() {
    let home = Home::bare("[key.tool]\nhosts = [\"api.tool.example\"]\n");
    assert_eq!(listed(&home, "tool")["store"], serde_json::Value::Null);
    assert!(locum(&home, &["key", "set", "tool", "--stdin"], KEY).status.success());
    let store = format!("machine-bound store {}", home.state().join("machine.store").display());
    assert_eq!(listed(&home, "tool")["store"], store.as_str());
    let home = home.set("TOOL_API_KEY", "<<tool_key>>");
    assert_eq!(listed(&home, "tool")["store"], store.as_str(), "a placeholder is no value");
    let home = home.set("TOOL_API_KEY", OTHER);
    let row = listed(&home, "tool");
    assert_eq!((row["store"].as_str(), row["masked"].as_str()), (Some("environment TOOL_API_KEY"), Some("…MNOP")));
}

#[test]
fn an_import_overwrites_no_other_value() {
    let config = "[key.tool]\nhosts = [\"api.tool.example\"]\n";
    let home = Home::bare(config).set("OPENAI_API_KEY", "sk-proj-imported");
    set(&home, "machine", NEW);
    home.write_config(config);
    let old = home.set("TOOL_API_KEY", KEY);
    let import = ["key", "import", "--from", "env", "--store", "machine"];
    assert_eq!(
        transcript(&old, &import, ""),
        "error: TOOL_API_KEY has another value for 'tool' than the machine-bound store ~/state/machine.store\n  \
         next: nothing has been changed; unset it, or 'locum key remove tool'\n[1]\n"
    );
    let home = old.set("TOOL_API_KEY", NEW);
    assert_eq!(listed(&home, "openai")["store"], "environment OPENAI_API_KEY", "nothing was imported");
    let said = transcript(&home, &import, "");
    assert!(said.contains("openai is in the machine-bound store") && said.ends_with("[0]\n"), "{said}");
}

#[test]
fn an_import_says_of_which_key_the_config_takes_no_store() {
    let home = Home::bare("[key.tool]\nhosts = [\"api.tool.example\"]\nsource = \"env:MY_TOOL\"\n").set("MY_TOOL", KEY);
    let said = transcript(&home, &["key", "import", "--from", "env", "--store", "machine"], "");
    assert_eq!(
        said,
        "error: the config takes 'tool' from env:MY_TOOL, and no store\n  \
         next: nothing has been changed; change it there, or take `source` out of [key.tool]\n[1]\n"
    );
    // it keeps no other key from being imported
    let home = home.set("OPENAI_API_KEY", "sk-proj-imported");
    let said = transcript(&home, &["key", "import", "--from", "env", "--store", "machine"], "");
    assert!(said.contains("note: the config takes 'tool' from env:MY_TOOL, and no store\n"), "{said}");
    assert!(said.contains("openai is in the machine-bound store") && said.ends_with("[0]\n"), "{said}");
}

/// The value is looked at before anything is written.
#[test]
fn a_value_that_is_none_changes_nothing() {
    let home = Home::bare("");
    let set = ["key", "set", "tool", "--stdin", "--store", "machine", "--host", "api.tool.example"];
    for (bad, said) in [("", "nothing was given"), ("a\tb", "the value holds a control character")] {
        let told = transcript(&home, &set, bad);
        assert!(told.starts_with(&format!("error: {said}\n")), "{told}");
        assert_eq!(std::fs::read_to_string(home.config()).expect("the config"), "");
    }
}

#[test]
fn env_sets_what_run_sets() {
    let serve = Home::bare("[proxy]\nlisten = \"127.0.0.1:0\"\n").serve();
    let home = &serve.home;
    let env = |home: &Home| stdout(&locum(home, &["env", "--shell", "sh"], ""));
    assert!(!env(home).contains("OPENAI_API_KEY") && env(home).contains("HTTPS_PROXY"), "{}", env(home));
    let output = locum(home, &["key", "set", "openai", "--stdin"], "sk-proj-0123456789abcdefghij");
    assert!(output.status.success(), "{}", told(&output));
    assert!(env(home).contains("OPENAI_API_KEY='<<openai_key>>'"), "{}", env(home));
    let run = stdout(&home.run(&["env"]));
    assert!(run.contains("OPENAI_API_KEY=<<openai_key>>"), "{run}");
}

#[test]
fn a_vault_has_no_password_that_is_guessed() {
    for short in ["short", "seven77"] {
        let home = with_vault(short);
        assert_eq!(
            transcript(&home, &["vault", "init"], ""),
            "error: vault ~/state/vault needs a password of 8 characters at least\n  next: give a longer one\n[4]\n"
        );
        assert!(!home.state().join("vault").exists());
    }
}

/// A terminal's line ends at 4095 bytes and loses the rest without a word.
#[test]
fn a_value_that_the_terminal_may_have_cut_is_refused() {
    const TERMINAL: &str = "
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
said = b''
while not said.endswith(b': '):
    said += os.read(terminal, 1)
os.write(terminal, b'k' * int(sys.argv[1]) + b'\\n')
try:
    while more := os.read(terminal, 4096):
        said += more
except OSError:
    pass
print(said.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";
    for (typed, code) in [(100, 0), (4094, 0), (4095, 1), (5000, 1)] {
        let home = Home::bare("");
        let mut command = home.command("python3");
        command.args(["-c", TERMINAL, &typed.to_string(), env!("CARGO_BIN_EXE_locum"), "--config"]);
        command.arg(home.config()).arg("--state").arg(home.state());
        command.args(["key", "set", "tool", "--store", "machine", "--host", "api.tool.example"]);
        let output = crate::support::locum::finish(&mut command);
        assert_eq!(output.status.code(), Some(code), "{typed}: {}", told(&output));
        assert!(!stdout(&output).contains("kkk"), "{typed}: it was shown: {}", told(&output));
        let config = std::fs::read_to_string(home.config()).expect("the config");
        assert_eq!(config.is_empty(), code != 0, "{config}");
    }
}

/// The config may name the key elsewhere, and then it stays there: so does the value.
#[test]
fn a_key_that_can_not_be_taken_out_of_the_config_keeps_its_value() {
    let home = Home::bare("");
    let args = ["key", "set", "tool", "--stdin", "--host", "api.tool.example", "--store", "machine"];
    assert!(locum(&home, &args, KEY).status.success());
    let config = std::fs::read_to_string(home.config()).expect("the config") + "[agent.a]\nkeys = [\"tool\"]\n";
    home.write_config(&config);
    let said = transcript(&home, &["key", "remove", "tool"], "");
    assert!(said.contains("nothing has been changed") && said.ends_with("[1]\n"), "{said}");
    assert_eq!(std::fs::read_to_string(home.config()).expect("the config"), config);
    assert_eq!(listed(&home, "tool")["masked"], "…WXYZ");
}

#[test]
fn rotating_all_keys_passes_over_one_whose_store_there_is_not() {
    let home = Home::bare("[key.vaulted]\nhosts = [\"api.tool.example\"]\nsource = \"vault\"\n");
    let args = ["key", "set", "tool", "--stdin", "--host", "api.tool.example", "--store", "machine"];
    assert!(locum(&home, &args, KEY).status.success());
    let said = transcript(&home, &["key", "rotate", "--all"], "");
    assert!(said.contains("note: vaulted is left as it is: there is no vault yet\n"), "{said}");
    // it gets as far as asking
    assert!(said.contains("error: there is no terminal to ask on"), "{said}");
}
