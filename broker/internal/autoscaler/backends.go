package autoscaler

import (
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/broker/internal/signal"
	"github.com/ebbtide/ebbtide/broker/internal/signal/backlog"
)

// Configured are the backends of the broker's configuration. One has an address only if
// it is written the same there: names of hosts are not looked up, since what they lead to
// depends on who asks.
type Configured backlog.Backends

// Named implements Backends: the first backend of the kind with one of the addresses.
func (c Configured) Named(kind signal.Kind, addresses string) string {
	for i := range c {
		if string(c[i].Kind) != string(kind) {
			continue
		}
		for _, address := range strings.Split(addresses, ",") {
			if slices.Contains(c[i].Addresses, strings.TrimSpace(address)) {
				return c[i].Name
			}
		}
	}
	return ""
}
