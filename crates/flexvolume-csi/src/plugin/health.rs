//! How a volume does: asked of its driver, and told in CSI's words.

use flexvolume_host::drivers::driver::Driver;
use flexvolume_protocol::{Condition, GetHealth, Health, Id, Options, Redactor, Secrets};

use super::{Plugin, Trouble, ask::with_secrets};
use crate::{
    request::limits,
    wire::csi::{VolumeHealth, VolumeHealthErrorType, volume_health::VolumeHealthEntry},
};

impl Plugin {
    /// What the driver says of a volume.
    pub(crate) fn health(
        &self,
        driver: &Driver,
        id: &Id,
        options: Options,
        secrets: &Secrets,
    ) -> Result<Health, Trouble> {
        let options = with_secrets(driver, options, secrets);
        self.ask(driver, id.as_str(), secrets, &GetHealth { options })
    }
}

/// A volume that is well has no entry.
pub(crate) fn told(id: &Id, health: Health, redactor: &Redactor) -> VolumeHealth {
    let Health { condition, message } = health;
    let kind = match condition {
        Condition::Ok => None,
        Condition::Degraded => Some(VolumeHealthErrorType::Degraded),
        Condition::Inaccessible => Some(VolumeHealthErrorType::Inaccessible),
        Condition::DataLoss => Some(VolumeHealthErrorType::DataLoss),
    };
    let entry = kind.map(|kind| VolumeHealthEntry {
        status: kind.into(),
        reason: reason(condition).to_owned(),
        message: limits::words(&redactor.text(&message)),
    });
    VolumeHealth { volume_id: id.as_str().to_owned(), health_statuses: entry.into_iter().collect() }
}

/// CSI wants a reason in one word, as Kubernetes writes them.
pub(crate) fn reason(condition: Condition) -> &'static str {
    match condition {
        Condition::Ok => "Ok",
        Condition::Degraded => "Degraded",
        Condition::Inaccessible => "Inaccessible",
        Condition::DataLoss => "DataLoss",
    }
}
