// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! A stand-in for AOSP's platform policy, and the compiling of `sepolicy/` with it.
//!
//! `policy/` declares the attributes, types and macros of AOSP that vendor policy here uses, with
//! their meaning there, and neverallows of the kinds that AOSP has; `policy/lane.te` adds the
//! subjects of the tests. All of it goes through m4 and checkpolicy in the order in which AOSP's
//! own goes; what comes out is what a kernel loads.

#![forbid(unsafe_code)]

mod rules;

pub use rules::{rules, Rule};

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{ensure, Context, Result};

/// The Debian packages with the compilers.
pub const PACKAGES: &[&str] = &["checkpolicy", "m4"];

/// The platform's part, below `tests/platform_policy/policy`, in the compiler's order; where ours
/// comes in is [`OURS`].
const PLATFORM: &[&str] = &[
    "security_classes",
    "initial_sids",
    "access_vectors",
    "macros",
    "mls",
    "policy_capabilities",
    "attributes",
    OURS_ATTRIBUTES,
    "types.te",
    OURS,
    "domain.te",
    "lane.te",
    "neverallows.te",
    "roles_users",
    "initial_sid_contexts",
    "fs_use",
    "genfs_contexts",
    OURS_GENFS,
];

const OURS_ATTRIBUTES: &str = "sepolicy/attributes";
const OURS: &str = "sepolicy/*.te";
const OURS_GENFS: &str = "sepolicy/genfs_contexts";

/// The sources of a policy.
#[derive(Clone, Debug)]
pub struct Sources {
    parts: Vec<Part>,
}

/// A file of the sources.
#[derive(Clone, Debug)]
struct Part {
    /// From the checkout's root.
    path: PathBuf,
    text: String,
    ours: bool,
}

impl Sources {
    /// The platform's part and `sepolicy/` of a checkout.
    pub fn read(checkout: &Path) -> Result<Self> {
        let mut parts = Vec::new();
        let mut add = |path: PathBuf, ours: bool| -> Result<()> {
            let text = fs::read_to_string(checkout.join(&path))
                .with_context(|| format!("cannot read {}", path.display()))?;
            parts.push(Part { path, text, ours });
            Ok(())
        };
        for name in PLATFORM {
            match *name {
                OURS => {
                    for path in types_and_rules(checkout)? {
                        add(path, true)?;
                    }
                }
                OURS_ATTRIBUTES | OURS_GENFS => add(PathBuf::from(name), true)?,
                _ => add(Path::new("tests/platform_policy/policy").join(name), false)?,
            }
        }
        Ok(Self { parts })
    }

    /// The same with statements added to those of `sepolicy/`.
    pub fn with(mut self, statements: &str) -> Self {
        let last = self.parts.iter_mut().rfind(|part| part.ours && is_te(&part.path));
        if let Some(part) = last {
            part.text += statements;
            part.text.push('\n');
        }
        self
    }

    /// The same without one rule of `sepolicy/`.
    pub fn without(mut self, rule: &Rule) -> Self {
        for part in self.parts.iter_mut().filter(|part| part.path == rule.file) {
            part.text.replace_range(rule.span.clone(), "");
        }
        self
    }

    /// Compiles; an error says what the compiler said.
    pub fn compile(&self) -> Result<Vec<u8>> {
        let text: String = self.parts.iter().map(|part| part.text.as_str()).collect();
        let expanded = expand(&text)?;
        let folder = tempfile::tempdir().context("cannot make a folder for the policy")?;
        let (source, policy) = (folder.path().join("policy.conf"), folder.path().join("policy"));
        fs::write(&source, expanded).context("cannot write the policy's source")?;
        // MLS, as Android; what has no class is denied.
        let mut checkpolicy = Command::new("checkpolicy");
        checkpolicy.args(["-M", "-U", "deny", "-o"]).arg(&policy).arg(&source);
        let output = checkpolicy.output().with_context(|| missing("checkpolicy"))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "checkpolicy refuses the policy: {said}");
        fs::read(&policy).context("checkpolicy wrote no policy")
    }
}

fn is_te(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "te")
}

fn types_and_rules(checkout: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(checkout.join("sepolicy")).context("cannot list sepolicy")? {
        let path = Path::new("sepolicy").join(entry?.file_name());
        if is_te(&path) {
            found.push(path);
        }
    }
    found.sort();
    ensure!(!found.is_empty(), "there are no rules in sepolicy");
    Ok(found)
}

/// What m4 makes of a text.
fn expand(text: &str) -> Result<Vec<u8>> {
    let mut m4 = Command::new("m4");
    m4.arg("--fatal-warnings").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = m4.stderr(Stdio::piped()).spawn().with_context(|| missing("m4"))?;
    let mut input = child.stdin.take().context("m4 has no input")?;
    let text = text.to_owned();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().context("cannot wait for m4")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "m4 refuses the policy: {said}");
    // It has read all of it, or would not have succeeded.
    drop(writer.join());
    Ok(output.stdout)
}

