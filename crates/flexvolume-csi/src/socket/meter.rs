//! What is counted: calls of CSI and of drivers, how long they take, how many are under way.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};
use flexvolume_host::Note;
use flexvolume_protocol::DriverName;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use tonic::{Code, Status};

/// The methods that are told apart; whatever else a client calls counts as one.
const METHODS: &[&str] = &[
    "GetPluginInfo",
    "GetPluginCapabilities",
    "Probe",
    "CreateVolume",
    "DeleteVolume",
    "ControllerPublishVolume",
    "ControllerUnpublishVolume",
    "ValidateVolumeCapabilities",
    "ListVolumes",
    "GetCapacity",
    "ControllerGetCapabilities",
    "CreateSnapshot",
    "DeleteSnapshot",
    "ListSnapshots",
    "GetSnapshot",
    "ControllerExpandVolume",
    "ControllerGetVolume",
    "ControllerModifyVolume",
    "ControllerGetVolumeHealth",
    "ControllerListVolumeHealth",
    "NodeStageVolume",
    "NodeUnstageVolume",
    "NodePublishVolume",
    "NodeUnpublishVolume",
    "NodeGetVolumeStats",
    "NodeExpandVolume",
    "NodeGetCapabilities",
    "NodeGetInfo",
    "NodeGetVolumeHealth",
    "NodeGetStorageHealth",
];

/// The bounds of what calls take, in seconds: from a call that finds all as it should be to a driver that hangs.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 120.0, 600.0];

/// Counts; its copies count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Arc<Families>);

#[derive(Debug)]
struct Families {
    calls: Family<CallCame, Counter>,
    call_seconds: Family<Call, Histogram>,
    under_way: Family<Of, Gauge>,
    driver_calls: Family<DriverCallCame, Counter>,
    driver_call_seconds: Family<DriverCall, Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    driver: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    driver: String,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallCame {
    driver: String,
    method: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DriverCall {
    driver: String,
    verb: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DriverCallCame {
    driver: String,
    verb: &'static str,
    verdict: &'static str,
}

impl Default for Families {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(SECONDS);
        Self {
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(histogram),
            under_way: Family::default(),
            driver_calls: Family::default(),
            driver_call_seconds: Family::new_with_constructor(histogram),
        }
    }
}

impl Meter {
    /// Puts all that is counted where it is read.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let it = &self.0;
        registry.register("flexvolume_csi_calls", "Calls of CSI that were answered", it.calls.clone());
        registry.register("flexvolume_csi_call_seconds", "How long calls of CSI took", it.call_seconds.clone());
        registry.register("flexvolume_csi_calls_under_way", "Clients that wait for an answer", it.under_way.clone());
        registry.register("flexvolume_driver_calls", "Calls of drivers that ended", it.driver_calls.clone());
        let help = "How long calls of drivers took";
        registry.register("flexvolume_driver_call_seconds", help, it.driver_call_seconds.clone());
    }

    /// Counts what the host tells.
    pub(crate) fn note(&self, note: &Note) {
        match note {
            Note::Called { driver, verb, took, verdict, .. } => {
                let came = DriverCallCame { driver: driver.clone(), verb, verdict: kind(verdict) };
                self.0.driver_calls.get_or_create(&came).inc();
                let call = DriverCall { driver: driver.clone(), verb };
                self.0.driver_call_seconds.get_or_create(&call).observe(took.as_secs_f64());
            }
            Note::Calling { .. }
            | Note::StillRunning { .. }
            | Note::Waiting { .. }
            | Note::Said { .. }
            | Note::News { .. }
            | Note::Warning { .. } => {}
        }
    }

    /// The same routes, and every call of them is counted.
    pub(crate) fn counting(&self, routes: Router, driver: &DriverName) -> Router {
        let counts = (self.clone(), driver.to_string());
        routes.layer(middleware::from_fn_with_state(counts, counted))
    }

    fn begin(&self, driver: String, path: &str) -> Underway {
        self.0.under_way.get_or_create(&Of { driver: driver.clone() }).inc();
        Underway { meter: self.clone(), driver, method: method(path), began: Instant::now(), code: Code::Cancelled }
    }

    fn came(&self, driver: &str, method: &'static str, code: Code, took: Duration) {
        let driver = driver.to_owned();
        self.0.under_way.get_or_create(&Of { driver: driver.clone() }).dec();
        self.0.call_seconds.get_or_create(&Call { driver: driver.clone(), method }).observe(took.as_secs_f64());
        self.0.calls.get_or_create(&CallCame { driver, method, code: name(code) }).inc();
    }
}

/// A call under way; one that is dropped before its answer is one whose client has gone.
struct Underway {
    meter: Meter,
    driver: String,
    method: &'static str,
    began: Instant,
    code: Code,
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.meter.came(&self.driver, self.method, self.code, self.began.elapsed());
    }
}

async fn counted(State((meter, driver)): State<(Meter, String)>, request: Request, next: Next) -> Response {
    let mut underway = meter.begin(driver, request.uri().path());
    let response = next.run(request).await;
    // Every answer is one message: its error is in the headers, and without one there all is well.
    underway.code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    response
}

fn method(path: &str) -> &'static str {
    let last = path.rsplit('/').next().unwrap_or_default();
    METHODS.iter().find(|method| **method == last).copied().unwrap_or("other")
}

/// What a verdict comes to; why a call failed is a text of its own each time.
fn kind(verdict: &str) -> &'static str {
    match verdict {
        "Success" => "success",
        "Not supported" => "not supported",
        "In progress" => "in progress",
        _ => "failure",
    }
}

/// The code as gRPC's own documents write it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_method_there_is_is_told_apart() {
        let wire = include_str!("../wire/csi.rs");
        let served: BTreeSet<_> = wire
            .lines()
            .filter_map(|line| line.trim().strip_prefix("\"/csi.v1.")?.split('"').next()?.rsplit('/').next())
            .collect();
        assert_eq!(served, METHODS.iter().copied().collect());
        assert_eq!((method("/csi.v1.Node/NodeGetInfo"), method("/a/b"), method("")), ("NodeGetInfo", "other", "other"));
    }

    #[test]
    fn calls_of_drivers_are_counted_by_what_came_of_them() {
        let meter = Meter::default();
        for (verdict, verb) in [("Success", "mount"), ("Success", "mount"), ("no such host", "mount")] {
            meter.note(&Note::Called {
                volume: "v".into(),
                driver: "a/b".into(),
                verb,
                took: Duration::from_millis(5),
                verdict: verdict.into(),
            });
        }
        let mut registry = Registry::default();
        meter.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"flexvolume_driver_calls_total{driver="a/b",verb="mount",verdict="success"} 2"#,
            r#"flexvolume_driver_calls_total{driver="a/b",verb="mount",verdict="failure"} 1"#,
            r#"flexvolume_driver_call_seconds_bucket{le="0.01",driver="a/b",verb="mount"} 3"#,
        ] {
            assert!(text.lines().any(|have| have == line), "no {line} in:\n{text}");
        }
    }
}
