package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are taken from below Linux's ephemeral range, so that no outgoing
// connection can sit on the port of a part that is down for a moment.
const (
	firstPort = 20000
	lastPort  = 32000
	portTries = 500
)

// ports hands out addresses on loopback that stay the lab's until close.
//
// A port is reserved among labs by an abstract socket named after it, which the
// kernel drops when its holder dies; a bind to the port itself shows that nobody
// else uses it.
type ports struct {
	mu    sync.Mutex
	holds []net.Listener
}

// next returns a free address as "127.0.0.1:port".
func (p *ports) next() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range portTries {
		port := strconv.Itoa(firstPort + rand.IntN(lastPort-firstPort))
		hold, err := claim("port/" + port)
		if err != nil {
			continue
		}
		addr := net.JoinHostPort("127.0.0.1", port)
		probe, err := net.Listen("tcp", addr)
		if err != nil {
			hold.Close()
			continue
		}
		if err := probe.Close(); err != nil {
			hold.Close()
			return "", fmt.Errorf("find a free port: %w", err)
		}
		p.holds = append(p.holds, hold)
		return addr, nil
	}
	return "", fmt.Errorf("find a free port: none of %d tried between %d and %d", portTries, firstPort, lastPort)
}

func (p *ports) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, hold := range p.holds {
		errs = append(errs, hold.Close())
	}
	p.holds = nil
	return errors.Join(errs...)
}

// claim takes a name for this process among all processes of the machine's
// network namespace, until the listener is closed or the process dies.
func claim(name string) (net.Listener, error) {
	return net.Listen("unix", "@ebbtide-lab/"+name)
}
