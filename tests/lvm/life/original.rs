//! The pod of the original documentation, word for word: with a logical volume made beforehand, as that wants it, and without.

use super::home::Home;
use crate::{bed::Bed, group::lvm, tools::text};

const POD: &str = r#"apiVersion: v1
kind: Pod
metadata:
  name: nginx
  namespace: default
spec:
  containers:
  - name: nginx
    image: nginx
    volumeMounts:
    - name: test
      mountPath: /data
    ports:
    - containerPort: 80
  volumes:
  - name: test
    flexVolume:
      driver: "kubernetes.io/lvm"
      fsType: "ext4"
      options:
        volumeID: "vol1"
        size: "1000m"
        volumegroup: "kube_vg"
"#;

#[test]
fn the_pod_of_the_original_example() {
    let Some(bed) = Bed::new() else { return };
    let vg = bed.group_named("kube_vg", &[1100]);
    let home = Home::over(bed, vg);
    let pod = home.bed.manifest("nginx.yaml", POD);
    home.fails(&["up", &pod], &["there is no logical volume kube_vg/vol1", "lvcreate", "create: \"true\""]);
    assert_eq!(home.vg.volumes(), Vec::<String>::new());
    home.bed.ok(["down", &pod]);

    // Made beforehand.
    lvm(["lvcreate", "--yes", "--size", "1000m", "--name", "vol1", "kube_vg"]);
    lives(&home, &pod);
    assert_eq!(home.vg.tags("vol1"), Vec::<String>::new(), "it is its maker's");
    let said = home.delete("vol1");
    assert_eq!((said["status"].as_str(), said["code"].as_str()), (Some("Failure"), Some("permission")), "{said}");

    // Lost, and given up by who looks after the machine.
    lvm(["lvremove", "--yes", "kube_vg/vol1"]);
    let create = POD.replace("kube_vg\"\n", "kube_vg\"\n        create: \"true\"\n");
    let create = home.bed.manifest("create.yaml", &create);
    let mark = home.seen("vol1");
    home.fails(&["up", &create], &["kube_vg/vol1 was used on this node and is gone", text(&mark)]);
    home.bed.ok(["down", &create]);
    std::fs::remove_file(mark).unwrap();

    // Made by the driver.
    lives(&home, &create);
    assert!(home.vg.tags("vol1").contains(&"flexvol.maker=lvm".to_owned()));
}

fn lives(home: &Home, pod: &str) {
    home.bed.ok(["up", pod]);
    assert_eq!(home.exec("nginx", "stat -f -c %T /data; echo hello >/data/index.html"), "ext2/ext3");
    assert_eq!(home.vg.row("vol1", "lv_size")["lv_size"], (1000_u64 << 20).to_string());
    home.bed.ok(["down", "nginx"]);
    home.assert_down();
    home.bed.ok(["up", pod]);
    assert_eq!(home.exec("nginx", "cat /data/index.html"), "hello");
    home.bed.ok(["down", pod]);
    home.assert_down();
}
