// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! Who may do what with a service.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use berth_selinux::contexts::ServiceContexts;
use berth_selinux::denials;
use berth_selinux::selinuxfs::Class;
use rsbinder::{ExceptionCode, Status};

/// A permission of the class `service_manager`.
#[derive(Debug, Clone, Copy)]
pub enum Permission {
    /// To register a service.
    Add,
    /// To be given a service.
    Find,
    /// To be told all names.
    List,
}

impl Permission {
    fn name(self) -> &'static str {
        match self {
            Permission::Add => "add",
            Permission::Find => "find",
            Permission::List => "list",
        }
    }
}

/// The policy that is loaded, as it is about services.
pub struct Access {
    contexts: ServiceContexts,
    class: Class,
    /// Our own context: what `list` is asked of.
    own: String,
    refusals: AtomicU64,
}

impl Access {
    /// With the text of `service_contexts`.
    pub fn new(contexts: &str) -> Result<Self> {
        let own = fs::read_to_string("/proc/self/attr/current").context("no context of our own")?;
        Ok(Self {
            contexts: ServiceContexts::parse(contexts)?,
            class: Class::find("service_manager")?,
            own: own.trim_end_matches(['\0', '\n']).to_owned(),
            refusals: AtomicU64::new(0),
        })
    }

    /// Refuses the call that is being served unless its caller has the permission.
    pub fn require(&self, permission: Permission, name: &str) -> Result<(), Status> {
        if !rsbinder::is_handling_transaction() {
            return Ok(());
        }
        let Some(caller) = rsbinder::get_calling_sid() else {
            // Nobody without a name is let in.
            return Err(refusal("the caller has no context"));
        };
        let caller = caller.to_string_lossy();
        let object = match permission {
            Permission::List => Some(self.own.as_str()),
            _ => self.contexts.label(name),
        };
        let Some(object) = object else {
            return Err(refusal("the service has no context"));
        };
        match self.is_allowed(permission, &caller, object) {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.tell(permission, name, &caller, object);
                Err(refusal("SELinux denies it"))
            }
            Err(error) => {
                log::error!("{error:#}");
                Err(refusal("SELinux does not answer"))
            }
        }
    }

    fn is_allowed(&self, permission: Permission, caller: &str, object: &str) -> Result<bool> {
        let bit = self.class.permission(permission.name())?;
        Ok(self.class.allowed(caller, object)? & bit != 0)
    }

    fn tell(&self, permission: Permission, name: &str, caller: &str, object: &str) {
        let number = self.refusals.fetch_add(1, Ordering::Relaxed);
        let line = format!(
            "servicemanager: audit(services:{number}): avc:  denied  {{ {} }} for pid={} uid={} \
             name={name} scontext={caller} tcontext={object} tclass=service_manager permissive=0",
            permission.name(),
            rsbinder::get_calling_pid(),
            rsbinder::get_calling_uid(),
        );
        if let Err(error) = denials::log(&line) {
            log::error!("{line}: {error:#}");
        }
    }
}

fn refusal(why: &str) -> Status {
    (ExceptionCode::Security, why).into()
}
