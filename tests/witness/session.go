package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/volume"
	"k8s.io/kubernetes/pkg/volume/flexvolume"
	"k8s.io/utils/exec"
)

// session is one life of the original: its plugin manager with a prober on the plugin directory, and the host around them.
type session struct {
	plugins string
	manager volume.VolumePluginMgr
	secrets secrets
}

// request asks for one deed. Objects are written as in manifests.
type request struct {
	Do string `json:"do"`
	// The volume: inline, or a PersistentVolume with what its claim says about writing.
	Volume           *v1.Volume           `json:"volume"`
	PersistentVolume *v1.PersistentVolume `json:"persistentVolume"`
	ReadOnly         bool                 `json:"readOnly"`
	Pod              *v1.Pod              `json:"pod"`
	Secret           *v1.Secret           `json:"secret"`
	// What is known of a volume that is taken away: its driver, its name and the pod's uid.
	Driver string    `json:"driver"`
	Name   string    `json:"name"`
	UID    types.UID `json:"uid"`
	// Arguments of single calls.
	Node   types.NodeName `json:"node"`
	Device string         `json:"device"`
	Path   string         `json:"path"`
	New    int64          `json:"new"`
	Old    int64          `json:"old"`
	Verb   string         `json:"verb"`
	Args   []string       `json:"args"`
	// Manifests, as somebody would apply them.
	Text string `json:"text"`
}

// found tells of a driver what can be asked of the plugin that stands for it.
type found struct {
	Name             string `json:"name"`
	Attachable       bool   `json:"attachable"`
	RequiresFSResize bool   `json:"requiresFSResize"`
}

// waitLimit is the kubelet's own for waitforattach.
const waitLimit = 10 * time.Minute

var errNotAttachable = errors.New("the plugin is not attachable")

func newSession(root, plugins string) (*session, error) {
	s := &session{plugins: plugins, secrets: secrets{byPath: map[string]*v1.Secret{}}}
	around, err := newHost(root, &s.secrets)
	if err != nil {
		return nil, err
	}
	prober := flexvolume.GetDynamicPluginProber(context.Background(), plugins, exec.New())
	return s, s.manager.InitPlugins(nil, prober, around)
}

func (asked request) spec() (*volume.Spec, error) {
	switch {
	case asked.Volume != nil:
		return volume.NewSpecFromVolume(asked.Volume), nil
	case asked.PersistentVolume != nil:
		return volume.NewSpecFromPersistentVolume(asked.PersistentVolume, asked.ReadOnly), nil
	default:
		return nil, errors.New("the request names no volume")
	}
}

// deeds are what can be asked for, each as the kubelet or a controller does it.
var deeds = map[string]func(*session, request) (any, error){
	"secret":        (*session).putSecret,
	"find":          (*session).find,
	"volumename":    (*session).volumeName,
	"attach":        (*session).attach,
	"attached":      (*session).attached,
	"wait":          (*session).wait,
	"mountdevice":   (*session).mountDevice,
	"setup":         (*session).setUp,
	"nodeexpand":    (*session).nodeExpand,
	"expandvolume":  (*session).expandVolume,
	"teardown":      (*session).tearDown,
	"unmountdevice": (*session).unmountDevice,
	"detach":        (*session).detach,
	"load":          (*session).load,
	"call":          (*session).call,
	"validate":      (*session).validate,
}

// putSecret makes a Secret known; it asks no driver.
func (s *session) putSecret(asked request) (any, error) {
	s.secrets.put(asked.Secret)
	return nil, nil
}

// find looks a driver up by its name, after the prober was asked what has changed.
func (s *session) find(asked request) (any, error) {
	plugin, err := s.manager.FindPluginByName(asked.Driver)
	if err != nil {
		return nil, err
	}
	return describe(plugin), nil
}

func describe(plugin volume.VolumePlugin) found {
	_, attachable := plugin.(volume.AttachableVolumePlugin)
	node, expandable := plugin.(volume.NodeExpandableVolumePlugin)
	return found{plugin.GetPluginName(), attachable, expandable && node.RequiresFSResize()}
}

func (s *session) volumeName(asked request) (any, error) {
	spec, err := asked.spec()
	if err != nil {
		return nil, err
	}
	plugin, err := s.manager.FindPluginBySpec(spec)
	if err != nil {
		return nil, err
	}
	return plugin.GetVolumeName(spec)
}

func (s *session) attacher(asked request) (*volume.Spec, volume.Attacher, error) {
	spec, err := asked.spec()
	if err != nil {
		return nil, nil, err
	}
	plugin, err := s.manager.FindAttachablePluginBySpec(spec)
	if err != nil {
		return nil, nil, err
	}
	if plugin == nil {
		return nil, nil, errNotAttachable
	}
	attacher, err := plugin.NewAttacher()
	return spec, attacher, err
}

func (s *session) attach(asked request) (any, error) {
	spec, attacher, err := s.attacher(asked)
	if err != nil {
		return nil, err
	}
	return attacher.Attach(spec, asked.Node)
}

// attached gives null when there is no verdict.
func (s *session) attached(asked request) (any, error) {
	spec, attacher, err := s.attacher(asked)
	if err != nil {
		return nil, err
	}
	verdicts, err := attacher.VolumesAreAttached([]*volume.Spec{spec}, asked.Node)
	if verdict, told := verdicts[spec]; told {
		return verdict, err
	}
	return nil, err
}

