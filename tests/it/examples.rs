//! What `examples/` shows, run as its README says: agents that hold no key, and an MCP server over HTTP.

use crate::support::locum::{finish, of, stderr, stdout, told};
use crate::support::{Home, clients};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// What is killed with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program, and reads its lines until one is wanted.
fn started(command: &mut Command, wanted: impl Fn(&str) -> bool) -> (Killed, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a program that starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let child = Killed(child);
    let line = lines.map_while(Result::ok).find(|line| wanted(line)).expect("it says so");
    (child, line)
}

/// `locum` by its name alone, as the examples call it.
fn with_locum_in_path(command: &mut Command) -> &mut Command {
    let folder = Path::new(env!("CARGO_BIN_EXE_locum")).parent().expect("a folder").to_path_buf();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = [folder].into_iter().chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(all).expect("a path"))
}

#[test]
fn the_agents_call_their_tools_against_the_demo() {
    let home = Home::bare("");
    let (demo, line) = started(&mut home.locum(&["demo", "--serve"]), |line| line.starts_with("  . "));
    for (program, agent) in
        [(clients::python(), example("agent_python/agent.py")), ("node".into(), example("agent_node/agent.mjs"))]
    {
        let script = format!("{line} && exec \"$0\" \"$1\"");
        let output = finish(with_locum_in_path(&mut home.command("sh")).args(["-c", &script, &program]).arg(&agent));
        let said = stdout(&output);
        assert!(output.status.success(), "{}", told(&output));
        assert!(said.contains("tool answers hello, you sent me Bearer <<demo_key>>\n"), "{said}");
        let note = said.lines().find(|line| line.contains("tool answers") && line.contains("api_key"));
        let note = note.unwrap_or_else(|| panic!("{said}"));
        assert!(note.contains("I wrote <<demo_key>> where the key belongs"), "{note}");
        // what came back is what was sent, but for the key, which the host saw and the agent did not
        assert!(!said.contains("demo-"), "{said}");
    }
    drop(demo);
}

#[test]
fn an_mcp_server_over_http_is_reached_with_a_placeholder() {
    const KEY: &str = "notes-3f9c1d7e5b2a4860";
    let read = |name: &str| std::fs::read_to_string(example("mcp_over_http").join(name)).expect("a file");
    let home = Home::bare("").set("NOTES_API_KEY", KEY);
    let python = clients::python();
    let mut server = home.command(&python);
    let (_server, url) =
        started(server.arg(example("mcp_over_http/server.py")).arg("0"), |line| line.starts_with("http"));
    let port = url.trim_start_matches("http://127.0.0.1:").trim_end_matches("/mcp").to_owned();
    home.write_config(&read("locum.toml").replace("8321", &port));
    let config = home.path().join("mcp.json");
    std::fs::write(&config, read("mcp.json").replace("8321", &port)).expect("a file");
    let client = example("mcp_over_http/client.py");
    let (client, config) = (client.to_string_lossy(), config.to_string_lossy());
    let output = home.run(&["env", "NO_PROXY=", "no_proxy=", &python, &client, &config]);
    let said = stdout(&output);
    assert!(output.status.success(), "{}", told(&output));
    assert!(said.contains("tools: add_note\nanswer: note 1 is kept: I hold <<notes_key>> and no key\n"), "{said}");
    assert!(!told(&output).contains(KEY), "{}", told(&output));
    assert!(of(&home.audit(), "substitution").len() > 2);
    // without locum it knows nobody
    let output = finish(home.command(&python).args([&*client, &*config]));
    assert!(!output.status.success(), "{}", told(&output));
}

/// The lines of a README's `sh` block, with the ports of this run.
fn typed(readme: &str) -> String {
    let (_, rest) = readme.split_once("```sh\n").expect("what is typed");
    rest.split_once("```").expect("its end").0.to_owned()
}

#[test]
fn keys_go_out_of_files_and_back_as_the_readme_says() {
    let home = Home::bare("");
    let read = |path: &Path| std::fs::read_to_string(path).expect("a file");
    let after: Vec<String> =
        ["nanofolks.after.json", "nostromo.after.env"].map(|name| read(&example("migrate").join(name))).into();
    let before: Vec<String> =
        ["nanofolks.json", "nostromo.env"].map(|name| read(&example("migrate").join(name))).into();
    let now = || ["nanofolks.json", "nostromo.env"].map(|name| read(&home.path().join(name))).to_vec();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").display().to_string();
    for (line, files) in
        typed(&read(&example("migrate/README.md"))).lines().zip([&before, &before, &after, &after, &before])
    {
        let line = line.replace("examples/", &format!("{examples}/"));
        let output = finish(with_locum_in_path(&mut home.command("sh")).args(["-c", &line]));
        assert!(output.status.success(), "{line}: {}", told(&output));
        assert_eq!(&now(), files, "{line}: {}", told(&output));
        assert!(!line.contains("echo") || stdout(&output) == "<<anthropic_key>>\n", "{}", told(&output));
        assert!(!told(&output).contains("not-a-key"), "{line}: {}", told(&output));
    }
}

#[test]
fn git_clones_and_pushes_with_a_placeholder() {
    const KEY: &str = "git-7a1e93c05d2b4f68";
    let home = Home::bare("").set("GIT_API_KEY", KEY).set("GIT_CONFIG_GLOBAL", "/dev/null");
    let lines = typed(&std::fs::read_to_string(example("git_over_https/README.md")).expect("a file"));
    let shell = |line: &str| {
        let output = finish(with_locum_in_path(&mut home.command("sh")).args(["-c", line]));
        assert!(output.status.success(), "{line}: {}", told(&output));
        output
    };
    let (set_up, rest) = lines.split_once("python ").expect("a server");
    shell(set_up);
    let mut server = home.command(clients::python());
    let (_server, url) = started(server.arg(example("git_over_https/server.py")).args(["repositories", "0"]), |line| {
        line.starts_with("http")
    });
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").display().to_string();
    let (_, agent) = rest.split_once("&\n").expect("the agent");
    let agent = agent.replace("http://localhost:8322", &url).replace("examples/", &format!("{examples}/"));
    let output = shell(&agent);
    assert!(stdout(&output).ends_with("\tHEAD\n"), "{}", told(&output));
    assert!(!told(&output).contains(KEY), "{}", told(&output));
    let pushed = shell(
        "git -C repositories/notes.git show HEAD:note.txt 2>/dev/null || git -C repositories/notes.git show --all --format= -p",
    );
    assert!(stdout(&pushed).contains("written without a password"), "{}", told(&pushed));
    assert!(stderr(&output).contains(" substitutions, 0 refusals"), "{}", told(&output));
}
