package access

import (
	"log"
	"strings"

	"github.com/go-logr/logr"
)

// quiet has what net/http says of its clients, such as handshakes that fail, said with the
// details only.
func quiet(l logr.Logger) *log.Logger {
	return log.New(details{l}, "", 0)
}

type details struct{ log logr.Logger }

// Write logs one line.
func (d details) Write(p []byte) (int, error) {
	d.log.V(1).Info("A connection failed", "reason", strings.TrimSpace(string(p)))
	return len(p), nil
}
