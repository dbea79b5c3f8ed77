//go:build unix && !solaris && !aix

package ledger

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// lockFile takes the same advisory lock that bbolt takes.
func lockFile(f *os.File, exclusive bool, timeout time.Duration) error {
	how := syscall.LOCK_NB | syscall.LOCK_SH
	if exclusive {
		how = syscall.LOCK_NB | syscall.LOCK_EX
	}
	for waited := time.Duration(0); ; waited += lockPoll {
		err := syscall.Flock(int(f.Fd()), how)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR):
			return &os.PathError{Op: "flock", Path: f.Name(), Err: err}
		case waited >= timeout:
			return ErrLocked
		}
		time.Sleep(lockPoll)
	}
}
