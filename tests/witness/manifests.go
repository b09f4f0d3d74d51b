package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	snapshots "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/rbac"
	_ "k8s.io/kubernetes/pkg/apis/rbac/install"
	rbacvalidation "k8s.io/kubernetes/pkg/apis/rbac/validation"
	"k8s.io/kubernetes/pkg/apis/storage"
	_ "k8s.io/kubernetes/pkg/apis/storage/install"
	storagevalidation "k8s.io/kubernetes/pkg/apis/storage/validation"
	"k8s.io/kubernetes/pkg/capabilities"
	"sigs.k8s.io/yaml"
)

// validated is one object that an API server would take.
type validated struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// validate reads manifests as an API server does when it is strict: unknown and doubled fields are errors. Each object gets
// its defaults and is judged by the rules that the API server has for it. The type of the snapshot controller is read
// strictly alone; its rules are in the cluster's copy of that type.
func (s *session) validate(asked request) (any, error) {
	capabilities.Setup(true, 0)
	scheme := legacyscheme.Scheme
	if err := snapshots.AddToScheme(scheme); err != nil {
		return nil, err
	}
	strict := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := utilyaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader([]byte(asked.Text))))
	defer documents.Close()
	var all []validated
	for buffer := make([]byte, 1<<20); ; {
		read, err := documents.Read(buffer)
		if errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		one, err := validateOne(scheme, strict, buffer[:read])
		if err != nil {
			return nil, fmt.Errorf("%w, in\n%s", err, buffer[:read])
		}
		all = append(all, one)
	}
}

func validateOne(scheme *runtime.Scheme, strict runtime.Decoder, text []byte) (validated, error) {
	var about struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	plain, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return validated{}, err
	}
	if err := utiljson.Unmarshal(plain, &about); err != nil {
		return validated{}, err
	}
	object, _, err := strict.Decode(text, nil, nil)
	if err != nil {
		return validated{}, err
	}
	told := validated{about.Kind, about.Metadata.Name}
	if class, is := object.(*snapshots.VolumeSnapshotClass); is {
		if class.Driver == "" || class.DeletionPolicy != snapshots.VolumeSnapshotContentDelete {
			return told, fmt.Errorf("%s is no class of snapshots", told.Name)
		}
		return told, nil
	}
	scheme.Default(object)
	internal, err := scheme.ConvertToVersion(object, runtime.InternalGroupVersioner)
	if err != nil {
		return told, err
	}
	return told, rules(internal).ToAggregate()
}

// rules are the API server's own.
func rules(object runtime.Object) field.ErrorList {
	pods := corevalidation.PodValidationOptions{}
	switch object := object.(type) {
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(object)
	case *rbac.ClusterRole:
		return rbacvalidation.ValidateClusterRole(object, rbacvalidation.ClusterRoleValidationOptions{})
	case *rbac.ClusterRoleBinding:
		return rbacvalidation.ValidateClusterRoleBinding(object)
	case *rbac.Role:
		return rbacvalidation.ValidateRole(object)
	case *rbac.RoleBinding:
		return rbacvalidation.ValidateRoleBinding(object)
	case *storage.CSIDriver:
		return storagevalidation.ValidateCSIDriver(object)
	case *storage.StorageClass:
		return storagevalidation.ValidateStorageClass(object)
	case *apps.DaemonSet:
		return appsvalidation.ValidateDaemonSet(object, pods)
	case *apps.Deployment:
		return appsvalidation.ValidateDeployment(object, pods)
	default:
		return field.ErrorList{field.InternalError(nil, fmt.Errorf("nobody judges a %T here", object))}
	}
}
