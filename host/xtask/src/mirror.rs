// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Where the Debian archive is: no mirror is written down in the tree, this machine's own apt and
//! its packages know one.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{bail, Result};

use crate::{machine, process};

/// The variable that overrides everything else.
pub const VARIABLE: &str = "BERTH_DEBIAN_MIRROR";

/// The same for the archive of security updates.
pub const SECURITY_VARIABLE: &str = "BERTH_DEBIAN_SECURITY_MIRROR";

/// Finds the URI of a Debian mirror.
pub fn discover() -> Result<String> {
    if let Some(uri) = named_by(VARIABLE) {
        return Ok(uri);
    }
    if let Some(uri) = from_index_targets("Debian").or_else(|| from_source_files("")) {
        return Ok(uri);
    }
    // Not a Debian, or one whose sources name no Debian: debootstrap knows where Debian is.
    machine::ensure_packages(&["debootstrap"])?;
    if let Some(uri) = from_debootstrap() {
        return Ok(uri);
    }
    bail!(
        "cannot find out where the Debian archive is: neither apt's sources nor debootstrap name it; \
         set {VARIABLE} to the URI of a Debian mirror"
    )
}

/// Finds the URI of a mirror of the security updates that goes with the mirror `main`.
pub fn discover_security(main: &str) -> Option<String> {
    let of_this_machine = || {
        // Who named the one by hand does not want the other from elsewhere.
        let own = named_by(VARIABLE).is_none();
        own.then(|| {
            from_index_targets("Debian-Security").or_else(|| from_source_files("-security"))
        })
        .flatten()
    };
    named_by(SECURITY_VARIABLE).or_else(of_this_machine).or_else(|| beside(main))
}

/// Where a mirror that has both archives has the security updates.
fn beside(main: &str) -> Option<String> {
    main.strip_suffix("/debian").map(|parent| format!("{parent}/debian-security"))
}

fn named_by(variable: &str) -> Option<String> {
    let uri = std::env::var(variable).ok()?;
    Some(uri.trim_end_matches('/').to_owned()).filter(|uri| !uri.is_empty())
}

fn from_index_targets(label: &str) -> Option<String> {
    let format = "$(ORIGIN)|$(LABEL)|$(REPO_URI)";
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", format, "Created-By: Packages"]);
    debian_target(&process::output(&mut command).ok()?, label)
}

/// The first of Debian's targets with that label: the archive proper and the security updates have
/// one each.
fn debian_target(listing: &str, wanted: &str) -> Option<String> {
    let targets = listing.lines().map(|line| line.splitn(3, '|').collect::<Vec<_>>());
    targets.into_iter().find_map(|fields| match fields[..] {
        ["Debian", label, uri] if label == wanted => Some(uri.trim_end_matches('/').to_owned()),
        _ => None,
    })
}

/// Without fetched package lists (a fresh container) apt knows no origins: read the sources, if
/// this machine is a Debian. `part` is what follows the suite's name.
fn from_source_files(part: &str) -> Option<String> {
    let release = fs::read_to_string("/etc/os-release").ok()?;
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches('"').to_owned())
    };
    if value("ID")? != "debian" {
        return None;
    }
    let suite = value("VERSION_CODENAME").unwrap_or_else(|| "sid".to_owned()) + part;
    let mut files = vec![Path::new("/etc/apt/sources.list").to_owned()];
    if let Ok(parts) = fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(parts.flatten().map(|part| part.path()));
    }
    files.iter().find_map(|file| source_of_suite(&fs::read_to_string(file).ok()?, &suite))
}

/// The URI of the entry that has `suite` (not its updates or security) in an apt source file of
/// either format.
fn source_of_suite(text: &str, suite: &str) -> Option<String> {
    one_line_source(text, suite).or_else(|| deb822_source(text, suite))
}

fn one_line_source(text: &str, suite: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("deb ")?.trim_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        let mut words = rest.split_whitespace();
        let (uri, of) = (words.next()?, words.next()?);
        (of == suite).then(|| uri.trim_end_matches('/').to_owned())
    })
}

