package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// fakeAPIServer answers get, list and create for the objects it holds, and
// forwards to the broker's pod.
type fakeAPIServer struct {
	*httptest.Server
	broker http.Handler
	// refuses: nobody listens in the broker's pod.
	refuses bool
	// ahead is how far the server's clock is ahead of the caller's.
	ahead time.Duration
	// forbidden are substrings of paths that answer 403.
	forbidden []string

	mu      sync.Mutex
	objects []*unstructured.Unstructured
	created []*unstructured.Unstructured
	// patched are the paths and bodies of changes.
	patched []string
}

func newFakeAPIServer(t *testing.T, broker http.Handler) *fakeAPIServer {
	t.Helper()
	f := &fakeAPIServer{broker: broker}
	f.load("testdata/cluster.yaml")
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// load adds the objects of a file.
func (f *fakeAPIServer) load(path string) {
	file, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	decoder := yaml.NewYAMLOrJSONDecoder(file, 4096)
	for {
		object := map[string]any{}
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			panic(err)
		}
		if len(object) > 0 {
			f.objects = append(f.objects, &unstructured.Unstructured{Object: object})
		}
	}
}

var kindsByResource = map[string]string{
	"priorityclasses": "PriorityClass", "trainingqueues": "TrainingQueue", "lendingpolicies": "LendingPolicy",
	"leases": "Lease", "loans": "Loan", "jobs": "Job", "events": "Event", "pods": "Pod", "configmaps": "ConfigMap",
	"jobsets": "JobSet", "trainjobs": "TrainJob", "pytorchjobs": "PyTorchJob", "mpijobs": "MPIJob",
	"rayjobs": "RayJob", "rayclusters": "RayCluster", "deployments": "Deployment", "leaderworkersets": "LeaderWorkerSet", "gpunodes": "GPUNode",
	"nodes": "Node", "namespaces": "Namespace", "tenantquotas": "TenantQuota", "customresourcedefinitions": "CustomResourceDefinition",
	"validatingadmissionpolicies": "ValidatingAdmissionPolicy", "validatingadmissionpolicybindings": "ValidatingAdmissionPolicyBinding",
	"mutatingadmissionpolicies": "MutatingAdmissionPolicy", "mutatingadmissionpolicybindings": "MutatingAdmissionPolicyBinding",
}

func (f *fakeAPIServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	w.Header().Set("Date", testNow.Add(f.ahead).Format(http.TimeFormat))
	for _, part := range f.forbidden {
		if strings.Contains(path, part) {
			refuse(w, apierrors.NewForbidden(schema.GroupResource{Resource: part}, "", errors.New("the user may not")))
			return
		}
	}
	if pod, found := strings.CutSuffix(path, "/portforward"); found {
		f.portForward(w, r, pod[strings.LastIndexByte(pod, '/')+1:])
		return
	}
	switch path {
	case "/version":
		send(w, http.StatusOK, map[string]any{"major": "1", "minor": "36", "gitVersion": "v1.36.3"})
		return
	case "/apis/authorization.k8s.io/v1/subjectaccessreviews":
		f.review(w, r)
		return
	}
	f.api(w, r, strings.Split(strings.Trim(path, "/"), "/"))
}

// review allows everything but what is about leases.
func (f *fakeAPIServer) review(w http.ResponseWriter, r *http.Request) {
	var review authorizationv1.SubjectAccessReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		refuse(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	review.Status.Allowed = review.Spec.ResourceAttributes.Resource != "leases"
	send(w, http.StatusCreated, review)
}

// portForward connects to the broker's pod as the API server and a kubelet do.
func (f *fakeAPIServer) portForward(w http.ResponseWriter, r *http.Request, pod string) {
	if f.broker == nil {
		refuse(w, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, pod))
		return
	}
	if _, err := httpstream.Handshake(r, w, []string{"portforward.k8s.io"}); err != nil {
		return
	}
	broker := httptest.NewTLSServer(f.broker)
	defer broker.Close()
	streams := make(chan httpstream.Stream, 2)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
		streams <- s
		return nil
	})
	if conn == nil {
		return
	}
	defer conn.Close()
	faults, data := <-streams, <-streams
	port := data.Headers().Get("port")
	if port != "8443" || f.refuses {
		fmt.Fprintf(faults, "nobody listens on port %s", port)
		faults.Close()
		data.Close()
		<-conn.CloseChan()
		return
	}
	faults.Close()
	remote, err := net.Dial("tcp", strings.TrimPrefix(broker.URL, "https://"))
	if err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(remote, data) // ends when either side does
		remote.Close()
	}()
	_, _ = io.Copy(data, remote) // as above
}

