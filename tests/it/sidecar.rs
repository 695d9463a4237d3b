//! The sidecar, started by what `Dockerfile` and `examples/` say: its user, folders, variables, volumes and secrets, in a folder
//! that stands for the container's root. Nothing of Docker's is needed.

use crate::support::locum::{finish, stdout, told};
use crate::support::{Home, Serve};
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

const KEY: &str = "sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8tUv1wXy4z";
const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";

/// As a checkout has it under the umask of Debian's and Ubuntu's users.
const CHECKED_OUT: u32 = 0o664;

fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(repository(file)).unwrap()
}

/// Instructions of the Dockerfile, each on one line, up to and from the last `FROM`.
fn dockerfile() -> [Vec<String>; 2] {
    let text = read("Dockerfile").lines().filter(|l| !l.starts_with('#')).map(|l| format!("{l}\n")).collect::<String>();
    let joined = text.replace("\\\n", " ");
    let lines: Vec<String> = joined.lines().map(str::to_owned).filter(|l| !l.is_empty()).collect();
    let last = lines.iter().rposition(|l| l.starts_with("FROM ")).unwrap();
    [lines[..last].to_vec(), lines[last..].to_vec()]
}

fn of<'l>(lines: &'l [String], instruction: &str) -> Vec<&'l str> {
    lines.iter().filter_map(|l| l.strip_prefix(instruction)?.strip_prefix(' ')).map(str::trim).collect()
}

/// The image's part of a container: who runs, with which variables, in which folders.
struct Container {
    home: Home,
    uid: u32,
    environment: BTreeMap<String, String>,
}

impl Container {
    /// The image, unpacked.
    fn of_image() -> Self {
        let [_, image] = dockerfile();
        let (user, group) = of(&image, "USER")[0].split_once(':').unwrap();
        let uid = user.parse().unwrap();
        assert_eq!(user, group);
        let environment = of(&image, "ENV").into_iter().flat_map(|l| l.split_whitespace()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        });
        let container = Self { home: Home::bare(""), uid, environment: environment.collect() };
        std::fs::set_permissions(container.home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        for run in of(&image, "RUN").iter().flat_map(|l| l.split("&&")) {
            let words: Vec<&str> = run.split_whitespace().collect();
            if let ["useradd", rest @ ..] = &words[..] {
                assert!(rest.windows(2).any(|w| w == ["--uid", user]), "{run}");
            }
            let ["install", "-d", options @ .., folder] = &words[..] else { continue };
            let option = |name: &str| options.iter().position(|o| *o == name).map(|at| options[at + 1]);
            let mode = u32::from_str_radix(option("-m").unwrap(), 8).unwrap();
            container.folder(folder, if option("-o") == Some("locum") { uid } else { 0 }, mode);
        }
        for copy in of(&image, "COPY").into_iter().filter(|l| l.contains("/etc/locum/locum.toml")) {
            let words: Vec<&str> = copy.split_whitespace().collect();
            let mode = words.iter().find_map(|w| w.strip_prefix("--chmod="));
            let mode = mode.map_or(CHECKED_OUT, |mode| u32::from_str_radix(mode, 8).unwrap());
            container.file(words[words.len() - 1], &read(words[words.len() - 2]), mode);
        }
        container
    }

    /// Where a path of the container is on this machine.
    fn at(&self, path: &str) -> PathBuf {
        self.home.path().join("root").join(path.trim_start_matches('/'))
    }

    fn folder(&self, path: &str, uid: u32, mode: u32) {
        let at = self.at(path);
        std::fs::create_dir_all(&at).unwrap();
        std::fs::set_permissions(&at, std::fs::Permissions::from_mode(mode)).unwrap();
        if rustix::process::geteuid().is_root() {
            chown(&at, Some(uid), Some(uid)).unwrap();
        }
    }

