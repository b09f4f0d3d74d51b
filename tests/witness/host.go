package main

import (
	"path/filepath"

	"k8s.io/apimachinery/pkg/types"
	clientset "k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/volume"
	"k8s.io/mount-utils"
)

// host is what the kubelet is to its volume plugins, as far as FlexVolume asks: directories, mounts and Secrets, all of them
// real. What it never asks for is left to a nil interface, so that a version that begins to ask is seen at once.
type host struct {
	volume.VolumeHost
	root    string
	mounter mount.Interface
	client  clientset.Interface
}

func newHost(root string, known *secrets) (*host, error) {
	client, err := clientset.NewForConfig(&rest.Config{Host: "http://secrets.invalid", Transport: known})
	if err != nil {
		return nil, err
	}
	return &host{root: root, mounter: mount.New(""), client: client}, nil
}

func (h *host) GetPluginDir(plugin string) string {
	return filepath.Join(h.root, "plugins", plugin)
}

func (h *host) GetPodVolumeDir(pod types.UID, plugin, name string) string {
	return filepath.Join(h.root, "pods", string(pod), "volumes", plugin, name)
}

func (h *host) GetMounter() mount.Interface { return h.mounter }

func (h *host) GetKubeClient() clientset.Interface { return h.client }
