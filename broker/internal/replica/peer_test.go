package replica

import (
	"errors"
	"testing"

	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

func restConfig(token string) *rest.Config {
	return &rest.Config{Host: "https://api", BearerToken: token}
}

// TestRendezvous: who leads is found, and who led before is not.
func TestRendezvous(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).Build()
	r := &Rendezvous{Client: c, Live: c, Namespace: "ebbtide-system"}
	if p, err := r.Find(t.Context()); !errors.Is(err, ErrNoLeader) {
		t.Errorf("nobody leads, and Find says %+v, %v", p, err)
	}
	for _, want := range []Peer{{Name: "a", URL: "https://10.0.0.1:8444", Certificate: "1"}, {Name: "b", URL: "https://[::1]:8444", Certificate: "2"}} {
		if err := r.Announce(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		if p, err := r.Find(t.Context()); err != nil || p != want {
			t.Errorf("Find says %+v, %v", p, err)
		}
	}
	if err := r.Announce(t.Context(), Peer{Name: "c"}); err != nil {
		t.Fatal(err)
	}
	if p, err := r.Find(t.Context()); !errors.Is(err, ErrNoLeader) {
		t.Errorf("it does not say where, and Find says %+v, %v", p, err)
	}
}
