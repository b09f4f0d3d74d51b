"""Plays an orchestrator with grpc-core, as drivers' clients in Python and C++ do: it names the socket's path as the authority of a call.

    client.py PROTO SOCKET KUBELET_DIR DIRECTORY

PROTO is the folder of csi.proto, of which the messages are made here. The bridge at SOCKET serves the loopback driver; images go to
DIRECTORY. One line is printed for each step that went as it should; whatever does not ends this with a trace.
"""

import os
import sys
import threading

import grpc

PROTO, SOCKET, KUBELET_DIR, DIRECTORY = sys.argv[1:]
sys.path.insert(0, PROTO)
csi, services = grpc.protos_and_services("csi.proto")

SIZE = 16 << 20
WAIT = 60


def told(step):
    print(step, flush=True)


def refused(call, code, *words):
    """The call fails with that code, and says these words."""
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, error
        for word in words:
            assert word in error.details(), (word, error)
    else:
        raise AssertionError(f"it was done, where {code} was due")


def capability():
    mode = csi.VolumeCapability.AccessMode(mode="SINGLE_NODE_MULTI_WRITER")
    return csi.VolumeCapability(mount=csi.VolumeCapability.MountVolume(fs_type="ext4"), access_mode=mode)


def who_it_is(channel):
    identity = services.IdentityStub(channel)
    info = identity.GetPluginInfo(csi.GetPluginInfoRequest(), timeout=WAIT)
    assert info.name == "loopback.flexvol.io" and info.vendor_version, info
    told("GetPluginInfo")
    assert identity.Probe(csi.ProbeRequest(), timeout=WAIT).ready.value
    told("Probe")
    offers = identity.GetPluginCapabilities(csi.GetPluginCapabilitiesRequest(), timeout=WAIT).capabilities
    assert csi.PluginCapability.Service.CONTROLLER_SERVICE in [it.service.type for it in offers], offers
    rpc = csi.ControllerServiceCapability.RPC
    offers = services.ControllerStub(channel).ControllerGetCapabilities(csi.ControllerGetCapabilitiesRequest())
    assert rpc.CREATE_DELETE_VOLUME in [it.rpc.type for it in offers.capabilities], offers
    offers = services.NodeStub(channel).NodeGetCapabilities(csi.NodeGetCapabilitiesRequest())
    stage = csi.NodeServiceCapability.RPC.STAGE_UNSTAGE_VOLUME
    assert stage in [it.rpc.type for it in offers.capabilities], offers
    told("capabilities")


def life(channel):
    controller, node = services.ControllerStub(channel), services.NodeStub(channel)
    wish = csi.CreateVolumeRequest(
        name="ledger",
        capacity_range=csi.CapacityRange(required_bytes=SIZE),
        volume_capabilities=[capability()],
        parameters={"directory": DIRECTORY},
    )
    volume = controller.CreateVolume(wish, timeout=WAIT).volume
    assert volume.capacity_bytes == SIZE and volume.accessible_topology, volume
    assert controller.CreateVolume(wish, timeout=WAIT).volume == volume
    told("CreateVolume")
    wish.capacity_range.required_bytes = 2 * SIZE
    refused(lambda: controller.CreateVolume(wish, timeout=WAIT), grpc.StatusCode.ALREADY_EXISTS, "ledger")
    told("an error of the driver's")

    staging, target = os.path.join(KUBELET_DIR, "staging"), os.path.join(KUBELET_DIR, "pods/web-0/mount")
    use = {"volume_id": volume.volume_id, "volume_capability": capability(), "volume_context": volume.volume_context}
    publish = csi.NodePublishVolumeRequest(staging_target_path=staging, target_path=target, **use)
    refused(lambda: node.NodePublishVolume(publish, timeout=WAIT), grpc.StatusCode.FAILED_PRECONDITION, "not staged")
    outside = csi.NodePublishVolumeRequest(staging_target_path=staging, target_path="/etc", **use)
    refused(lambda: node.NodePublishVolume(outside, timeout=WAIT), grpc.StatusCode.INVALID_ARGUMENT, "somewhere else")
    strange = csi.NodePublishVolumeRequest(staging_target_path=staging, target_path=target, **{**use, "volume_id": "Größe"})
    refused(lambda: node.NodePublishVolume(strange, timeout=WAIT), grpc.StatusCode.FAILED_PRECONDITION, "Größe")
    told("errors of the bridge's")

    node.NodeStageVolume(csi.NodeStageVolumeRequest(staging_target_path=staging, **use), timeout=WAIT)
    told("NodeStageVolume")
    for _ in range(2):
        node.NodePublishVolume(publish, timeout=WAIT)
    assert os.path.ismount(target)
    with open(os.path.join(target, "file"), "w") as file:
        file.write("written in Python")
    told("NodePublishVolume")
    usage = node.NodeGetVolumeStats(
        csi.NodeGetVolumeStatsRequest(volume_id=volume.volume_id, volume_path=target), timeout=WAIT
    ).usage
    assert 0 < usage[0].used < usage[0].total <= SIZE, usage
    told("NodeGetVolumeStats")
    gone = csi.NodeUnpublishVolumeRequest(volume_id=volume.volume_id, target_path=target)
    for _ in range(2):
        node.NodeUnpublishVolume(gone, timeout=WAIT)
    assert not os.path.exists(target)
    told("NodeUnpublishVolume")
    gone = csi.NodeUnstageVolumeRequest(volume_id=volume.volume_id, staging_target_path=staging)
    node.NodeUnstageVolume(gone, timeout=WAIT)
    told("NodeUnstageVolume")
    for _ in range(2):
        controller.DeleteVolume(csi.DeleteVolumeRequest(volume_id=volume.volume_id), timeout=WAIT)
    told("DeleteVolume")


def many(channel):
    """Many calls at once on one connection, with headers that grow and change, so that all tables of HTTP/2 are used."""
    identity, wrong = services.IdentityStub(channel), []

    def call(worker):
        try:
            for n in range(40):
                metadata = [(f"x-worker-{worker}", "y" * (1 + 37 * n % 1500)), ("x-round", str(n))]
                assert identity.Probe(csi.ProbeRequest(), timeout=WAIT, metadata=metadata).ready.value
        except (AssertionError, grpc.RpcError) as error:
            wrong.append(error)

    workers = [threading.Thread(target=call, args=(worker,)) for worker in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong, wrong
    told("many at once")


with grpc.insecure_channel(f"unix:{SOCKET}") as channel:
    who_it_is(channel)
    life(channel)
    many(channel)
print("done")
