//! Settings in the user's files by which a client takes another proxy, or trusts others, than what it is given by variables;
//! and which variable of ours counts before each, where one does. What a setting says may hold a password, and is shown to
//! nobody.

use super::client_setting::{ClientSetting, ClientSettingKind};
use super::names::{CA_FILE, PROXY};
use super::settings_files::{curl_setting, is_ours_of_curl, wget_setting};
use super::{files, git};
use crate::config::key_scan;
use ClientSettingKind::{Bypass, ClusterTrust, NoVerification, Proxy, Trust};
use std::fs;
use std::path::{Path, PathBuf};

/// What is looked for in the files of one client.
struct SettingsOf {
    client: &'static str,
    files: Vec<PathBuf>,
    /// The end of the path that leads to a setting, what it is about, and which variable counts before it.
    known: &'static [(&'static str, ClientSettingKind, Option<&'static str>)],
}

const NPM: &[(&str, ClientSettingKind, Option<&str>)] = &[
    ("cafile", Trust, Some("NPM_CONFIG_CAFILE")),
    ("ca", Trust, Some("NPM_CONFIG_CAFILE")),
    ("proxy", Proxy, Some("NPM_CONFIG_PROXY")),
    ("https-proxy", Proxy, Some("NPM_CONFIG_HTTPS_PROXY")),
    ("noproxy", Bypass, None),
];
const PIP: &[(&str, ClientSettingKind, Option<&str>)] =
    &[("proxy", Proxy, Some("PIP_PROXY")), ("cert", Trust, Some("PIP_CERT"))];
const CARGO: &[(&str, ClientSettingKind, Option<&str>)] =
    &[("http.proxy", Proxy, Some("CARGO_HTTP_PROXY")), ("http.cainfo", Trust, Some("CARGO_HTTP_CAINFO"))];
const YARN: &[(&str, ClientSettingKind, Option<&str>)] = &[
    ("httpProxy", Proxy, Some("YARN_HTTP_PROXY")),
    ("httpsProxy", Proxy, Some("YARN_HTTPS_PROXY")),
    ("httpsCaFilePath", Trust, None),
    ("caFilePath", Trust, None),
];
const KUBECTL: &[(&str, ClientSettingKind, Option<&str>)] = &[
    ("proxy-url", Proxy, None),
    ("certificate-authority", ClusterTrust, None),
    ("certificate-authority-data", ClusterTrust, None),
];

/// All that is found for a user with these variables, whose clients are started in `folder`.
pub fn client_settings(now: &dyn Fn(&str) -> Option<String>, folder: &Path) -> Vec<ClientSetting> {
    let places = UserFolders { now, folder };
    let mut found: Vec<ClientSetting> = places.structured().iter().flat_map(SettingsOf::find).collect();
    found.extend(places.curl());
    found.extend(places.wget());
    found.extend(places.yarn1());
    found.extend(git::user_settings(folder));
    found.extend(places.shells());
    found
}

impl SettingsOf {
    fn find(&self) -> Vec<ClientSetting> {
        let of_file = |file: &PathBuf| {
            let values = text(file).map(|text| key_scan::values(file, &text)).unwrap_or_default();
            values.into_iter().filter_map(|found| self.known(file, found)).collect::<Vec<_>>()
        };
        self.files.iter().flat_map(of_file).collect()
    }

    fn known(&self, file: &Path, found: key_scan::SettingValue) -> Option<ClientSetting> {
        let path = found.path.join(".");
        let is_it = |name: &str| path == name || path.strip_suffix(name).is_some_and(|above| above.ends_with('.'));
        let (_, kind, variable) = self.known.iter().find(|(name, ..)| is_it(name))?;
        // those of one network alone are yarn's, and count before its variables
        let overruled_by = variable.filter(|_| !path.starts_with("networkSettings"));
        let name = found.path.last().cloned().unwrap_or_default();
        let of_client = ClientSetting::new(self.client, file, found.line, name, *kind, found.value);
        Some(ClientSetting { overruled_by, ..of_client })
    }
}

/// Where clients look for their files.
struct UserFolders<'a> {
    now: &'a dyn Fn(&str) -> Option<String>,
    folder: &'a Path,
}