fn deb822_source(text: &str, suite: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    lines.split(|line| line.trim().is_empty()).find_map(|stanza| {
        let field = |name: &str| {
            stanza.iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let has =
            |name, word: &str| field(name).is_some_and(|f| f.split_whitespace().any(|w| w == word));
        let on = !field("Enabled").is_some_and(|enabled| enabled.eq_ignore_ascii_case("no"));
        let uri = field("URIs")?.split_whitespace().next()?;
        (on && has("Types", "deb") && has("Suites", suite))
            .then(|| uri.trim_end_matches('/').to_owned())
    })
}

fn from_debootstrap() -> Option<String> {
    let files = ["scripts/debian-common", "scripts/sid"];
    let shared = files.map(|file| Path::new("/usr/share/debootstrap").join(file));
    let program = Path::new("/usr/sbin/debootstrap").to_owned();
    shared
        .into_iter()
        .chain([program])
        .find_map(|file| default_mirror(&fs::read_to_string(file).ok()?))
}

/// The default mirror in one of debootstrap's shell scripts; on a derivative the first may be its
/// own.
fn default_mirror(script: &str) -> Option<String> {
    script.lines().find_map(|line| {
        let line = line.trim();
        let value =
            line.strip_prefix("default_mirror ").or_else(|| line.strip_prefix("DEF_MIRROR="))?;
        let uri = value.trim_matches(['"', '\'', ' ']).trim_end_matches('/');
        (uri.contains("://") && uri.ends_with("/debian")).then(|| uri.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_itself_is_taken_from_the_index_targets() {
        let listing = "Ubuntu|Ubuntu|http://u.example/ubuntu/\n\
                       Debian|Debian-Security|http://d.example/debian-security/\n\
                       Debian|Debian|http://d.example/debian/\n";
        let target = |label| debian_target(listing, label);
        assert_eq!(target("Debian").as_deref(), Some("http://d.example/debian"));
        assert_eq!(target("Debian-Security").as_deref(), Some("http://d.example/debian-security"));
        assert_eq!(debian_target("||http://d.example/debian/\n", "Debian"), None);
    }

    #[test]
    fn the_security_updates_are_beside() {
        let found = beside("http://d.example/debian");
        assert_eq!(found.as_deref(), Some("http://d.example/debian-security"));
        assert_eq!(beside("http://d.example/mirror"), None);
    }

    #[test]
    fn one_line_sources() {
        let text = "# deb http://old.example/debian bookworm main\n\
                    deb http://s.example/debian-security bookworm-security main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://d.example/debian/ bookworm main\n";
        assert_eq!(source_of_suite(text, "bookworm").as_deref(), Some("http://d.example/debian"));
        assert_eq!(source_of_suite(text, "trixie"), None);
    }

    #[test]
    fn deb822_sources() {
        let text = "Types: deb\nURIs: http://off.example/debian\nSuites: bookworm\nEnabled: no\n\n\
                    Types: deb\n# URIs: http://old.example/debian\nURIs: http://d.example/debian\n\
                    Suites: bookworm bookworm-updates\nComponents: main\n\n\
                    Types: deb\nURIs: http://d.example/debian-security\nSuites: bookworm-security\n";
        assert_eq!(source_of_suite(text, "bookworm").as_deref(), Some("http://d.example/debian"));
        let security = source_of_suite(text, "bookworm-security");
        assert_eq!(security.as_deref(), Some("http://d.example/debian-security"));
        assert_eq!(source_of_suite(text, "sid"), None);
    }

    #[test]
    fn debootstrap_scripts() {
        let script =
            "DEF_MIRROR=\"http://u.example/ubuntu\"\n  default_mirror http://d.example/debian\n";
        assert_eq!(default_mirror(script).as_deref(), Some("http://d.example/debian"));
        let program =
            "VERSION=1\nDEF_MIRROR=\"http://d.example/debian\"\nMIRRORS=\"$DEF_MIRROR\"\n";
        assert_eq!(default_mirror(program).as_deref(), Some("http://d.example/debian"));
        assert_eq!(default_mirror("default_mirror \"$1\"\n"), None);
    }
}
