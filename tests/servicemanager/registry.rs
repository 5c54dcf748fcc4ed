// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The services that are registered, and who waits for one.

#![allow(non_snake_case, reason = "the names of AIDL's parameters")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rsbinder::hub::android_16::android::os::Service::Service;
use rsbinder::hub::android_16::android::os::ServiceWithMetadata::ServiceWithMetadata;
use rsbinder::hub::android_16::{
    ConnectionInfo, IClientCallback, IServiceCallback, IServiceManager, ServiceDebugInfo,
};
use rsbinder::{
    BinderResult, DeathRecipient, ExceptionCode, Interface, SIBinder, Strong, WIBinder,
};

use crate::access::{Access, Permission};

/// The service manager.
pub struct Registry {
    access: Access,
    books: Arc<Mutex<Books>>,
    obituaries: Arc<dyn DeathRecipient>,
}

#[derive(Default)]
struct Books {
    services: BTreeMap<String, Entry>,
    waiting: BTreeMap<String, Vec<Strong<dyn IServiceCallback>>>,
}

struct Entry {
    binder: SIBinder,
    priority: i32,
    pid: i32,
}

/// Forgets who died.
struct Obituaries(Arc<Mutex<Books>>);

impl DeathRecipient for Obituaries {
    fn binder_died(&self, who: &WIBinder) {
        let mut books = lock(&self.0);
        books.services.retain(|_, entry| *who != entry.binder);
        for callbacks in books.waiting.values_mut() {
            callbacks.retain(|callback| *who != callback.as_binder());
        }
    }
}

fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// An empty one.
    pub fn new(access: Access) -> Self {
        let books = Arc::new(Mutex::new(Books::default()));
        let obituaries = Arc::new(Obituaries(Arc::clone(&books)));
        Self { access, books, obituaries }
    }

    /// A service that the caller may find; one that it may not is as one that is not there.
    fn find(&self, name: &str) -> Option<SIBinder> {
        self.access.require(Permission::Find, name).ok()?;
        lock(&self.books).services.get(name).map(|entry| entry.binder.clone())
    }

    fn link(&self, binder: &SIBinder) -> BinderResult<()> {
        if binder.is_remote() {
            binder.link_to_death(Arc::downgrade(&self.obituaries))?;
        }
        Ok(())
    }
}

impl Interface for Registry {}

impl IServiceManager for Registry {
    fn getService(&self, name: &str) -> BinderResult<Option<SIBinder>> {
        Ok(self.find(name))
    }

    fn getService2(&self, name: &str) -> BinderResult<Service> {
        let service = self.find(name);
        Ok(Service::ServiceWithMetadata(ServiceWithMetadata { service, isLazyService: false }))
    }

    fn checkService(&self, name: &str) -> BinderResult<Option<SIBinder>> {
        Ok(self.find(name))
    }

    fn checkService2(&self, name: &str) -> BinderResult<Service> {
        self.getService2(name)
    }

    fn addService(
        &self,
        name: &str,
        service: &SIBinder,
        _allowIsolated: bool,
        dumpPriority: i32,
    ) -> BinderResult<()> {
        self.access.require(Permission::Add, name)?;
        // Before the lock: while it is set up, obituaries may come in.
        self.link(service)?;
        let pid = rsbinder::get_calling_pid();
        let entry = Entry { binder: service.clone(), priority: dumpPriority, pid };
        let waiting = {
            let mut books = lock(&self.books);
            books.services.insert(name.to_owned(), entry);
            books.waiting.get(name).cloned().unwrap_or_default()
        };
        for callback in waiting {
            if let Err(error) = callback.onRegistration(name, service) {
                log::warn!("somebody who waits for {name} is not told: {error}");
            }
        }
        Ok(())
    }

    fn listServices(&self, dumpPriority: i32) -> BinderResult<Vec<String>> {
        self.access.require(Permission::List, "")?;
        let books = lock(&self.books);
        let asked = books.services.iter().filter(|(_, entry)| entry.priority & dumpPriority != 0);
        Ok(asked.map(|(name, _)| name.clone()).collect())
    }

    fn registerForNotifications(
        &self,
        name: &str,
        callback: &Strong<dyn IServiceCallback>,
    ) -> BinderResult<()> {
        self.access.require(Permission::Find, name)?;
        self.link(&callback.as_binder())?;
        let there = {
            let mut books = lock(&self.books);
            books.waiting.entry(name.to_owned()).or_default().push(callback.clone());
            books.services.get(name).map(|entry| entry.binder.clone())
        };
        match there {
            Some(service) => callback.onRegistration(name, &service),
            None => Ok(()),
        }
    }

    fn unregisterForNotifications(
        &self,
        name: &str,
        callback: &Strong<dyn IServiceCallback>,
    ) -> BinderResult<()> {
        self.access.require(Permission::Find, name)?;
        if let Some(callbacks) = lock(&self.books).waiting.get_mut(name) {
            callbacks.retain(|other| other.as_binder() != callback.as_binder());
        }
        Ok(())
    }

    fn isDeclared(&self, name: &str) -> BinderResult<bool> {
        self.access.require(Permission::Find, name)?;
        Ok(false)
    }

    fn getDeclaredInstances(&self, _iface: &str) -> BinderResult<Vec<String>> {
        Ok(Vec::new())
    }

    fn updatableViaApex(&self, _name: &str) -> BinderResult<Option<String>> {
        Ok(None)
    }

    fn getUpdatableNames(&self, _apexName: &str) -> BinderResult<Vec<String>> {
        Ok(Vec::new())
    }

    fn getConnectionInfo(&self, _name: &str) -> BinderResult<Option<ConnectionInfo>> {
        Ok(None)
    }

    fn registerClientCallback(
        &self,
        _name: &str,
        _service: &SIBinder,
        _callback: &Strong<dyn IClientCallback>,
    ) -> BinderResult<()> {
        Err(ExceptionCode::UnsupportedOperation.into())
    }

    fn tryUnregisterService(&self, _name: &str, _service: &SIBinder) -> BinderResult<()> {
        Err(ExceptionCode::UnsupportedOperation.into())
    }

    fn getServiceDebugInfo(&self) -> BinderResult<Vec<ServiceDebugInfo>> {
        self.access.require(Permission::List, "")?;
        let books = lock(&self.books);
        let infos = books.services.iter();
        Ok(infos
            .map(|(name, entry)| ServiceDebugInfo { name: name.clone(), debugPid: entry.pid })
            .collect())
    }
}
