// Copyright (C) 2026 The Berth Authors
// SPDX-License-Identifier: Apache-2.0

//! The dump for programs: one line, written as it is made. The dump's help lists the keys.

use std::cell::Cell;
use std::io::{self, Write};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::arguments::Arguments;
use super::snapshot::{largest_first, sessions, Overview, ShownSession, View};
use crate::service::Service;
use crate::tokens::Tokens;

/// A list whose items are made while it is written, once.
struct Stream<I>(Cell<Option<I>>);

impl<I> Stream<I> {
    fn new(items: I) -> Stream<I> {
        Stream(Cell::new(Some(items)))
    }
}

impl<I: Iterator> Serialize for Stream<I>
where
    I::Item: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.take().into_iter().flatten())
    }
}

/// A session with what it holds.
struct WithBuffers<'a> {
    shown: ShownSession,
    view: View,
    tokens: &'a Tokens,
}

impl Serialize for WithBuffers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Parts<'a, B: Serialize> {
            #[serde(flatten)]
            shown: &'a ShownSession,
            buffers: B,
        }

        let buffers = Stream::new(self.view.buffers(self.tokens));
        Parts { shown: &self.shown, buffers }.serialize(serializer)
    }
}

/// Writes it.
pub(super) fn write(
    service: &Service,
    arguments: &Arguments,
    overview: &Overview,
    writer: &mut dyn Write,
) -> io::Result<()> {
    let Overview {
        totals,
        limits,
        heaps,
        refusals_by_cause,
        uids,
        latencies,
        lingering,
        notices,
        pressure,
    } = overview;
    let mut serializer = serde_json::Serializer::new(&mut *writer);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("totals", totals)?;
    map.serialize_entry("limits", limits)?;
    map.serialize_entry("heaps", heaps)?;
    map.serialize_entry("refusals_by_cause", refusals_by_cause)?;
    map.serialize_entry("uids", uids)?;
    map.serialize_entry("latencies", latencies)?;
    map.serialize_entry("lingering", lingering)?;
    map.serialize_entry("notices", notices)?;
    map.serialize_entry("pressure", pressure)?;
    if arguments.sessions {
        let views = sessions(service, arguments.uid);
        if arguments.buffers_of_sessions {
            let tokens = &service.tokens;
            let sessions =
                views.filter_map(|view| Some(WithBuffers { shown: view.shown()?, view, tokens }));
            map.serialize_entry("sessions", &Stream::new(sessions))?;
        } else {
            let sessions = views.filter_map(|view| view.shown());
            map.serialize_entry("sessions", &Stream::new(sessions))?;
        }
    }
    if arguments.buffers {
        map.serialize_entry("buffers", &Stream::new(largest_first(service, arguments.uid)))?;
    }
    SerializeMap::end(map)?;
    writeln!(writer)
}
