package controller

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/ebbtide/ebbtide/broker/lend"
)

// recorder appends decisions to a file. A nil recorder writes nothing.
type recorder struct {
	file *os.File
	all  bool
}

func openRecorder(c RecordConfig) (*recorder, error) {
	if c.Path == "" {
		return nil, nil
	}
	file, err := os.OpenFile(c.Path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open record.path: %w", err)
	}
	return &recorder{file: file, all: c.All}, nil
}

func (r *recorder) write(record lend.Record) error {
	if r == nil {
		return nil
	}
	reclaims := slices.ContainsFunc(record.Plan.Actions, func(a lend.Action) bool { return a.Kind == lend.ActionReclaim })
	if !r.all && !reclaims {
		return nil
	}
	data, err := lend.MarshalRecord(record)
	if err == nil {
		_, err = r.file.Write(append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("record the decision: %w", err)
	}
	return nil
}

func (r *recorder) close() error {
	if r == nil {
		return nil
	}
	return errors.Join(r.file.Sync(), r.file.Close())
}