impl UserFolders<'_> {
    fn said(&self, name: &str) -> Option<String> {
        (self.now)(name).filter(|said| !said.is_empty())
    }

    /// A file that a variable names, or one in the folder that it does.
    fn by(&self, variable: &str, file: &str) -> Option<PathBuf> {
        self.said(variable).map(|path| if file.is_empty() { path.into() } else { Path::new(&path).join(file) })
    }

    fn home(&self, file: &str) -> Option<PathBuf> {
        self.by("HOME", file)
    }

    fn structured(&self) -> [SettingsOf; 5] {
        let here = |file: &str| Some(self.folder.join(file));
        let files = |all: &[Option<PathBuf>]| {
            let mut files: Vec<PathBuf> = all.iter().flatten().cloned().collect();
            files.sort();
            files.dedup();
            files
        };
        let npmrc = ["NPM_CONFIG_USERCONFIG", "npm_config_userconfig"].iter().find_map(|name| self.by(name, ""));
        let pip = self.by("XDG_CONFIG_HOME", "pip/pip.conf").or_else(|| self.home(".config/pip/pip.conf"));
        let cargo = self.by("CARGO_HOME", "config.toml").or_else(|| self.home(".cargo/config.toml"));
        let kube = self.said("KUBECONFIG").map(|list| std::env::split_paths(&list).map(Some).collect::<Vec<_>>());
        [
            SettingsOf {
                client: "npm",
                files: files(&[npmrc.or_else(|| self.home(".npmrc")), here(".npmrc"), Some("/etc/npmrc".into())]),
                known: NPM,
            },
            SettingsOf {
                client: "pip",
                files: files(&[
                    self.by("PIP_CONFIG_FILE", ""),
                    self.home(".pip/pip.conf"),
                    pip,
                    self.by("VIRTUAL_ENV", "pip.conf"),
                    Some("/etc/pip.conf".into()),
                ]),
                known: PIP,
            },
            SettingsOf { client: "cargo", files: files(&[cargo, here(".cargo/config.toml")]), known: CARGO },
            SettingsOf { client: "yarn", files: files(&[self.home(".yarnrc.yml"), here(".yarnrc.yml")]), known: YARN },
            SettingsOf {
                client: "kubectl",
                files: files(&kube.unwrap_or_else(|| vec![self.home(".kube/config")])),
                known: KUBECTL,
            },
        ]
    }

    /// Of curl the first file that is there.
    fn curl(&self) -> Vec<ClientSetting> {
        let Some(file) = files::curlrc_places(self.now).into_iter().find(|file| file.is_file()) else {
            return Vec::new();
        };
        let of_line = |(line, (name, value)): (usize, (&str, &str))| {
            let kind = match name {
                "insecure" => NoVerification,
                "noproxy" => Bypass,
                name if name.starts_with("ca") && is_ours_of_curl(name) => Trust,
                name if is_ours_of_curl(name) => Proxy,
                _ => return None,
            };
            let of_curl = ClientSetting::new("curl", &file, line, name, kind, value);
            // what `run` hands on has all but this one taken out
            Some(ClientSetting { overruled_by: (kind != NoVerification).then_some("CURL_HOME"), ..of_curl })
        };
        lines(&text(&file).unwrap_or_default(), curl_setting).into_iter().filter_map(of_line).collect()
    }

    fn wget(&self) -> Vec<ClientSetting> {
        let Some(file) = self.by("WGETRC", "").or_else(|| self.home(".wgetrc")) else { return Vec::new() };
        let of_line = |(line, (name, value)): (usize, (String, &str))| {
            let kind = match name.as_str() {
                "httpproxy" | "httpsproxy" | "useproxy" => Proxy,
                "noproxy" => Bypass,
                "cacertificate" => Trust,
                "checkcertificate" if value.eq_ignore_ascii_case("off") => NoVerification,
                _ => return None,
            };
            let of_wget = ClientSetting::new("wget", &file, line, name, kind, value);
            Some(ClientSetting { overruled_by: (kind != NoVerification).then_some("WGETRC"), ..of_wget })
        };
        lines(&text(&file).unwrap_or_default(), wget_setting).into_iter().filter_map(of_line).collect()
    }

    /// The first yarn's own file: a name and a value on each line, either in quotes.
    fn yarn1(&self) -> Vec<ClientSetting> {
        let files = [self.home(".yarnrc"), Some(self.folder.join(".yarnrc"))];
        let mut found = Vec::new();
        for file in files.into_iter().flatten() {
            let bare = |word: &'_ str| word.trim().trim_matches('"').to_owned();
            let text = text(&file).unwrap_or_default();
            let pairs = lines(&text, |line| line.trim().split_once(' '));
            for (line, (name, value)) in pairs {
                let (kind, overruled_by) = match bare(name).as_str() {
                    "proxy" => (Proxy, Some("YARN_HTTP_PROXY")),
                    "https-proxy" => (Proxy, Some("YARN_HTTPS_PROXY")),
                    // a variable for it would break the later yarn
                    "cafile" => (Trust, None),
                    _ => continue,
                };
                let of_yarn = ClientSetting::new("yarn", &file, line, bare(name), kind, bare(value));
                found.push(ClientSetting { overruled_by, ..of_yarn });
            }
        }
        found.dedup();
        found
    }

    /// What a shell sets when it starts it sets over what it was given.
    fn shells(&self) -> Vec<ClientSetting> {
        const OF_HOME: [&str; 10] = [
            ".profile",
            ".bash_profile",
            ".bash_login",
            ".bashrc",
            ".zshenv",
            ".zprofile",
            ".zshrc",
            ".zlogin",
            ".kshrc",
            ".config/fish/config.fish",
        ];
        let mut all: Vec<PathBuf> = OF_HOME.iter().filter_map(|file| self.home(file)).collect();
        all.extend(["ZDOTDIR"].iter().flat_map(|dir| [".zshenv", ".zshrc"].map(|file| self.by(dir, file))).flatten());
        all.extend(["BASH_ENV", "ENV"].iter().filter_map(|name| self.by(name, "")));
        all.extend(["/etc/profile", "/etc/bash.bashrc", "/etc/zsh/zshenv"].map(PathBuf::from));
        let of_all = fs::read_dir("/etc/profile.d").into_iter().flatten().flatten().map(|entry| entry.path());
        all.extend(of_all.filter(|path| path.extension().is_some_and(|end| end == "sh")));
        all.sort();
        all.dedup();
        all.iter().flat_map(|file| of_shell(file)).collect()
    }
}