// api serves /api(s)/[GROUP/]VERSION/[namespaces/NS/]RESOURCE[/NAME].
func (f *fakeAPIServer) api(w http.ResponseWriter, r *http.Request, parts []string) {
	parts = parts[1:]
	version := parts[0]
	if parts = parts[1:]; strings.Contains(r.URL.Path, "/apis/") {
		version += "/" + parts[0]
		parts = parts[1:]
	}
	if len(parts) == 0 {
		f.discovery(w, version)
		return
	}
	ns := ""
	if parts[0] == "namespaces" && len(parts) > 2 {
		ns, parts = parts[1], parts[2:]
	}
	kind := kindsByResource[parts[0]]
	switch {
	case r.Method == http.MethodPost:
		f.create(w, r, version, kind, ns, parts[0])
	case r.Method == http.MethodPatch:
		f.patch(w, r, version, kind, ns, parts)
	case len(parts) == 1:
		f.list(w, r, version, kind, ns)
	default:
		for _, o := range f.match(version, kind, ns) {
			if o.GetName() == parts[1] {
				send(w, http.StatusOK, o.Object)
				return
			}
		}
		refuse(w, apierrors.NewNotFound(schema.GroupResource{Resource: parts[0]}, parts[1]))
	}
}

// discovery says which kinds there are: those of which there are objects.
func (f *fakeAPIServer) discovery(w http.ResponseWriter, version string) {
	var resources []any
	for resource, kind := range kindsByResource {
		if len(f.match(version, kind, "")) > 0 {
			resources = append(resources, map[string]any{"name": resource, "kind": kind, "namespaced": true, "verbs": []any{"list"}})
		}
	}
	if len(resources) == 0 {
		refuse(w, apierrors.NewNotFound(schema.GroupResource{Resource: version}, ""))
		return
	}
	send(w, http.StatusOK, map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources})
}

func (f *fakeAPIServer) match(version, kind, ns string) []*unstructured.Unstructured {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*unstructured.Unstructured
	for _, o := range f.objects {
		if o.GetAPIVersion() == version && o.GetKind() == kind && (ns == "" || o.GetNamespace() == ns) {
			out = append(out, o)
		}
	}
	return out
}

func (f *fakeAPIServer) list(w http.ResponseWriter, r *http.Request, version, kind, ns string) {
	label, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		refuse(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	field, err := fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	if err != nil {
		refuse(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	items := []any{}
	for _, o := range f.match(version, kind, ns) {
		involved, _, _ := unstructured.NestedStringMap(o.Object, "involvedObject")
		set := fields.Set{"involvedObject.kind": involved["kind"], "involvedObject.name": involved["name"]}
		if label.Matches(labels.Set(o.GetLabels())) && field.Matches(set) {
			items = append(items, o.Object)
		}
	}
	send(w, http.StatusOK, map[string]any{"apiVersion": version, "kind": kind + "List", "metadata": map[string]any{}, "items": items})
}

func (f *fakeAPIServer) create(w http.ResponseWriter, r *http.Request, version, kind, ns, resource string) {
	object := &unstructured.Unstructured{}
	if err := json.NewDecoder(r.Body).Decode(&object.Object); err != nil {
		refuse(w, apierrors.NewBadRequest(err.Error()))
		return
	}
	if object.GetName() == "" {
		object.SetName(object.GetGenerateName() + "x7k2p")
	}
	for _, o := range f.match(version, kind, ns) {
		if o.GetName() == object.GetName() {
			refuse(w, apierrors.NewAlreadyExists(schema.GroupResource{Group: "batch", Resource: resource}, o.GetName()))
			return
		}
	}
	if r.URL.Query().Get("dryRun") == "" {
		f.mu.Lock()
		f.created = append(f.created, object)
		made := object.DeepCopy()
		made.SetUID(types.UID("made-" + object.GetName()))
		f.objects = append(f.objects, made)
		f.mu.Unlock()
	}
	send(w, http.StatusCreated, object.Object)
}

// patch merges, as RFC 7386 says.
func (f *fakeAPIServer) patch(w http.ResponseWriter, r *http.Request, version, kind, ns string, parts []string) {
	for _, o := range f.match(version, kind, ns) {
		if o.GetName() != parts[1] {
			continue
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		before, err := json.Marshal(o.Object)
		if err != nil {
			refuse(w, apierrors.NewInternalError(err))
			return
		}
		change, err := io.ReadAll(r.Body)
		if err != nil {
			refuse(w, apierrors.NewBadRequest(err.Error()))
			return
		}
		after, err := jsonpatch.MergePatch(before, change)
		if err != nil {
			refuse(w, apierrors.NewBadRequest(err.Error()))
			return
		}
		f.patched = append(f.patched, r.URL.Path+"?"+r.URL.RawQuery+" "+string(change))
		o.Object = nil
		if err := json.Unmarshal(after, &o.Object); err != nil {
			refuse(w, apierrors.NewBadRequest(err.Error()))
			return
		}
		send(w, http.StatusOK, o.Object)
		return
	}
	refuse(w, apierrors.NewNotFound(schema.GroupResource{Resource: parts[0]}, parts[1]))
}

func refuse(w http.ResponseWriter, err *apierrors.StatusError) {
	status := err.Status()
	status.APIVersion, status.Kind = "v1", "Status"
	send(w, int(status.Code), status)
}

func send(w http.ResponseWriter, code int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(value); err != nil {
		fmt.Fprintln(os.Stderr, "fake API server:", err)
	}
}
