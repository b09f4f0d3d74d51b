//! What Kubernetes' host does with a driver, case by case: each test has the number that the book's list of cases gives it.

mod answers;
mod capabilities;
mod controller;
mod mount;
mod mountdevice;
mod names;
mod options;
mod process;
mod resize;
mod restart;
mod timing;
mod unmount;

use flexvolume_testkit::scripted::{Answer, Script};
use serde_json::json;

use crate::one::{MOUNT, UMOUNT};

/// attach by default; every mount is the driver's own.
pub fn whole() -> Script {
    let device = Answer::json(&json!({"status": "Success", "device": "nbd7"}));
    Script::sh()
        .on("init", Answer::success())
        .on("attach", device.clone())
        .on("waitforattach", device)
        .on("mountdevice", Answer::success().run(MOUNT))
        .on("mount", Answer::success().run(MOUNT))
        .on("unmount", Answer::success().run(UMOUNT))
        .on("unmountdevice", Answer::success().run(UMOUNT))
        .on("detach", Answer::success())
        .on("expandfs", Answer::success())
        .otherwise(Answer::failure("not for this driver"))
}

/// A pod with a PersistentVolume of this size and source, by its claim.
pub fn claimed(size: &str, source: &str) -> String {
    format!(
        "apiVersion: v1
kind: PersistentVolume
metadata: {{name: pv}}
spec:
  capacity: {{storage: {size}}}
  accessModes: [ReadWriteMany]
  claimRef: {{namespace: default, name: claim}}
  flexVolume: {source}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: claim}}
spec:
  accessModes: [ReadWriteMany]
  resources: {{requests: {{storage: {size}}}}}
---
{}",
        claiming("web", false)
    )
}

/// A pod that uses that claim.
pub fn claiming(name: &str, read_only: bool) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  containers:
  - {{name: c, image: none, volumeMounts: [{{name: data, mountPath: /data}}]}}
  volumes:
  - {{name: data, persistentVolumeClaim: {{claimName: claim, readOnly: {read_only}}}}}
"
    )
}
