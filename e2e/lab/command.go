package lab

import (
	"context"
	"errors"
	"fmt"
)

// Command is a program of the caller's that belongs to the lab: it runs as a part of
// it and ends with it.
type Command struct {
	// Name of the part, which must be free.
	Name string
	// Path of the program and its arguments.
	Path string
	Args []string
	// Environ holds "NAME=value" pairs beside the lab's own environment.
	Environ []string
	// Health is a URL that answers 200 once the program is ready.
	Health string
}

// StartCommand starts a program and waits until it is ready. One that ends before it
// is ready leaves nothing but its log, whose last lines the error shows.
func (l *Lab) StartCommand(ctx context.Context, c Command) (*Part, error) {
	if c.Name == "" || c.Path == "" || c.Health == "" {
		return nil, fmt.Errorf("start command %q: Name, Path and Health must be given", c.Name)
	}
	if l.Part(c.Name) != nil {
		return nil, fmt.Errorf("start %s: a part of that name exists", c.Name)
	}
	part := l.newPart(partSpec{
		name: c.Name, path: c.Path, args: c.Args, environ: c.Environ, health: l.healthy(c.Health),
	})
	if err := part.begin(ctx); err != nil {
		l.dropPart(part)
		return nil, errors.Join(err, part.Stop())
	}
	return part, nil
}
