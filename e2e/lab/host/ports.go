// Package host takes from a machine what a lab needs of it: a folder, and ports on
// loopback. Both are held apart from those of every other lab on the machine, and
// given back when the process that took them ends, however it ends.
package host

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

// Ports hands out addresses on loopback that stay the lab's until Close. The zero
// value is ready for use, from any goroutine.
//
// A port is reserved among labs by an abstract socket named after it, which the
// kernel drops when its holder dies; a bind to the port itself shows that nobody
// else uses it.
type Ports struct {
	mu    sync.Mutex
	holds []net.Listener
}

// Next returns a free address as "127.0.0.1:port".
func (p *Ports) Next() (string, error) {
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

// Close gives all ports back.
func (p *Ports) Close() error {
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
