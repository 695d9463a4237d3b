//! The text of the files by which single clients are told: the user's own settings without what would lead past the proxy or
//! distrust it, and ours.

use std::path::Path;

/// Settings of a wgetrc that would lead past the proxy or distrust it.
const WGET_OURS: [&str; 5] = ["cacertificate", "httpproxy", "httpsproxy", "useproxy", "noproxy"];
/// How the same are called in a curlrc: what begins like these.
const CURL_OURS: [&str; 7] = ["proxy", "preproxy", "noproxy", "socks", "cacert", "capath", "ca-native"];

/// The user's settings, except those that ours replace.
pub fn wgetrc(own: &str, bundle: &Path) -> String {
    let is_ours = |line: &str| wget_setting(line).is_some_and(|(name, _)| WGET_OURS.contains(&name.as_str()));
    let mut out = lines_of(own, |line| !is_ours(line));
    out.push_str(&format!("ca_certificate = {}\n", bundle.display()));
    out
}

/// What a line of a wgetrc sets, and to what. wget tells names apart by neither case, `-` nor `_`: they are left out here.
pub fn wget_setting(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.split_once('=')?;
    Some((name.trim().to_lowercase().replace(['-', '_'], ""), value.trim()))
}

/// The user's settings without a proxy and a CA: both come by variables, which a curlrc outranks.
pub fn curlrc(own: &str) -> String {
    lines_of(own, |line| !curl_setting(line).is_some_and(|(name, _)| is_ours_of_curl(name)))
}

/// What a line of a curlrc sets, by its long name, and to what.
pub fn curl_setting(line: &str) -> Option<(&str, &str)> {
    const SHORT: [(&str, &str); 3] = [("-x", "proxy"), ("-U", "proxy-user"), ("-k", "insecure")];
    let line = line.trim_start();
    if let Some((short, name)) = SHORT.iter().find(|(short, _)| line.starts_with(short)) {
        return Some((name, curl_value(&line[short.len()..])));
    }
    let name = line.trim_start_matches('-');
    let end = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.').unwrap_or(name.len());
    (end > 0).then(|| (&name[..end], curl_value(&name[end..])))
}

/// What stands behind a name, without what parts the two.
fn curl_value(rest: &str) -> &str {
    rest.trim_start_matches([' ', '\t', '=', ':']).trim_end().trim_matches('"')
}

/// Whether a setting of curl's is one that ours replaces.
pub fn is_ours_of_curl(name: &str) -> bool {
    CURL_OURS.iter().any(|ours| name.starts_with(ours))
}

/// What curl verifies a proxy by that speaks TLS. In quotes a backslash hides the next letter.
pub fn curl_proxy(bundle: &Path) -> String {
    let path = bundle.display().to_string().replace('\\', r"\\").replace('"', "\\\"");
    format!("proxy-cacert = \"{path}\"\n")
}

fn lines_of(text: &str, is_kept: impl Fn(&str) -> bool) -> String {
    text.lines().filter(|line| is_kept(line)).flat_map(|line| [line, "\n"]).collect()
}

/// Two settings for PHP.
pub fn php_ini(bundle: &Path) -> String {
    let path = bundle.display();
    format!("curl.cainfo = \"{path}\"\nopenssl.cafile = \"{path}\"\n")
}

/// What apt reads before all else: what the user has it read then, and that `last` stands for the file that it reads behind all
/// else.
pub fn apt_first(own: Option<&Path>, last: &Path) -> String {
    format!("{}Dir::Etc::main \"{}\";\n", include(own), last.display())
}

/// What apt reads behind all else: no proxy but that of the environment, and the bundle for `https`.
pub fn apt_last(main: Option<&Path>, bundle: &Path) -> String {
    let mut out = include(main);
    for scheme in ["http", "https"] {
        for setting in ["Proxy", "Proxy-Auto-Detect", "ProxyAutoDetect", "CAInfo"] {
            out.push_str(&format!("#clear Acquire::{scheme}::{setting};\n"));
        }
    }
    out.push_str(&format!("Acquire::https::CAInfo \"{}\";\n", bundle.display()));
    out
}

fn include(file: Option<&Path>) -> String {
    file.map_or_else(String::new, |file| format!("#include \"{}\";\n", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wget_keeps_the_users_settings_but_those_that_lead_past_us() {
        let own = "tries = 3\nHTTPS-Proxy = http://old:1\n# ca_certificate = x\ncaCertificate=/old.pem\nno_proxy = a";
        let ours = wgetrc(own, Path::new("/t/b.pem"));
        assert_eq!(ours, "tries = 3\n# ca_certificate = x\nca_certificate = /t/b.pem\n");
        assert_eq!(wgetrc("", Path::new("/b")), "ca_certificate = /b\n");
    }

    #[test]
    fn curl_keeps_the_users_settings_but_those_that_lead_past_us() {
        let own = "# proxy = a\nproxy = \"http://old:1\"\n--proxy http://old:1\n -x http://old:1\n-Uname:pass\nnoproxy=*\n\
                   socks5-hostname old:1\ncacert /old.pem\nuser-agent = \"mine\"\n-H \"X-Proxy: kept\"\n--location\n";
        assert_eq!(curlrc(own), "# proxy = a\nuser-agent = \"mine\"\n-H \"X-Proxy: kept\"\n--location\n");
    }

    #[test]
    fn apt_reads_ours_behind_all_that_the_user_has() {
        let (own, last) = (Path::new("/home/u/apt.conf"), Path::new("/t/last.conf"));
        assert_eq!(apt_first(Some(own), last), "#include \"/home/u/apt.conf\";\nDir::Etc::main \"/t/last.conf\";\n");
        assert_eq!(apt_first(None, last), "Dir::Etc::main \"/t/last.conf\";\n");
        let text = apt_last(Some(Path::new("/etc/apt/apt.conf")), Path::new("/t/b.pem"));
        assert!(text.starts_with("#include \"/etc/apt/apt.conf\";\n#clear Acquire::http::Proxy;\n"), "{text}");
        assert!(text.ends_with("\nAcquire::https::CAInfo \"/t/b.pem\";\n"), "{text}");
    }
}
