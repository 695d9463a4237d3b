//! Files that commands write where others write too: the config, which may be a link or another's, and the certificate in a
//! folder of agents.

use crate::support::Home;
use crate::support::locum::{finish, told};
use crate::support::stores::{KEY, locum, transcript};
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a folder");
    let mut names: Vec<_> = entries.map(|e| e.expect("an entry").file_name().into_string().expect("a name")).collect();
    names.sort();
    names
}

/// Whoever may write into the folder that the certificate is exported to can put links there.
#[test]
fn an_exported_certificate_follows_no_link() {
    let home = Home::with("", "");
    let victim = home.path().join("vault");
    for planted in ["ca.partial", "ca.pem"] {
        fs::write(&victim, "of the user").expect("a file");
        symlink(&victim, home.path().join(planted)).expect("a link");
    }
    let before = names(home.path());
    let serve = home.serve();
    assert!(serve.ca.starts_with("-----BEGIN CERTIFICATE-----"), "{}", serve.ca);
    let home = serve.stop();
    assert_eq!(fs::read_to_string(&victim).expect("a file"), "of the user");
    let exported = fs::symlink_metadata(home.path().join("ca.pem")).expect("a file");
    assert!(exported.is_file() && exported.mode() & 0o777 == 0o644, "{exported:?}");
    let mut left = names(home.path());
    left.retain(|name| name != "state");
    assert_eq!(left, before);

    let home = Home::bare("");
    let out = home.path().join("out.pem");
    fs::write(home.path().join("vault"), "of the user").expect("a file");
    symlink(home.path().join("vault"), home.path().join("out.partial")).expect("a link");
    let output = finish(home.locum(&["ca", "export", "--out"]).arg(&out));
    assert!(output.status.success(), "{}", told(&output));
    assert_eq!(fs::read_to_string(home.path().join("vault")).expect("a file"), "of the user");
    assert_eq!(fs::metadata(&out).expect("a file").mode() & 0o777, 0o644);
}

#[test]
fn those_who_bind_keys_at_once_all_find_their_binding() {
    let home = Home::bare("# mine\n");
    let keys: Vec<String> = (0..8).map(|i| format!("tool{i}")).collect();
    std::thread::scope(|s| {
        for key in &keys {
            let host = format!("{key}.example");
            let home = &home;
            s.spawn(move || {
                let output = locum(home, &["key", "set", key, "--stdin", "--store", "machine", "--host", &host], KEY);
                assert!(output.status.success(), "{}", told(&output));
            });
        }
    });
    let config = fs::read_to_string(home.config()).expect("the config");
    let lost: Vec<&String> = keys.iter().filter(|key| !config.contains(&format!("[key.{key}]"))).collect();
    assert!(lost.is_empty() && config.starts_with("# mine\n"), "{lost:?}: {config}");
}

#[test]
fn a_config_that_is_a_link_stays_one_and_keeps_owner_and_mode() {
    let home = Home::bare("");
    let dotfiles = home.path().join("dotfiles");
    fs::create_dir(&dotfiles).expect("a folder");
    let real = dotfiles.join("real.toml");
    fs::rename(home.config(), &real).expect("a file");
    fs::set_permissions(&real, Permissions::from_mode(0o640)).expect("a mode");
    // only root can give a file to any group; it stays root's, or would be another's to say where keys go
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(&real, None, Some(4321)).expect("a group");
    }
    let owner = |m: fs::Metadata| (m.uid(), m.gid(), m.mode() & 0o7777);
    let before = owner(fs::metadata(&real).expect("a file"));
    symlink("dotfiles/real.toml", home.config()).expect("a link");
    let set = ["key", "set", "tool", "--stdin", "--store", "machine", "--host", "api.tool.example"];
    let said = transcript(&home, &set, KEY);
    assert!(said.contains("where it may go is in ~/locum.toml\n"), "{said}");
    assert!(fs::symlink_metadata(home.config()).expect("a file").is_symlink());
    assert!(fs::read_to_string(&real).expect("a file").contains("api.tool.example"));
    assert_eq!(owner(fs::metadata(&real).expect("a file")), before);
    let said = transcript(&home, &["key", "remove", "tool"], "");
    assert!(said.contains("[key.tool] is no longer in the config\n"), "{said}");

    fs::remove_file(&real).expect("a file");
    let said = transcript(&home, &set, KEY);
    assert!(said.starts_with("error: ") && said.contains("~/locum.toml"), "{said}");
    assert!(fs::symlink_metadata(home.config()).expect("a file").is_symlink());
}

#[test]
fn a_mistake_in_a_binding_names_the_file_that_it_would_be_in() {
    let home = Home::bare("[proxy]\negress = \"open\"\n");
    let said = transcript(&home, &["key", "set", "tool", "--stdin", "--store", "machine", "--host", "*.com"], KEY);
    assert!(said.contains("\n~/locum.toml:6:10: hosts: ") && !said.contains(".locum-"), "{said}");
    assert!(!home.state().join("machine.store").exists(), "nothing is stored either");
    assert_eq!(fs::read_to_string(home.config()).expect("the config"), "[proxy]\negress = \"open\"\n");
}

/// However the table is written, the binding is in the file afterwards.
#[test]
fn a_binding_is_written_into_every_kind_of_table() {
    for before in [
        "[key]\ntool = { hosts = [\"a.example\"] }\n",
        "key = { tool = { hosts = [\"a.example\"] } }\n",
        "key = { other = { hosts = [\"o.example\"] } }\n",
        "key.tool.hosts = [\"a.example\"]\n",
        "[key.tool]\nhosts = [\"a.example\"] # mine\n",
    ] {
        let home = Home::bare(before);
        let set = ["key", "set", "tool", "--stdin", "--store", "machine", "--host", "b.example"];
        let said = transcript(&home, &set, KEY);
        assert!(said.ends_with("[0]\n"), "{before}: {said}");
        let list = locum(&home, &["key", "list", "--json"], "");
        let list: serde_json::Value = serde_json::from_slice(&list.stdout).expect("JSON");
        let tool = list.as_array().expect("an array").iter().find(|row| row["name"] == "tool").expect("the key");
        let config = fs::read_to_string(home.config()).expect("the config");
        assert_eq!(tool["hosts"], serde_json::json!(["b.example"]), "{config}");
        let said = transcript(&home, &["key", "remove", "tool"], "");
        assert!(said.contains("[key.tool] is no longer in the config\n"), "{before}: {said}");
        let config = fs::read_to_string(home.config()).expect("the config");
        assert!(!config.contains("b.example"), "{config}");
    }
}
