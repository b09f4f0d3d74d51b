//! One volume as an orchestrator handles it: what it says of it in each call.

use std::{collections::BTreeMap, path::PathBuf};

use flexvolume_csi::wire::csi::{
    CapacityRange, CreateVolumeRequest, DeleteVolumeRequest, NodePublishVolumeRequest, NodeStageVolumeRequest,
    NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest, VolumeCapability,
    volume_capability::{
        AccessMode, AccessType, BlockVolume, MountVolume,
        access_mode::Mode::{self, SingleNodeMultiWriter},
    },
};
use tonic::Status;

use super::bed::Bed;

/// What one call came to.
pub type Came = Result<(), Status>;

/// A volume, and how it is to be used.
#[derive(Clone, Debug)]
pub struct Volume {
    pub id: String,
    pub context: BTreeMap<String, String>,
    pub capability: VolumeCapability,
    pub secrets: BTreeMap<String, String>,
}

/// As a directory.
pub fn mounted(mode: Mode) -> VolumeCapability {
    let mount = MountVolume { fs_type: "ext4".to_owned(), ..MountVolume::default() };
    let mode = AccessMode { mode: mode.into() };
    VolumeCapability { access_mode: Some(mode), access_type: Some(AccessType::Mount(mount)) }
}

/// As a device.
pub fn block(mode: Mode) -> VolumeCapability {
    let mode = AccessMode { mode: mode.into() };
    VolumeCapability { access_mode: Some(mode), access_type: Some(AccessType::Block(BlockVolume {})) }
}

/// A map of texts.
pub fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

impl Volume {
    /// One that somebody else made, known by its id, for several writers on one node.
    pub fn named(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            context: BTreeMap::new(),
            capability: mounted(SingleNodeMultiWriter),
            secrets: BTreeMap::new(),
        }
    }

    /// The same, used otherwise.
    pub fn used_as(&self, capability: VolumeCapability) -> Self {
        Self { capability, ..self.clone() }
    }

    /// The same with mount flags.
    pub fn flagged(&self, flags: &[&str]) -> Self {
        let mut flagged = self.clone();
        if let Some(AccessType::Mount(mount)) = &mut flagged.capability.access_type {
            mount.mount_flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        }
        flagged
    }

    /// A file system without a type: what the driver mounts is what it is.
    pub fn of_any_type(mut self) -> Self {
        if let Some(AccessType::Mount(mount)) = &mut self.capability.access_type {
            mount.fs_type.clear();
        }
        self
    }
}

impl Bed {
    /// What is asked of the driver to make a volume of that name.
    pub fn wish(&self, name: &str) -> CreateVolumeRequest {
        let images = self.command.sandbox.dir("images").unwrap();
        CreateVolumeRequest {
            name: name.to_owned(),
            capacity_range: Some(CapacityRange { required_bytes: 16 << 20, limit_bytes: 0 }),
            volume_capabilities: vec![mounted(SingleNodeMultiWriter)],
            parameters: map([("directory", images.to_str().unwrap())]),
            ..CreateVolumeRequest::default()
        }
    }

    /// Has the driver make a volume.
    pub fn create(&self, name: &str) -> Volume {
        self.try_create(name).unwrap()
    }

    /// As [`Bed::create`], which may fail.
    pub fn try_create(&self, name: &str) -> Result<Volume, Status> {
        let made = self.client.create_volume(self.wish(name))?.volume.unwrap();
        Ok(Volume { id: made.volume_id, context: made.volume_context, ..Volume::named(name) })
    }

    pub fn delete(&self, volume: &Volume) -> Came {
        let request = DeleteVolumeRequest { volume_id: volume.id.clone(), secrets: volume.secrets.clone() };
        self.client.delete_volume(request).map(drop)
    }

    /// Where the kubelet has a volume staged.
    pub fn staging(&self, volume: &Volume) -> PathBuf {
        let name: String = volume.id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        self.kubelet().join("plugins/kubernetes.io/csi").join(name).join("globalmount")
    }

    /// Where the kubelet wants a volume for a pod.
    pub fn target(&self, pod: &str) -> PathBuf {
        self.kubelet().join("pods").join(pod).join("volumes/kubernetes.io~csi/data/mount")
    }

    pub fn stage_request(&self, volume: &Volume) -> NodeStageVolumeRequest {
        NodeStageVolumeRequest {
            volume_id: volume.id.clone(),
            staging_target_path: self.staging(volume).to_str().unwrap().to_owned(),
            volume_capability: Some(volume.capability.clone()),
            secrets: volume.secrets.clone(),
            volume_context: volume.context.clone(),
            ..NodeStageVolumeRequest::default()
        }
    }

    pub fn publish_request(&self, volume: &Volume, pod: &str) -> NodePublishVolumeRequest {
        NodePublishVolumeRequest {
            volume_id: volume.id.clone(),
            staging_target_path: self.staging(volume).to_str().unwrap().to_owned(),
            target_path: self.target(pod).to_str().unwrap().to_owned(),
            volume_capability: Some(volume.capability.clone()),
            secrets: volume.secrets.clone(),
            volume_context: volume.context.clone(),
            ..NodePublishVolumeRequest::default()
        }
    }

    pub fn stage(&self, volume: &Volume) -> Came {
        self.client.node_stage_volume(self.stage_request(volume)).map(drop)
    }

    pub fn unstage(&self, volume: &Volume) -> Came {
        let staging_target_path = self.staging(volume).to_str().unwrap().to_owned();
        let request = NodeUnstageVolumeRequest { volume_id: volume.id.clone(), staging_target_path };
        self.client.node_unstage_volume(request).map(drop)
    }

    pub fn publish(&self, volume: &Volume, pod: &str) -> Came {
        self.client.node_publish_volume(self.publish_request(volume, pod)).map(drop)
    }

    pub fn publish_read_only(&self, volume: &Volume, pod: &str) -> Came {
        let request = NodePublishVolumeRequest { readonly: true, ..self.publish_request(volume, pod) };
        self.client.node_publish_volume(request).map(drop)
    }

    pub fn unpublish(&self, volume: &Volume, pod: &str) -> Came {
        let target_path = self.target(pod).to_str().unwrap().to_owned();
        let request = NodeUnpublishVolumeRequest { volume_id: volume.id.clone(), target_path };
        self.client.node_unpublish_volume(request).map(drop)
    }
}

/// It was refused with that code, and these words.
#[track_caller]
pub fn refused<T>(came: Result<T, Status>, code: tonic::Code, words: &[&str]) {
    let Err(status) = came else { panic!("it was done, where {code:?} was due") };
    assert_eq!(status.code(), code, "{status:?}");
    for word in words {
        assert!(status.message().contains(word), "no {word:?} in: {}", status.message());
    }
}