fn missing(program: &str) -> String {
    format!("cannot start {program}: the Debian packages {} have it", PACKAGES.join(" and "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources() -> Sources {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        Sources::read(root).unwrap()
    }

    fn refused(statements: &str) -> String {
        format!("{:#}", sources().with(statements).compile().unwrap_err())
    }

    #[test]
    fn our_policy_compiles_with_the_platforms() {
        assert!(sources().compile().unwrap().len() > 4096);
    }

    #[test]
    fn a_name_that_nobody_declares_is_refused() {
        let said = refused("allow hal_berth_allocator_default no_such_type:file read;");
        assert!(said.contains("no_such_type"), "{said}");
    }

    #[test]
    fn what_the_platform_forbids_is_refused() {
        let server = "hal_berth_allocator_default";
        for (statements, violated) in [
            // An application is no client.
            (
                "hal_client_domain(untrusted_app, hal_berth_allocator)".to_owned(),
                "allow untrusted_app hal_berth_allocator_service:service_manager { find }",
            ),
            (
                format!("binder_call(untrusted_app, {server})"),
                "allow untrusted_app hal_berth_allocator_default:binder { call transfer }",
            ),
            // The core domain's heaps are the system's; the service has them of its kind only.
            (
                "allow untrusted_app dmabuf_heap_device:chr_file r_file_perms;".to_owned(),
                "allow untrusted_app dmabuf_heap_device:chr_file { open }",
            ),
            (
                "allow su dmabuf_heap_device:chr_file open;".to_owned(),
                "allow su dmabuf_heap_device:chr_file { open }",
            ),
            (
                format!("allow {server} ashmem_device:chr_file open;"),
                "allow hal_berth_allocator_default ashmem_device:chr_file { open }",
            ),
            (
                format!("allow {server} device:chr_file {{ open read }};"),
                "allow hal_berth_allocator_default device:chr_file { read open }",
            ),
            // Only clients find it, and only the service is it.
            (
                "allow stranger hal_berth_allocator_service:service_manager find;".to_owned(),
                "allow stranger hal_berth_allocator_service:service_manager { find }",
            ),
            (
                "allow berth_client hal_berth_allocator_service:service_manager add;".to_owned(),
                "allow berth_client hal_berth_allocator_service:service_manager { add }",
            ),
            // Only init starts it, nobody traces it, and it runs nothing else.
            (
                format!("allow su {server}:process transition;"),
                "allow su hal_berth_allocator_default:process { transition }",
            ),
            (
                format!("allow {server} berth_client:process ptrace;"),
                "allow hal_berth_allocator_default berth_client:process { ptrace }",
            ),
            (
                format!("allow {server} vendor_file:file execute_no_trans;"),
                "allow hal_berth_allocator_default vendor_file:file { execute_no_trans }",
            ),
            (
                format!("allow {server} self:process execmem;"),
                "allow hal_berth_allocator_default hal_berth_allocator_default:process { execmem }",
            ),
            (
                format!("allow {server} self:tcp_socket create;"),
                "allow hal_berth_allocator_default hal_berth_allocator_default:tcp_socket { create }",
            ),
            (
                format!("allow {server} self:capability sys_ptrace;"),
                "allow hal_berth_allocator_default hal_berth_allocator_default:capability",
            ),
            (
                format!("allow {server} kernel:security setenforce;"),
                "allow hal_berth_allocator_default kernel:security { setenforce }",
            ),
        ] {
            let said = refused(&statements);
            assert!(said.contains("neverallow"), "{statements}: {said}");
            assert!(said.contains(violated), "{statements}: {said}");
        }
    }

    #[test]
    fn a_server_without_the_macro_is_refused() {
        let said = refused(
            "type other, domain;\ntypeattribute other hal_berth_allocator_server;\n\
             neverallow other domain:process sigchld;",
        );
        assert!(said.contains("allow other"), "{said}");
    }

    #[test]
    fn every_rule_is_found_and_can_be_left_out() {
        let rules = rules(&sources());
        let texts: Vec<&str> = rules.iter().map(|rule| rule.text.as_str()).collect();
        for wanted in [
            "hal_attribute_service(hal_berth_allocator, hal_berth_allocator_service)",
            "allow hal_berth_allocator_server hal_berth_allocator_client:binder call;",
            "tmpfs_domain(hal_berth_allocator_default)",
        ] {
            assert!(texts.contains(&wanted), "{wanted} in {texts:#?}");
        }
        assert!(rules.len() >= 20, "{texts:#?}");
        let whole = sources().compile().unwrap();
        for rule in &rules {
            let without = sources().without(rule).compile();
            let without = without.unwrap_or_else(|error| panic!("without {rule}: {error:#}"));
            assert_ne!(without, whole, "the policy is the same without {rule}");
        }
    }
}
