//! What is announced to clients: what the driver's answer to `init` and its extensions allow, and nothing more.

use std::collections::BTreeSet;

use flexvolume_protocol::{Capabilities, Extension};

use crate::wire::csi::{
    controller_service_capability::rpc::Type as Controller, node_service_capability::rpc::Type as Node,
    plugin_capability::service::Type as Plugin,
};

/// Who calls `attach` and `detach`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AttachBy {
    /// The node, when it stages: as the kubelet does where nobody else attaches.
    #[default]
    Node,
    /// The controller, for a node that it names.
    Controller,
}

/// What a driver can do, and how it is served.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Its answer to `init`.
    pub capabilities: Capabilities,
    /// The extensions in it.
    pub extensions: BTreeSet<Extension>,
    /// Who attaches.
    pub attach_by: AttachBy,
}

impl Offer {
    fn has(&self, extension: Extension) -> bool {
        self.extensions.contains(&extension)
    }

    fn has_all(&self, extensions: &[Extension]) -> bool {
        extensions.iter().all(|extension| self.has(*extension))
    }

    /// Its volumes have a device of their own on the node, which is attached and mounted once.
    pub fn stages(&self) -> bool {
        self.capabilities.attach || self.has(Extension::Staged)
    }

    /// The controller attaches. What lives on one node is attached there.
    pub fn attaches_by_controller(&self) -> bool {
        self.attach_by == AttachBy::Controller && self.stages() && !self.has(Extension::Local)
    }

    /// Of the plugin as a whole (`GetPluginCapabilities`).
    pub fn plugin(&self) -> Vec<Plugin> {
        let says = [
            (Plugin::ControllerService, !self.controller().is_empty()),
            (Plugin::VolumeAccessibilityConstraints, self.has(Extension::Local)),
        ];
        chosen(says)
    }

    /// Volumes can be made larger while they are in use.
    pub fn expands(&self) -> bool {
        self.has(Extension::Expand)
    }

    /// Of the controller. What lives on one node is made larger there, so the controller has no part in that.
    ///
    /// Never `PUBLISH_READONLY`: nobody writes down how a volume was attached, so attaching it otherwise could not be refused. Who only
    /// reads says so where the volume is published on the node.
    pub fn controller(&self) -> Vec<Controller> {
        let says = [
            (Controller::CreateDeleteVolume, self.has(Extension::Provision)),
            (Controller::PublishUnpublishVolume, self.attaches_by_controller()),
            (Controller::ListVolumes, self.has(Extension::List)),
            (Controller::GetCapacity, self.has(Extension::Capacity)),
            (Controller::CreateDeleteSnapshot, self.has(Extension::Snapshot)),
            (Controller::ListSnapshots, self.has(Extension::Snapshot)),
            (Controller::GetSnapshot, self.has(Extension::Snapshot)),
            (Controller::CloneVolume, self.has_all(&[Extension::Provision, Extension::Clone])),
            (Controller::ExpandVolume, self.has(Extension::Expand) && !self.has(Extension::Local)),
            (Controller::ModifyVolume, self.has(Extension::Modify)),
            (Controller::GetVolumeHealth, self.has(Extension::Health)),
            (Controller::ListVolumeHealth, self.has_all(&[Extension::Health, Extension::List])),
        ];
        let chosen = chosen(says);
        match chosen.is_empty() {
            true => chosen,
            // How many write on one node is the bridge's own affair; that it knows of it is said where there is a controller at all.
            false => [chosen, vec![Controller::SingleNodeMultiWriter]].concat(),
        }
    }

    /// Of the node.
    pub fn node(&self) -> Vec<Node> {
        let says = [
            (Node::StageUnstageVolume, self.stages()),
            (Node::GetVolumeStats, true),
            (Node::ExpandVolume, self.has(Extension::Expand)),
            (Node::SingleNodeMultiWriter, true),
            (Node::GetVolumeHealth, self.has(Extension::Health)),
            (Node::GetStorageHealth, self.has(Extension::Health)),
        ];
        chosen(says)
    }
}

fn chosen<T, const N: usize>(says: [(T, bool); N]) -> Vec<T> {
    says.into_iter().filter_map(|(what, is_so)| is_so.then_some(what)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(attach: bool, extensions: &[Extension], attach_by: AttachBy) -> Offer {
        let capabilities = Capabilities { attach, ..Capabilities::default() };
        Offer { capabilities, extensions: extensions.iter().copied().collect(), attach_by }
    }

    #[test]
    fn a_driver_without_extensions_has_a_node_alone() {
        for (attach, stages) in [(false, false), (true, true)] {
            let offer = offer(attach, &[], AttachBy::Node);
            assert_eq!((offer.plugin(), offer.controller()), (vec![], vec![]));
            assert_eq!(offer.node().contains(&Node::StageUnstageVolume), stages);
            assert!(!offer.expands());
        }
    }

    #[test]
    fn each_extension_opens_its_own_doors() {
        let doors = |extensions: &[Extension]| {
            let mut doors = offer(false, extensions, AttachBy::Node).controller();
            doors.retain(|door| *door != Controller::SingleNodeMultiWriter);
            doors
        };
        assert_eq!(doors(&[Extension::Provision]), [Controller::CreateDeleteVolume]);
        assert_eq!(doors(&[Extension::List]), [Controller::ListVolumes]);
        assert_eq!(doors(&[Extension::Capacity]), [Controller::GetCapacity]);
        let snapshots = [Controller::CreateDeleteSnapshot, Controller::ListSnapshots, Controller::GetSnapshot];
        assert_eq!(doors(&[Extension::Snapshot]), snapshots);
        assert_eq!(doors(&[Extension::Clone]), [], "there is nothing to make one with");
        assert_eq!(
            doors(&[Extension::Provision, Extension::Clone]),
            [Controller::CreateDeleteVolume, Controller::CloneVolume]
        );
        assert_eq!(doors(&[Extension::Expand]), [Controller::ExpandVolume]);
        assert_eq!(doors(&[Extension::Expand, Extension::Local]), [], "it is made larger where it lives");
        assert_eq!(doors(&[Extension::Health]), [Controller::GetVolumeHealth]);
        assert_eq!(doors(&[Extension::Modify]), [Controller::ModifyVolume]);
        assert_eq!(doors(&[Extension::Modify, Extension::Local]), [Controller::ModifyVolume], "by who calls that node");
        for silent in [Extension::Staged, Extension::Local, Extension::Stdin, Extension::Block] {
            assert_eq!(doors(&[silent]), [], "{silent}");
        }
    }

    #[test]
    fn the_controller_attaches_what_it_is_asked_to_and_what_can_be_elsewhere() {
        let publishes = |attach, extensions: &[Extension], by| {
            offer(attach, extensions, by).controller().contains(&Controller::PublishUnpublishVolume)
        };
        assert!(publishes(true, &[], AttachBy::Controller));
        let read_only = offer(true, &[], AttachBy::Controller).controller().contains(&Controller::PublishReadonly);
        assert!(!read_only, "it is refused");
        assert!(publishes(false, &[Extension::Staged], AttachBy::Controller));
        assert!(!publishes(true, &[], AttachBy::Node));
        assert!(!publishes(false, &[], AttachBy::Controller), "it has nothing to attach");
        assert!(!publishes(false, &[Extension::Staged, Extension::Local], AttachBy::Controller));
    }
}
