//! What is attached under which name: `detach` is told nothing but the name.

use serde::{Deserialize, Serialize};

use crate::{Result, store::Store};

/// What was attached under a name. No secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// What [`Driver::storage`](crate::Driver::storage) called the storage.
    pub storage: String,
    /// What `attach` answered; `""` from before the attach until it has ended, so also after one that was cut off.
    pub device: String,
}

/// The attachments of this driver on this node, by the volume's name; void after a reboot, as attachments are.
///
/// For a staged driver the kit keeps them: an entry is there before `attach` is called and until `detach` has
/// succeeded. Other drivers may keep their own here.
pub struct Attachments(pub(crate) Store<Attachment>);

impl Attachments {
    /// What was attached under that name.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<Attachment>> {
        self.0.get(name)
    }

    /// Records or replaces.
    ///
    /// # Errors
    /// The record cannot be written.
    pub fn put(&self, name: &str, attachment: &Attachment) -> Result<()> {
        self.0.put(name, attachment)
    }

    /// Forgets; a name that is not there is no error.
    ///
    /// # Errors
    /// The record cannot be removed.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.0.remove(name)
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn all(&self) -> Result<Vec<(String, Attachment)>> {
        self.0.all()
    }
}
