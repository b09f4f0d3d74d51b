package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// secrets stand in for the API server: Kubernetes' own client asks for a Secret by HTTP, and is answered from here.
type secrets struct {
	byPath map[string]*v1.Secret
}

func (s *secrets) put(secret *v1.Secret) {
	s.byPath[fmt.Sprintf("/api/v1/namespaces/%s/secrets/%s", secret.Namespace, secret.Name)] = secret
}

// RoundTrip answers one request without a network.
func (s *secrets) RoundTrip(asked *http.Request) (*http.Response, error) {
	code, found := http.StatusNotFound, any(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure,
		Reason:   metav1.StatusReasonNotFound,
		Message:  asked.URL.Path + " not found",
		Code:     http.StatusNotFound,
	})
	if secret, known := s.byPath[asked.URL.Path]; known && asked.Method == http.MethodGet {
		code, found = http.StatusOK, secret
	}
	body, err := json.Marshal(found)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: code,
		Header:     http.Header{"Content-Type": {"application/json"}},
		Body:       io.NopCloser(bytes.NewReader(body)),
		Request:    asked,
	}, nil
}
