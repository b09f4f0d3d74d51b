//! The bridge as a whole: what it serves while drivers come and go.

use std::{fs, path::Path};

use flexvolume_protocol::DriverName;
use flexvolume_testkit::Sandbox;
use tokio::{sync::oneshot, task::LocalSet};

use super::client::{call, hold, host, install, rules, until as wait, warnings, who};
use super::*;
use crate::wire::csi::{ProbeRequest, ProbeResponse};

fn bridge(kubelet_dir: &Path, which: Which) -> Bridge {
    Bridge {
        kubelet_dir: kubelet_dir.to_owned(),
        parts: Parts { controller: true, node: true },
        which,
        registering: Registering::WithAKubelet,
        metrics: None,
        lost: Arc::default(),
    }
}

fn uninstall(sandbox: &Sandbox, driver: &str) {
    let folder = driver.replace('/', "~");
    fs::rename(sandbox.plugins().join(&folder), sandbox.path().join(&folder)).unwrap();
}

#[tokio::test]
async fn drivers_are_served_as_they_come_and_go() {
    let sandbox = Sandbox::new().unwrap();
    let kubelet = sandbox.dir("kubelet").unwrap();
    let registry = sandbox.dir("kubelet/plugins_registry").unwrap();
    install(&sandbox, "a/one");
    let ((teller, told), (end, ended)) = (warnings(), oneshot::channel::<()>());
    let ledger = host(&sandbox);
    let served = host(&sandbox);
    let wanted = bridge(&kubelet, Which::All(rules()));
    let (tasks, again) = (LocalSet::new(), Duration::from_millis(20));
    let running = tasks.spawn_local(async move {
        until(served, wanted, &teller, again, async { drop(ended.await) }).await.map_err(|error| error.to_string())
    });
    let socket = |name: &str| kubelet.join(format!("plugins/{name}/csi.sock"));
    let registration = |name: &str| registry.join(format!("{name}-reg.sock"));
    let warned = |text: &str| told.lock().unwrap().iter().any(|warning| warning.contains(text));
    tasks
        .run_until(async {
            wait("one is served", async || who(&socket("one.a")).await.is_ok_and(|who| who == "a/one")).await;
            wait("and registers", async || registration("one.a").exists()).await;
            install(&sandbox, "a/two");
            wait("two is served", async || who(&socket("two.a")).await.is_ok_and(|who| who == "a/two")).await;
            // It would have the name of one that is served; so would this, and cannot have it at all.
            install(&sandbox, "a/ONE");
            install(&sandbox, "a/x-.y");
            wait("both are warned of", async || {
                ["both be called one.a; give one of them another name (--name DRIVER=NAME)", "x-.y.a"]
                    .iter()
                    .all(|text| warned(text))
            })
            .await;
            assert_eq!(who(&socket("one.a")).await.unwrap(), "a/one");

            let key = hold(&ledger, "a/one");
            uninstall(&sandbox, "a/one");
            uninstall(&sandbox, "a/two");
            wait("two is gone", async || !socket("two.a").exists() && !registration("two.a").exists()).await;
            wait("one is missed", async || warned("a/one is gone")).await;
            let probe = call::<_, ProbeResponse>(&socket("one.a"), "/csi.v1.Identity/Probe", ProbeRequest {}).await;
            assert!(probe.is_err() && registration("one.a").exists(), "one has a volume: {probe:?}");
            ledger.ground().ledger.remove(&key).unwrap();
            // Its name is free with its last volume.
            wait("the other one is served", async || who(&socket("one.a")).await.is_ok_and(|who| who == "a/ONE")).await;
            wait("and registers", async || registration("one.a").exists()).await;

            install(&sandbox, "a/two");
            wait("two is back", async || who(&socket("two.a")).await.is_ok_and(|who| who == "a/two")).await;
            end.send(()).unwrap();
            running.await.unwrap().unwrap();
        })
        .await;
    let left = [socket("one.a"), socket("two.a"), registration("one.a"), registration("two.a")];
    assert!(left.iter().all(|socket| !socket.exists()), "{left:?}");
    assert!(!warned("panic"), "{told:?}");
}

#[tokio::test]
async fn only_what_is_not_there_is_missed() {
    let sandbox = Sandbox::new().unwrap();
    let kubelet = sandbox.dir("kubelet").unwrap();
    install(&sandbox, "a/one");
    // A folder is no driver yet.
    fs::create_dir(sandbox.plugins().join("a~empty")).unwrap();
    let ledger = host(&sandbox);
    for driver in ["a/one", "a/lost", "a/empty"] {
        hold(&ledger, driver);
    }
    let ((teller, told), (end, ended)) = (warnings(), oneshot::channel::<()>());
    let (host, bridge) = (host(&sandbox), bridge(&kubelet, Which::All(rules())));
    let socket = kubelet.join("plugins/one.a/csi.sock");
    let looked = async {
        let method = "/csi.v1.Identity/Probe";
        let probe = async || call::<_, ProbeResponse>(&socket, method, ProbeRequest {}).await;
        wait("one answers", async || probe().await.is_ok()).await;
        end.send(()).unwrap();
    };
    let (ran, ()) = tokio::join!(until(host, bridge, &teller, AGAIN, async { drop(ended.await) }), looked);
    ran.unwrap();
    let told = told.lock().unwrap();
    let is_missed = |driver: &str| told.iter().any(|warning| warning.starts_with(&format!("driver {driver} is gone")));
    assert_eq!(["a/one", "a/lost", "a/empty"].map(is_missed), [false, true, true], "{told:?}");
}

#[tokio::test]
async fn what_has_volumes_is_served_though_it_is_gone_and_others_only_where_they_are_named() {
    let sandbox = Sandbox::new().unwrap();
    let kubelet = sandbox.dir("kubelet").unwrap();
    install(&sandbox, "a/one");
    install(&sandbox, "a/two");
    let ledger = host(&sandbox);
    hold(&ledger, "a/lost");
    let socket = |name: &str| kubelet.join(format!("plugins/{name}/csi.sock"));
    let served = |names: &str| {
        let names: Vec<_> = names.split(' ').map(socket).collect();
        async move |wanted: &str| {
            let mut came = Vec::new();
            for name in &names {
                came.push(who(name).await.unwrap_or_else(|_| "-".into()));
            }
            came.join(" ") == wanted
        }
    };
    let one = DriverName::parse("a/one").unwrap();
    let named = Served::usual(rules().serving(one.clone(), rules().name(&one).unwrap()), &kubelet);
    for (which, wanted) in [(Which::All(rules()), "a/one a/two a/lost"), (Which::Named(vec![named]), "a/one - -")] {
        let ((teller, _), (end, ended)) = (warnings(), oneshot::channel::<()>());
        let (host, wanted_bridge) = (host(&sandbox), bridge(&kubelet, which));
        let told = async { drop(ended.await) };
        let looked = async {
            let is_so = served("one.a two.a lost.a");
            wait(wanted, async || is_so(wanted).await).await;
            end.send(()).unwrap();
        };
        let (ran, ()) = tokio::join!(until(host, wanted_bridge, &teller, AGAIN, told), looked);
        ran.unwrap();
        assert!(!kubelet.join("plugins_registry").exists(), "there is no kubelet");
    }
}
