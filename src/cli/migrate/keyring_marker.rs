//! Keys that another program has moved into the keyring, with a marker in its file: they are brought over.

use super::scanned_file::ScannedFile;
use crate::config::key_scan::ValueVerdict;
use crate::secrets::SecretBackends;

/// The services under which the programs that write the marker keep their keys.
const SERVICES: [&str; 2] = ["nanofolks.ai", "nanofolks"];

/// Gives each marker the value that it stands for; one whose value isn't found is told and left.
pub fn resolve(documents: &mut [ScannedFile], backends: &SecretBackends) {
    for document in documents {
        let named = document.named.display().to_string();
        document.scan.values.retain_mut(|found| {
            let ValueVerdict::InKeyring { user, .. } = &found.verdict else { return true };
            let entry = format!("{}/{user}", SERVICES[0]);
            let what = match kept(user, backends) {
                Ok(Some((service, value))) => {
                    let held = format!("{service}/{user}");
                    println!("{named}:{}: brought over from {held} in the keyring, where it stays as well", found.line);
                    found.value = value;
                    return true;
                }
                Ok(None) => format!("its key is said to be in the keyring as {entry}, and isn't there"),
                Err(e) => format!("its key is said to be in the keyring as {entry}, which can't be asked: {e}"),
            };
            println!("{named}:{}: {}: {what}", found.line, found.path);
            false
        });
    }
}

fn kept(user: &str, backends: &SecretBackends) -> Result<Option<(&'static str, String)>, String> {
    let Some(keyring) = &backends.keyring else { return Ok(None) };
    for service in SERVICES {
        let value = keyring.of_program(service, user).map_err(|e| e.to_string())?;
        let text = value.and_then(|value| String::from_utf8(value.expose().to_vec()).ok());
        if let Some(text) = text.filter(|text| !text.is_empty() && !text.contains(char::is_control)) {
            return Ok(Some((service, text)));
        }
    }
    Ok(None)
}