fn of_shell(file: &Path) -> Vec<ClientSetting> {
    let Some(text) = text(file) else { return Vec::new() };
    let of_value = |found: key_scan::SettingValue| {
        let name = found.path.last()?;
        let kind = match name.as_str() {
            "NO_PROXY" | "no_proxy" => Bypass,
            name if PROXY.contains(&name) => Proxy,
            name if CA_FILE.contains(&name) => Trust,
            _ => return None,
        };
        // what was there before is kept: ${HTTPS_PROXY:-http://…}
        let is_kept = [":-", ":=", "-", "="].iter().any(|mark| found.value.contains(&format!("${{{name}{mark}")));
        let in_block = text.lines().nth(found.line - 1).is_some_and(|line| line.starts_with([' ', '\t']));
        let of_shell = ClientSetting::new("the shell", file, found.line, name, kind, found.value);
        (!is_kept).then_some(ClientSetting { in_block, ..of_shell })
    };
    key_scan::values(file, &text).into_iter().filter_map(of_value).collect()
}

fn text(file: &Path) -> Option<String> {
    files::read(file).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// What is read of each line that has something, with its number from 1.
fn lines<'t, T>(text: &'t str, read: impl Fn(&'t str) -> Option<T>) -> Vec<(usize, T)> {
    text.lines().enumerate().filter_map(|(before, line)| Some((before + 1, read(line)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Client, name, kind and variable of each setting, for a home with these files.
    fn found(files: &[(&str, &str)]) -> Vec<(&'static str, String, ClientSettingKind, Option<&'static str>, usize)> {
        let home = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let path = home.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let said = home.path().display().to_string();
        let now = |name: &str| (name == "HOME").then(|| said.clone());
        let all = client_settings(&now, &home.path().join("nowhere"));
        let own = all.into_iter().filter(|setting| setting.file.starts_with(home.path()));
        own.map(|s| (s.client, s.name, s.kind, s.overruled_by, s.line)).collect()
    }

    #[test]
    fn each_file_is_read_as_its_client_does() {
        for (file, text, client, name, kind, variable, line) in [
            (".npmrc", "# x\ncafile=/x.pem\n", "npm", "cafile", Trust, Some("NPM_CONFIG_CAFILE"), 2),
            (".npmrc", "noproxy = api.tool.example\n", "npm", "noproxy", Bypass, None, 1),
            (".config/pip/pip.conf", "[install]\nproxy = http://p:1\n", "pip", "proxy", Proxy, Some("PIP_PROXY"), 2),
            (".pip/pip.conf", "[global]\ncert = /x.pem\n", "pip", "cert", Trust, Some("PIP_CERT"), 2),
            (".cargo/config.toml", "[http]\nproxy = \"p:1\"\n", "cargo", "proxy", Proxy, Some("CARGO_HTTP_PROXY"), 2),
            (".yarnrc", "https-proxy \"http://p:1\"\n", "yarn", "https-proxy", Proxy, Some("YARN_HTTPS_PROXY"), 1),
            (".yarnrc", "\"cafile\" /x.pem\n", "yarn", "cafile", Trust, None, 1),
            (".yarnrc.yml", "httpsProxy: http://p:1\n", "yarn", "httpsProxy", Proxy, Some("YARN_HTTPS_PROXY"), 1),
            (
                ".yarnrc.yml",
                "networkSettings:\n  \"*.example\":\n    httpsProxy: http://p:1\n",
                "yarn",
                "httpsProxy",
                Proxy,
                None,
                3,
            ),
            (".curlrc", "-x http://p:1\n", "curl", "proxy", Proxy, Some("CURL_HOME"), 1),
            (".curlrc", "cacert = /x.pem\n", "curl", "cacert", Trust, Some("CURL_HOME"), 1),
            (".curlrc", "# k\n--insecure\n", "curl", "insecure", NoVerification, None, 2),
            (".wgetrc", "HTTPS-Proxy = http://p:1\n", "wget", "httpsproxy", Proxy, Some("WGETRC"), 1),
            (".wgetrc", "check_certificate = off\n", "wget", "checkcertificate", NoVerification, None, 1),
            (
                ".kube/config",
                "apiVersion: v1\nclusters:\n- cluster:\n    proxy-url: http://p:1\n",
                "kubectl",
                "proxy-url",
                Proxy,
                None,
                4,
            ),
            (".zshenv", "export HTTPS_PROXY=http://p:1\n", "the shell", "HTTPS_PROXY", Proxy, None, 1),
            (
                ".config/fish/config.fish",
                "set -gx https_proxy http://p:1\n",
                "the shell",
                "https_proxy",
                Proxy,
                None,
                1,
            ),
            (".bashrc", "x=1\nSSL_CERT_FILE='/x.pem'\n", "the shell", "SSL_CERT_FILE", Trust, None, 2),
        ] {
            assert_eq!(found(&[(file, text)]), [(client, name.to_owned(), kind, variable, line)], "{file} {text}");
        }
    }

    #[test]
    fn what_leads_nowhere_else_is_no_finding() {
        let files = [
            (".npmrc", "registry=https://r.example\n#cafile=/x\n"),
            (".config/pip/pip.conf", "[global]\nindex-url = https://r.example\n"),
            (".curlrc", "user-agent = x\n# proxy = y\n"),
            (".wgetrc", "tries = 3\ncheck_certificate = on\n"),
            (".bashrc", "export HTTPS_PROXY=${HTTPS_PROXY:-http://p:1}\n# export HTTP_PROXY=x\nexport PATH=/x\n"),
            (".yarnrc", "lastUpdateCheck 1\n"),
        ];
        assert_eq!(found(&files), []);
    }
}
