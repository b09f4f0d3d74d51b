//! A driver that answered `init`: what it can, and what it said it does not know.

use std::{collections::BTreeSet, sync::Mutex};

use flexvolume_protocol::{Capabilities, DriverName, Extension, VerbName};

use super::scan::Found;
use crate::{settings::DriverConfig, volume::record::Kind};

/// A loaded driver.
#[derive(Debug)]
pub struct Driver {
    /// Its name.
    pub name: DriverName,
    /// Its file.
    pub found: Found,
    /// What it answered to `init`.
    pub capabilities: Capabilities,
    /// The extensions it announced.
    pub extensions: BTreeSet<Extension>,
    /// What the administrator set for it.
    pub config: DriverConfig,
    unsupported: Mutex<BTreeSet<VerbName>>,
}

impl Driver {
    /// A driver that was found and not asked yet.
    pub(super) fn unasked(name: &DriverName, found: Found, config: DriverConfig) -> Self {
        Self {
            name: name.clone(),
            found,
            capabilities: Capabilities::default(),
            extensions: BTreeSet::new(),
            config,
            unsupported: Mutex::new(BTreeSet::new()),
        }
    }

    /// How its volumes are handled.
    pub fn kind(&self) -> Kind {
        match (self.extensions.contains(&Extension::Staged), self.capabilities.attach) {
            (true, _) => Kind::Staged,
            (false, true) => Kind::Attachable,
            (false, false) => Kind::Direct,
        }
    }

    /// Whether it is the same program, and has answered `init` in the same way.
    pub fn is_like(&self, other: &Self) -> bool {
        self.found == other.found && self.capabilities == other.capabilities && self.extensions == other.extensions
    }

    /// Whether options travel on standard input instead of argv.
    pub fn by_stdin(&self) -> bool {
        self.extensions.contains(&Extension::Stdin)
    }

    /// Whether it said before, in this load, that it does not know the verb: it is not asked again.
    pub fn lacks(&self, verb: VerbName) -> bool {
        self.unsupported.lock().is_ok_and(|set| set.contains(&verb))
    }

    /// The extension by which it owes this call an answer other than "Not supported": one that serves the call, and that
    /// it announced.
    pub fn owes(&self, verb: VerbName) -> Option<Extension> {
        verb.extension().filter(|extension| self.extensions.contains(extension))
    }

    /// Remembers that it does not know the verb.
    pub(super) fn remember_lack(&self, verb: VerbName) {
        if let Ok(mut set) = self.unsupported.lock() {
            set.insert(verb);
        }
    }
}