func (s *session) wait(asked request) (any, error) {
	spec, attacher, err := s.attacher(asked)
	if err != nil {
		return nil, err
	}
	return attacher.WaitForAttach(spec, asked.Device, asked.Pod, waitLimit)
}

// mountDevice gives the volume's directory of the node.
func (s *session) mountDevice(asked request) (any, error) {
	spec, err := asked.spec()
	if err != nil {
		return nil, err
	}
	plugin, err := s.manager.FindDeviceMountablePluginBySpec(spec)
	if err != nil {
		return nil, err
	}
	if plugin == nil {
		return nil, errNotAttachable
	}
	mounter, err := plugin.NewDeviceMounter()
	if err != nil {
		return nil, err
	}
	dir, err := mounter.GetDeviceMountPath(spec)
	if err != nil {
		return nil, err
	}
	return dir, mounter.MountDevice(spec, asked.Device, dir, volume.DeviceMounterArgs{})
}

// setUp mounts for a pod and gives the pod's directory.
func (s *session) setUp(asked request) (any, error) {
	spec, err := asked.spec()
	if err != nil {
		return nil, err
	}
	plugin, err := s.manager.FindPluginBySpec(spec)
	if err != nil {
		return nil, err
	}
	mounter, err := plugin.NewMounter(spec, asked.Pod)
	if err != nil {
		return nil, err
	}
	var args volume.MounterArgs
	if context := asked.Pod.Spec.SecurityContext; context != nil {
		args.FsGroup, args.FSGroupChangePolicy = context.FSGroup, context.FSGroupChangePolicy
	}
	return mounter.GetPath(), mounter.SetUp(args)
}

func (s *session) nodeExpand(asked request) (any, error) {
	spec, err := asked.spec()
	if err != nil {
		return nil, err
	}
	plugin, err := s.manager.FindNodeExpandablePluginBySpec(spec)
	if err != nil {
		return nil, err
	}
	return plugin.NodeExpand(volume.NodeResizeOptions{
		VolumeSpec:      spec,
		DevicePath:      asked.Device,
		DeviceMountPath: asked.Path,
		NewSize:         *resource.NewQuantity(asked.New, resource.BinarySI),
		OldSize:         *resource.NewQuantity(asked.Old, resource.BinarySI),
	})
}

// expandVolume does what no controller of Kubernetes does with FlexVolume, though the code for it is there.
func (s *session) expandVolume(asked request) (any, error) {
	spec, err := asked.spec()
	if err != nil {
		return nil, err
	}
	plugin, err := s.manager.FindPluginBySpec(spec)
	if err != nil {
		return nil, err
	}
	expandable, can := plugin.(volume.ExpandableVolumePlugin)
	if !can {
		return nil, errors.New("the plugin is not expandable")
	}
	size := func(bytes int64) resource.Quantity { return *resource.NewQuantity(bytes, resource.BinarySI) }
	now, err := expandable.ExpandVolumeDevice(spec, size(asked.New), size(asked.Old))
	return now.Value(), err
}

// tearDown unmounts for a pod, knowing no more than a kubelet that was restarted.
func (s *session) tearDown(asked request) (any, error) {
	plugin, err := s.manager.FindPluginByName(asked.Driver)
	if err != nil {
		return nil, err
	}
	unmounter, err := plugin.NewUnmounter(asked.Name, asked.UID)
	if err != nil {
		return nil, err
	}
	return nil, unmounter.TearDown()
}

func (s *session) unmountDevice(asked request) (any, error) {
	plugin, err := s.manager.FindDeviceMountablePluginByName(asked.Driver)
	if err != nil {
		return nil, err
	}
	if plugin == nil {
		return nil, errNotAttachable
	}
	unmounter, err := plugin.NewDeviceUnmounter()
	if err != nil {
		return nil, err
	}
	return nil, unmounter.UnmountDevice(asked.Path)
}

func (s *session) detach(asked request) (any, error) {
	plugin, err := s.manager.FindAttachablePluginByName(asked.Driver)
	if err != nil {
		return nil, err
	}
	if plugin == nil {
		return nil, errNotAttachable
	}
	detacher, err := plugin.NewDetacher()
	if err != nil {
		return nil, err
	}
	return nil, detacher.Detach(asked.Name, asked.Node)
}

// load probes the plugin directory afresh and tells of the driver; the session's own plugins stay as they are.
func (s *session) load(asked request) (any, error) {
	plugin, err := s.fresh(asked.Driver)
	if err != nil {
		return nil, err
	}
	return describe(plugin), nil
}

// call makes one call, loading the driver afresh, and gives the whole status that Kubernetes read.
func (s *session) call(asked request) (any, error) {
	plugin, err := s.fresh(asked.Driver)
	if err != nil {
		return nil, err
	}
	callable, can := plugin.(interface {
		NewDriverCall(command string) *flexvolume.DriverCall
	})
	if !can {
		return nil, errors.New("the plugin cannot be called")
	}
	call := callable.NewDriverCall(asked.Verb)
	for _, arg := range asked.Args {
		call.Append(arg)
	}
	return call.Run()
}

func (s *session) fresh(driver string) (volume.VolumePlugin, error) {
	watching, stop := context.WithCancel(context.Background())
	defer stop()
	prober := flexvolume.GetDynamicPluginProber(watching, s.plugins, exec.New())
	if err := prober.Init(); err != nil {
		return nil, err
	}
	events, err := prober.Probe()
	for _, event := range events {
		if event.Op == volume.ProbeAddOrUpdate && event.PluginName == driver {
			return event.Plugin, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("no driver %q is in %s", driver, s.plugins)
}
