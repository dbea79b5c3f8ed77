package cli

import (
	"testing"
	"time"
)

// tended is a cluster in which most is well.
func tended(f *fakeAPIServer) {
	f.load("testdata/doctor.yaml")
	set("Lease", "ebbtide-broker", testNow.Add(-3*time.Second).Format("2006-01-02T15:04:05.000000Z07:00"), "spec", "renewTime")(f)
}

func TestDoctor(t *testing.T) {
	playAll(t, map[string]scene{
		"doctor":        {invocation: invocation{args: "doctor"}, change: tended},
		"doctor-json":   {invocation: invocation{args: "doctor -o json"}, change: tended, forbidden: []string{"pods", "subjectaccessreviews", "customresourcedefinitions", "admissionpolicies"}},
		"doctor-nobody": {invocation: invocation{args: "doctor"}, brokerGone: true, forbidden: []string{"api/v1", "/apis/"}},
		"doctor-owner":  {invocation: invocation{args: "doctor"}, change: tended, forbidden: []string{"subjectaccessreviews", "customresourcedefinitions", "admissionpolicies"}},
		"doctor-name":   {invocation: invocation{args: "doctor -o name"}, change: tended},
	})
}
