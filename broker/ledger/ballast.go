package ledger

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// BallastName is the file that keeps room for what gives units back.
func BallastName(path string) string { return path + ".ballast" }

// keepBallast makes sure that the ballast lies beside the ledger. Where it is missing it is
// made only if as much again stays free: a disk that was full a moment ago is left to the
// entries that are still allowed.
func (l *Ledger) keepBallast() error {
	name, size := BallastName(l.path), l.opts.Ballast
	if info, err := os.Stat(name); err == nil && info.Size() >= size {
		return nil
	}
	free, err := l.opts.free(filepath.Dir(l.path))
	if err != nil {
		return fmt.Errorf("ask for the room beside %s: %w", l.path, err)
	}
	if free < 2*size {
		return fmt.Errorf("%d bytes are free, and %d with the ballast are needed", free, 2*size)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, zeros{}, size)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// full tells why nothing new may be lent, if that is so. used is the size of the file.
func (l *Ledger) full(used int64) error {
	if l.opts.MaxBytes > 0 && used >= l.opts.MaxBytes {
		return fmt.Errorf("%w: %d bytes of %d are used: no new loans and reshapes; make room on the volume and raise ledger.maxBytes in the BrokerConfiguration",
			ErrFull, used, l.opts.MaxBytes)
	}
	if l.opts.Ballast <= 0 {
		return nil
	}
	if err := l.keepBallast(); err != nil {
		return fmt.Errorf("%w: its disk is: no new loans and reshapes; make room on the volume: %w", ErrFull, err)
	}
	return nil
}
