package scenarios

import (
	"os"
	"testing"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/ebbtide/ebbtide/e2e/adapter"
)

func TestMain(m *testing.M) {
	adapter.Main()                // this program is the metrics adapter, too
	log.SetLogger(logr.Discard()) // what agents in this process read by says nothing
	os.Exit(m.Run())
}