    fn file(&self, path: &str, text: &str, mode: u32) {
        let at = self.at(path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(&at, self.here(text)).unwrap();
        std::fs::set_permissions(&at, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A text in which the container's paths are those of this machine, and the port is any.
    fn here(&self, text: &str) -> String {
        let mut text = text.replace(":8787", ":0");
        for path in ["/run/secrets", "/var/lib", "/etc/locum", "/ca/"] {
            let there = self.at(path).display().to_string();
            text = text.replace(path, &format!("{there}{}", if path.ends_with('/') { "/" } else { "" }));
        }
        text
    }

    /// The program of the image, as its user and with its variables alone.
    fn locum(&self, arguments: &[&str], given: &[(&str, &str)]) -> Command {
        let program = self.home.path().join("locum");
        if !program.exists() {
            std::fs::copy(env!("CARGO_BIN_EXE_locum"), &program).unwrap();
        }
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = self.home.command("setpriv");
            let (uid, gid) = (format!("--reuid={}", self.uid), format!("--regid={}", self.uid));
            command.args([&uid, &gid, "--clear-groups", "--"]).arg(&program);
            command
        } else {
            self.home.command(&program)
        };
        command.args(arguments).current_dir("/").env("HOME", self.at("/var/lib/locum"));
        command.envs(self.environment.iter().map(|(name, value)| (name, self.here(value))));
        command.envs(given.iter().copied());
        command
    }

    /// `ENTRYPOINT` and `CMD`, until it is healthy by `HEALTHCHECK`.
    fn start(self, given: &[(&str, &str)]) -> Running {
        let [_, image] = dockerfile();
        assert_eq!((of(&image, "ENTRYPOINT"), of(&image, "CMD")), (vec![r#"["locum"]"#], vec![r#"["serve"]"#]));
        let mut command = self.locum(&["serve"], given);
        let serve = Serve::of(self.home, &mut command);
        let ca = serve.home.path().join("root/ca/locum.pem");
        let running = Running { serve, ca };
        assert!(of(&image, "HEALTHCHECK")[0].ends_with(r#"CMD ["locum", "serve", "--healthcheck"]"#));
        let mut healthcheck = running.serve.home.command(running.serve.home.path().join("locum"));
        healthcheck.args(["serve", "--healthcheck"]).env("LOCUM_PROXY__LISTEN", running.serve.address.to_string());
        let output = finish(&mut healthcheck);
        assert!(output.status.success(), "{}", told(&output));
        running
    }
}

struct Running {
    serve: Serve,
    ca: PathBuf,
}

impl Running {
    /// What an agent is answered that asks with this token, as far as its proxy.
    fn asked(&self, token: Option<&str>) -> String {
        let mut curl = self.serve.home.command("curl");
        curl.args(["-q", "-s", "-o", "/dev/null", "-w", "%{http_connect}", "--cacert"]).arg(&self.ca);
        let credentials = token.map_or_else(String::new, |token| format!("worker:{token}@"));
        curl.arg("--proxy").arg(format!("http://{credentials}127.0.0.1:{}", self.serve.address.port()));
        stdout(&finish(curl.arg("https://not-listed.invalid/")))
    }

    fn is_good(&self) {
        let said = self.serve.said();
        assert!(said.contains("keys: openai"), "{said}");
        assert!(!said.contains("openai' has no value") && !said.contains("can't be read"), "{said}");
        let ca = std::fs::metadata(&self.ca).unwrap();
        assert_eq!(ca.permissions().mode() & 0o444, 0o444, "agents run as another user");
        assert_eq!(self.asked(None), "407");
    }
}

/// A table of a compose file: the lines below `name:` that stand further in, without that much indentation.
fn below(text: &str, name: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let at =
        lines.iter().position(|l| l.strip_suffix(':') == Some(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
    let inside = lines[at + 1..].iter().take_while(|l| l.is_empty() || l.starts_with(' '));
    inside.map(|l| format!("{}\n", l.strip_prefix("  ").unwrap_or(l))).collect()
}

/// The items of a list, in either notation.
fn list(text: &str, name: &str) -> Vec<String> {
    let inline = text.lines().find_map(|l| l.strip_prefix(&format!("{name}: ["))?.strip_suffix(']'));
    match inline {
        Some(items) => items.split(',').map(|item| item.trim().to_owned()).collect(),
        None => below(text, name).lines().filter_map(|l| l.trim().strip_prefix("- ")).map(str::to_owned).collect(),
    }
}

#[test]
fn the_compose_file_starts_a_sidecar() {
    let compose = read("examples/docker-compose.yml");
    let container = Container::of_image();
    let service = below(&below(&compose, "services"), "locum");
    // who follows it sets the variables that it exports, and makes no file that it doesn't name
    let exported: Vec<&str> =
        compose.lines().filter_map(|l| l.strip_prefix("#   export ")?.split('=').next()).collect();
    for secret in list(&service, "secrets") {
        let secrets = below(&compose, "secrets");
        let source = secrets.lines().find_map(|l| l.strip_prefix(&format!("{secret}: {{ environment: "))).unwrap();
        let variable = source.trim_end_matches(" }");
        assert!(exported.contains(&variable), "{variable}: {exported:?}");
        let value = if variable == "OPENAI_API_KEY" { KEY } else { TOKEN };
        // as Compose makes files of variables
        container.file(&format!("/run/secrets/{secret}"), value, 0o444);
    }
    for volume in list(&service, "volumes") {
        let parts: Vec<&str> = volume.split(':').collect();
        if let Some(file) = parts[0].strip_prefix("./") {
            assert!(compose.contains(&format!("#   chmod go-w {file} ")), "{volume}");
            container.file(parts[1], &read(&format!("examples/{file}")), CHECKED_OUT & !0o022);
        } else {
            // a new volume is as the image has its folder
            assert!(container.at(parts[1]).is_dir(), "{volume} would be root's");
        }
    }
    let check = finish(&mut container.locum(&["check"], &[]));
    assert!(check.status.success() && stdout(&check).contains("key     openai from file"), "{}", told(&check));
    let running = container.start(&[]);
    running.is_good();
    assert_eq!(running.asked(Some(TOKEN)), "403", "it is known, and that host not listed");
    // the agent's side
    let agent = below(&below(&compose, "services"), "agent");
    assert!(
        list(&agent, "secrets").contains(&"agent_token".to_owned()) && agent.contains("cat /run/secrets/agent_token")
    );
    assert_eq!(list(&agent, "volumes"), ["ca:/ca:ro"]);
    assert_eq!(agent.matches("/ca/locum.pem").count(), 2);
    running.serve.stop();
}

/// The lines at the top of the Dockerfile, with the config that is in the image.
#[test]
fn the_image_starts_by_itself() {
    let text = read("Dockerfile");
    for said in [
        "export LOCUM_PROXY_TOKEN=",
        "-v locum-state:/var/lib/locum -v locum-ca:/ca -e OPENAI_API_KEY -e LOCUM_PROXY_TOKEN",
    ] {
        assert!(text.contains(said), "{said}");
    }
    let running = Container::of_image().start(&[("OPENAI_API_KEY", KEY), ("LOCUM_PROXY_TOKEN", TOKEN)]);
    running.is_good();
    running.serve.stop();
    // beyond loopback anyone could use it
    let output = finish(&mut Container::of_image().locum(&["serve"], &[("OPENAI_API_KEY", KEY)]));
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
}

/// Cargo finds all that the manifest names in what is copied for it.
#[test]
fn the_image_is_built_of_all_that_it_takes() {
    let [build, _] = dockerfile();
    let dir = tempfile::tempdir().unwrap();
    for copy in of(&build, "COPY") {
        let words: Vec<&str> = copy.split_whitespace().collect();
        let (to, from) = words.split_last().unwrap();
        for file in from {
            let at = if *to == "./" { dir.path().join(file) } else { dir.path().join(to) };
            std::os::unix::fs::symlink(repository(file), at).unwrap();
        }
    }
    let mut cargo = Command::new(env!("CARGO"));
    let output =
        finish(cargo.current_dir(dir.path()).args(["metadata", "--offline", "--no-deps", "--format-version=1"]));
    assert!(output.status.success(), "{}", told(&output));
    assert!(dir.path().join("config/providers.toml").exists(), "it is a part of the program");
}
