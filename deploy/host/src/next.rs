//! What an operator does next with a guest, in the very words of a shell.

use zipnet_attest::provision::Config;

use crate::{files, place::Folder, plan::Plan};

/// Where a guest waits for its secrets unless its settings say otherwise.
const PROVISION: u16 = 7650;
/// Longest configuration, in bytes.
const MAX_CONFIG: u64 = zipnet_attest::provision::MAX_CONFIG as u64;

/// The settings that a guest was launched with, as far as they can be read.
#[must_use]
pub fn settings(folder: &Folder, plan: &Plan) -> Option<Config> {
    let bytes = files::read(&folder.config(plan.config), MAX_CONFIG).ok()?;
    Config::parse(&bytes).ok()
}

/// The command that gives the guest its secrets. What is public and known is filled in.
#[must_use]
pub fn provisioning(folder: &Folder, plan: &Plan) -> String {
    let config = settings(folder, plan);
    let get = |key: &str| config.as_ref().and_then(|config| config.get(key));
    let port = get("GUEST_PROVISION")
        .and_then(|address| address.rsplit(':').next()?.parse().ok())
        .unwrap_or(PROVISION);
    let forward = plan
        .forward
        .iter()
        .find(|forward| forward.protocol == "tcp" && forward.guest == port);
    let guest = match forward {
        Some(forward) => {
            let address = forward.address.filter(|address| !address.is_unspecified());
            let address = address.unwrap_or(std::net::Ipv4Addr::LOCALHOST);
            format!("{address}:{}", forward.port)
        }
        None => format!("GUEST-ADDRESS:{port}"),
    };
    let mut words = vec![
        "zipnet-attest".to_owned(),
        "provision".to_owned(),
        guest,
        "--config".to_owned(),
        plan.config_file.display().to_string(),
    ];
    for key in get("ZIPNET_POLICY_KEYS").unwrap_or("KEY").split(',') {
        words.extend(["--key".to_owned(), key.trim().to_owned()]);
    }
    if let Some(threshold) = get("ZIPNET_POLICY_THRESHOLD") {
        words.extend(["--threshold".to_owned(), threshold.to_owned()]);
    }
    let collateral = get("ZIPNET_COLLATERAL").unwrap_or("FILE-OR-URL");
    words.extend(
        [
            "--policy",
            "policy.json",
            "--collateral",
            collateral,
            "--secrets",
            "secrets",
        ]
        .map(str::to_owned),
    );
    let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
    words.join(" ")
}

/// A word that a shell takes as one, and a terminal as text.
fn quoted(word: &str) -> String {
    let word = zipnet_attest::report::plain(word);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=+,@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one() {
        assert_eq!(quoted("a/b-1.conf"), "a/b-1.conf");
        assert_eq!(quoted("of a 'test'\n$x"), r"'of a '\''test'\''\n$x'");
        assert_eq!(quoted(""), "''");
    }
}
