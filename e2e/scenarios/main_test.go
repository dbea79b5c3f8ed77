package scenarios

import (
	"io"
	"os"
	"testing"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/grpclog"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/ebbtide/ebbtide/e2e/adapter"
)

func TestMain(m *testing.M) {
	adapter.Main()                // this program is the metrics adapter, too
	log.SetLogger(logr.Discard()) // what agents in this process read by says nothing
	// Each try to reach a driver that a test has stopped would be a line.
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, os.Stderr))
	os.Exit(m.Run())
}
