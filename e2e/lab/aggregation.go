package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
)

// frontProxyName is as whom the API server passes requests on to others.
const frontProxyName = "lab-front-proxy"

// Serving is where a program of the caller serves a part of the Kubernetes API, and
// with which certificate.
type Serving struct {
	// Name of the Service in SystemNamespace that stands for the program.
	Name string
	// Addr is a free address on loopback, the same one whenever it is asked for.
	Addr string
	// CertFile and KeyFile are PEM.
	CertFile, KeyFile string
}

// Serving returns an address and a certificate for a program that serves a part of
// the API. The name must be one of a Service. Nothing leads there before ServeAPI.
func (l *Lab) Serving(name string) (Serving, error) {
	addr, err := l.address("api/" + name)
	if err != nil {
		return Serving{}, err
	}
	s := Serving{Name: name, Addr: addr}
	host := name + "." + SystemNamespace + ".svc"
	pair, err := l.authority.Server(name, host)
	if err != nil {
		return Serving{}, err
	}
	if s.CertFile, err = l.folder.Write("pki/api-"+name+".crt", pair.CertPEM); err != nil {
		return Serving{}, err
	}
	if s.KeyFile, err = l.folder.Write("pki/api-"+name+".key", pair.KeyPEM); err != nil {
		return Serving{}, err
	}
	return s, nil
}

// Serving is like Lab.Serving, for a program that the lab runs.
func (e Env) Serving(name string) (Serving, error) { return e.lab.Serving(name) }

// ServeAPI makes the API server pass requests for a group and version on to the
// program that serves at s. It does not wait for that program: see WaitAPI.
//
// The Service that stands between them is one of type ExternalName, which is the only
// one that may name an address of loopback.
func (l *Lab) ServeAPI(ctx context.Context, s Serving, versions ...schema.GroupVersion) error {
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return fmt.Errorf("serve the API of %s: %w", s.Name, err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return fmt.Errorf("serve the API of %s: port %s: %w", s.Name, port, err)
	}
	objects := []map[string]any{{
		"apiVersion": "v1", "kind": "Service",
		"metadata": map[string]any{"name": s.Name, "namespace": SystemNamespace},
		"spec":     map[string]any{"type": "ExternalName", "externalName": host},
	}}
	for _, gv := range versions {
		objects = append(objects, map[string]any{
			"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
			"metadata": map[string]any{"name": apiServiceName(gv)},
			"spec": map[string]any{
				"group": gv.Group, "version": gv.Version,
				"groupPriorityMinimum": 100, "versionPriority": 100,
				"caBundle": l.authority.CertPEM, // encoded as base64, as it must be
				"service":  map[string]any{"namespace": SystemNamespace, "name": s.Name, "port": number},
			},
		})
	}
	manifests := make([][]byte, len(objects))
	for i, o := range objects {
		if manifests[i], err = json.Marshal(o); err != nil {
			return fmt.Errorf("serve the API of %s: %w", s.Name, err)
		}
	}
	return l.Apply(ctx, manifests...)
}

func apiServiceName(gv schema.GroupVersion) string { return gv.Version + "." + gv.Group }

// WaitAPI waits until the API server has reached the program behind a group and
// version, or, with available false, until it knows that it cannot.
func (l *Lab) WaitAPI(ctx context.Context, gv schema.GroupVersion, available bool) error {
	services := l.dynamic.Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"})
	last := "not seen yet"
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		o, err := services.Get(ctx, apiServiceName(gv), metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		status, message := availability(o)
		last = message
		return strings.EqualFold(status, strconv.FormatBool(available)), nil
	})
	if err != nil {
		return fmt.Errorf("wait for %s to be available=%t: %w; last: %s", apiServiceName(gv), available, ended(ctx, err), last)
	}
	return nil
}

// availability is the status and the message of an APIService's condition Available.
func availability(o *unstructured.Unstructured) (status, message string) {
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range conditions {
		condition, ok := c.(map[string]any)
		if !ok || condition["type"] != "Available" {
			continue
		}
		status, _ = condition["status"].(string)
		message, _ = condition["message"].(string)
	}
	return status, message
}
