package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// tended is a cluster in which most is well.
func tended(f *fakeAPIServer) {
	f.load("testdata/doctor.yaml")
	set("Lease", "ebbtide-broker", testNow.Add(-3*time.Second).Format("2006-01-02T15:04:05.000000Z07:00"), "spec", "renewTime")(f)
}

// advisory is a cluster in which the broker only advises, and there is no scheduler.
func advisory(f *fakeAPIServer) {
	tended(f)
	f.load("testdata/doctor-advise.yaml")
	f.objects = slices.DeleteFunc(f.objects, func(o *unstructured.Unstructured) bool {
		return strings.HasPrefix(o.GetName(), "ebbtide-scheduler")
	})
	set("Pod", "ebbtide-broker-0", []any{map[string]any{"name": "config", "configMap": map[string]any{"name": "ebbtide-broker-config-7h2f"}}}, "spec", "volumes")(f)
}

// early is a cluster of somebody whose clock is fast: by it, nobody would lead.
func early(f *fakeAPIServer) {
	tended(f)
	f.ahead = -time.Minute
	set("Lease", "ebbtide-broker", testNow.Add(f.ahead-3*time.Second).Format("2006-01-02T15:04:05.000000Z07:00"), "spec", "renewTime")(f)
}

func TestDoctor(t *testing.T) {
	playAll(t, map[string]scene{
		"doctor":        {invocation: invocation{args: "doctor"}, change: tended},
		"doctor-json":   {invocation: invocation{args: "doctor -o json"}, change: tended, forbidden: []string{"pods", "subjectaccessreviews", "customresourcedefinitions", "admissionpolicies"}},
		"doctor-advise": {invocation: invocation{args: "doctor"}, change: advisory},
		"doctor-clock":  {invocation: invocation{args: "doctor"}, change: early},
		"doctor-nobody": {invocation: invocation{args: "doctor"}, brokerGone: true, forbidden: []string{"api/v1", "/apis/"}},
		"doctor-owner":  {invocation: invocation{args: "doctor"}, change: tended, forbidden: []string{"subjectaccessreviews", "customresourcedefinitions", "admissionpolicies"}},
		"doctor-name":   {invocation: invocation{args: "doctor -o name"}, change: tended},
	})
}
