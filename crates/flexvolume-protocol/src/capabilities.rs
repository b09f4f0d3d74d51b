//! What a driver says about itself at `init`, with Kubernetes' defaults for what it leaves out.

use serde::{Deserialize, Serialize};

use crate::json;

/// The `capabilities` object. A key that is absent or null keeps its default, and so does a null object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Capabilities {
    /// Attach, detach and the device calls are served (default true).
    pub attach: bool,
    /// The volume may be relabelled for SELinux (default true).
    pub selinux_relabel: bool,
    /// The host applies the pod's fsGroup after mount (default true).
    pub fs_group: bool,
    /// The host may run statfs on the volume (default false).
    pub supports_metrics: bool,
    /// The host calls `expandfs` when the volume grew (default true).
    #[serde(rename = "requiresFSResize")]
    pub requires_fs_resize: bool,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { attach: true, selinux_relabel: true, fs_group: true, supports_metrics: false, requires_fs_resize: true }
    }
}

impl Capabilities {
    /// Nothing granted.
    pub(crate) const NONE: Self = Self {
        attach: false,
        selinux_relabel: false,
        fs_group: false,
        supports_metrics: false,
        requires_fs_resize: false,
    };

    /// Lays the JSON object `raw` over what is there. `Err` names the member that has the wrong type.
    pub(crate) fn merge(&mut self, raw: &[u8]) -> Result<(), String> {
        let members =
            json::members(raw).ok_or_else(|| format!("`capabilities` must be an object, not {}", json::kind(raw)))?;
        for (key, value) in members {
            let field = match json::fold(&key).as_str() {
                "attach" => &mut self.attach,
                "selinuxrelabel" => &mut self.selinux_relabel,
                "fsgroup" => &mut self.fs_group,
                "supportsmetrics" => &mut self.supports_metrics,
                "requiresfsresize" => &mut self.requires_fs_resize,
                _ => continue,
            };
            match value {
                b"true" => *field = true,
                b"false" => *field = false,
                b"null" => {}
                other => return Err(format!("`capabilities.{key}` must be true or false, not {}", json::kind(other))),
            }
        }
        Ok(())
    }
}
