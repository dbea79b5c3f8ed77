package scenarios

import (
	"os"
	"testing"

	"github.com/ebbtide/ebbtide/e2e/adapter"
)

func TestMain(m *testing.M) {
	adapter.Main() // this program is the metrics adapter, too
	os.Exit(m.Run())
}
