package autoscaler

import (
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/internal/signal"
)

// object reads one of any kind from YAML, in the namespace serving.
func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{}
	if err := o.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	o.SetNamespace("serving")
	return o
}

func hpa(t *testing.T, text string) autoscalingv2.HorizontalPodAutoscaler {
	t.Helper()
	var h autoscalingv2.HorizontalPodAutoscaler
	if err := yaml.UnmarshalStrict([]byte(text), &h); err != nil {
		t.Fatal(err)
	}
	h.Namespace = "serving"
	return h
}

// chat is the Deployment that most autoscalers here scale.
var chat = Ref{Namespace: "serving", Group: "apps", Kind: "Deployment", Name: "chat"}

func service(name string) Ref {
	return Ref{Namespace: "serving", Group: "serving.knative.dev", Kind: "Service", Name: name}
}

// backends knows the addresses of two servers.
type backends struct{}

func (backends) Named(kind signal.Kind, addresses string, database int) string {
	if database != 0 {
		return ""
	}
	return map[string]string{
		"Redis redis.serving.svc:6379": "tasks", "Kafka kafka-0:9092,kafka-1:9092": "events",
	}[string(kind)+" "+addresses]
}
