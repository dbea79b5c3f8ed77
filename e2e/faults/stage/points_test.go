package stage

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/deploy"
)

// program answers as one with failpoints does.
type program struct {
	mu     sync.Mutex
	armed  map[string]string
	counts map[string]int
	// again is called when it is asked a second time for a point that is not there.
	again   func()
	unknown int
}

func (p *program) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/"), "/count")
	switch {
	case name != "known":
		if p.unknown++; p.unknown == 2 {
			p.again()
		}
		http.Error(w, "failpoint: failpoint does not exist", http.StatusBadRequest)
	case r.Method == http.MethodPut:
		body, _ := io.ReadAll(r.Body)
		p.armed[name] = string(body)
	case r.Method == http.MethodDelete:
		delete(p.armed, name)
	default:
		fmt.Fprint(w, p.counts[name])
	}
}

func (p *program) reach(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[name]++
}

// A point is armed, reached, and disarmed; that a program stands there is told soon, and that
// it does not, too.
func TestPoints(t *testing.T) {
	p := &program{armed: map[string]string{}, counts: map[string]int{}}
	server := httptest.NewServer(p)
	defer server.Close()
	points := &Points{addr: server.Listener.Addr().String()}
	if err := points.Arm(t.Context(), "known"); err != nil || p.armed["known"] != standstill {
		t.Errorf("it is armed with %q, %v", p.armed["known"], err)
	}
	if points.Await(t.Context(), "known", 50*time.Millisecond) {
		t.Error("it was not reached, and is said to have been")
	}
	p.reach("known")
	if !points.Await(t.Context(), "known", time.Minute) {
		t.Error("it was reached, and is said not to have been")
	}
	points.Disarm(t.Context(), "known")
	if len(p.armed) > 0 {
		t.Errorf("still armed: %v", p.armed)
	}
	// The time is over when the first answer has been heard.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.again = cancel
	if err := points.Arm(ctx, "unknown"); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("a point that is not there: %v", err)
	}
}

// The scheduler's configuration is the one that is shipped, but for how long its Lease lasts.
func TestQuick(t *testing.T) {
	text, err := quick(deploy.SchedulerConfig())
	if err != nil {
		t.Fatal(err)
	}
	var shipped, got map[string]any
	for text, into := range map[string]*map[string]any{string(text): &got, string(deploy.SchedulerConfig()): &shipped} {
		if err := yaml.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	election, is := got["leaderElection"].(map[string]any)
	if !is || election["leaderElect"] != true || election["leaseDuration"] != LeaseDuration.String() || election["resourceName"] == nil {
		t.Errorf("the election is %v", got["leaderElection"])
	}
	if len(got) != len(shipped) {
		t.Errorf("it has the fields %v, shipped is %v", got, shipped)
	}
	if _, err := quick([]byte("profiles: []")); err == nil {
		t.Error("a configuration that elects nobody is taken")
	}
}
