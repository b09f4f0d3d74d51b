//! The pods: the bridge on each node, and one controller where volumes are not bound to nodes.
//!
//! The bridge goes over into the host's mount namespace. Volumes are mounted there, so they outlive the pod and are known again by the
//! next one; drivers find their tools on the host, as under the kubelet, and the image needs none of them.

use k8s_openapi::{
    api::{
        apps::v1::{DaemonSet, DaemonSetSpec, Deployment, DeploymentSpec, DeploymentStrategy},
        core::v1::{
            Container, EnvVar, EnvVarSource, HTTPGetAction, HostPathVolumeSource, ObjectFieldSelector, PodSpec,
            PodTemplateSpec, Probe, SELinuxOptions, SecurityContext, Toleration, Volume, VolumeMount,
        },
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use super::{
    document::Document,
    plan::{Part, Plan, Sidecar},
};

/// The volume with the bridge's socket.
const SOCKET: &str = "socket";

/// On each node.
pub(super) fn node(plan: &Plan) -> Document {
    let mut template = template(plan, Part::Node);
    if let Some(spec) = &mut template.spec {
        // Whatever a node is kept free for, its pods may use volumes.
        spec.tolerations = Some(vec![Toleration { operator: Some("Exists".to_owned()), ..Toleration::default() }]);
        spec.priority_class_name = Some("system-node-critical".to_owned());
    }
    let set = DaemonSet {
        metadata: plan.of_namespace(),
        spec: Some(DaemonSetSpec { selector: selector(plan, Part::Node), template, ..DaemonSetSpec::default() }),
        status: None,
    };
    let comment = [
        "Each node needs the driver in the plugin directory, and the programs that it calls. The bridge works in the",
        "host's mount namespace: what it mounts stays when its pod goes, and the next one knows it again.",
    ];
    Document::new(&set, &comment)
}

/// For all nodes, where there is anything to do.
pub(super) fn controller(plan: &Plan) -> Option<Document> {
    if plan.sidecars_of(Part::Controller).is_empty() {
        return None;
    }
    let mut template = template(plan, Part::Controller);
    if let Some(spec) = &mut template.spec {
        spec.priority_class_name = Some("system-cluster-critical".to_owned());
    }
    let deployment = Deployment {
        metadata: plan.of_namespace(),
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            selector: selector(plan, Part::Controller),
            // Two on one node would want one socket.
            strategy: Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None }),
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    };
    Some(Document::new(&deployment, &["It runs on any one node, which has the driver too."]))
}

fn selector(plan: &Plan, part: Part) -> LabelSelector {
    LabelSelector { match_labels: Some(plan.labels(Some(part))), match_expressions: None }
}

fn template(plan: &Plan, part: Part) -> PodTemplateSpec {
    let sidecars = plan.sidecars_of(part);
    let containers = std::iter::once(bridge(plan, part)).chain(sidecars.iter().map(|one| sidecar(plan, *one)));
    // The bridge needs none of these: it sees the host's.
    let socket = Volume {
        name: SOCKET.to_owned(),
        host_path: Some(HostPathVolumeSource { path: plan.socket_dir(), type_: Some("DirectoryOrCreate".to_owned()) }),
        ..Volume::default()
    };
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(plan.labels(Some(part))), ..ObjectMeta::default() }),
        spec: Some(PodSpec {
            // Without sidecars nobody talks to the cluster.
            automount_service_account_token: sidecars.is_empty().then_some(false),
            containers: containers.collect(),
            dns_policy: Some("ClusterFirstWithHostNet".to_owned()),
            // LVM and udev wait for each other by semaphores.
            host_ipc: Some(true),
            // A network file system lives in the network that it was mounted in, and has to outlive the pod.
            host_network: Some(true),
            // The ledger names processes, and whoever reads it on the host has to find the same ones.
            host_pid: Some(true),
            node_selector: Some([("kubernetes.io/os".to_owned(), "linux".to_owned())].into()),
            service_account_name: Some(plan.name.to_string()),
            // Calls under way are ended before the bridge ends.
            termination_grace_period_seconds: Some(60),
            volumes: (!sidecars.is_empty()).then(|| vec![socket]),
            ..PodSpec::default()
        }),
    }
}

fn bridge(plan: &Plan, part: Part) -> Container {
    let health = HTTPGetAction {
        host: Some("127.0.0.1".to_owned()),
        path: Some("/healthz".to_owned()),
        port: IntOrString::Int(plan.port(part).into()),
        ..HTTPGetAction::default()
    };
    Container {
        name: "flexvol".to_owned(),
        image: Some(plan.image.clone()),
        command: Some(vec!["flexvol".to_owned()]),
        args: Some(plan.bridge_args(part)),
        liveness_probe: Some(Probe {
            http_get: Some(health),
            failure_threshold: Some(5),
            initial_delay_seconds: Some(10),
            period_seconds: Some(10),
            timeout_seconds: Some(5),
            ..Probe::default()
        }),
        security_context: Some(SecurityContext {
            privileged: Some(true),
            run_as_user: Some(0),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn sidecar(plan: &Plan, sidecar: Sidecar) -> Container {
    let of_pod = |name: &str, path: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { field_path: path.to_owned(), api_version: None }),
            ..EnvVarSource::default()
        }),
        value: None,
    };
    let mut env = Vec::new();
    if plan.part() == Part::Node && !plan.elects(sidecar) {
        env.push(of_pod("NODE_NAME", "spec.nodeName"));
    }
    if sidecar == Sidecar::Provisioner && plan.tells_capacity() {
        env.push(of_pod("NAMESPACE", "metadata.namespace"));
        env.push(of_pod("POD_NAME", "metadata.name"));
    }
    Container {
        name: sidecar.container().to_owned(),
        image: Some(format!("{}/{}", plan.sidecars, sidecar.image())),
        args: Some(plan.sidecar_args(sidecar)),
        env: (!env.is_empty()).then_some(env),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            // The bridge answers nobody but root.
            run_as_user: Some(0),
            // Where SELinux holds containers apart, no other type reaches the socket of a privileged one.
            se_linux_options: Some(SELinuxOptions { type_: Some("spc_t".to_owned()), ..SELinuxOptions::default() }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(vec![VolumeMount {
            name: SOCKET.to_owned(),
            mount_path: "/csi".to_owned(),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }
}
