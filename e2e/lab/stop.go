package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Stop stops every part in order, each before what it depends on, and removes the
// lab's folder unless something went wrong. It returns how a part ended unasked, if
// one did. Later calls return the same.
func (l *Lab) Stop() error {
	l.stopOnce.Do(func() { l.stopErr = l.stop() })
	return l.stopErr
}

func (l *Lab) stop() error {
	var errs []error
	for _, parts := range l.stopOrder() {
		var group errgroup.Group
		for _, part := range parts {
			group.Go(part.Stop)
		}
		if parts[0].stopRank() >= rankControllers {
			errs = append(errs, l.endKubelet()) // it needs the API server
		}
		errs = append(errs, group.Wait())
	}
	l.starter.Close()

	cause := l.Err()
	l.mu.Lock()
	keep := l.keep || cause != nil
	l.mu.Unlock()
	if keep {
		l.logf("lab: its folder is kept: %s", l.folder.path)
	}
	errs = append(errs, l.folder.close(keep), l.ports.close())
	if err := errors.Join(errs...); err != nil {
		cause = errors.Join(cause, fmt.Errorf("stop the lab: %w", err))
	}
	return cause
}

// Parts stop in this order, those of one rank together. The API server goes
// before etcd, and is waited for: with etcd gone first it hangs on to its port.
const (
	rankBrokers = iota
	rankPrograms
	rankControllers
	rankAPIServer
	rankEtcd
)

func (p *Part) stopRank() int {
	switch {
	case p.name == Etcd:
		return rankEtcd
	case p.name == KubeAPIServer:
		return rankAPIServer
	case p.name == KubeControllerManager, p.name == Kwok, p.name == Prometheus, p.name == KubeScheduler:
		return rankControllers
	case strings.HasSuffix(p.path, "broker"):
		return rankBrokers
	}
	return rankPrograms
}

// stopOrder returns the parts in groups that may stop at once.
func (l *Lab) stopOrder() [][]*Part {
	l.mu.Lock()
	defer l.mu.Unlock()
	byRank := make([][]*Part, rankEtcd+1)
	for _, part := range l.parts {
		byRank[part.stopRank()] = append(byRank[part.stopRank()], part)
	}
	return slices.DeleteFunc(byRank, func(parts []*Part) bool { return len(parts) == 0 })
}

// endKubelet stops the kubelet if it runs and returns how it ended.
func (l *Lab) endKubelet() error {
	l.mu.Lock()
	cancel, done := l.stopKubelet, l.kubelet
	l.stopKubelet, l.kubelet = nil, nil
	l.mu.Unlock()
	if cancel == nil {
		return nil
	}
	cancel()
	return <-done
}
