package ledger

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// When the disk is full the ballast goes, and after a restart what gives units back is
// still written and nothing is lent, until there is room.
func TestBallastIsForReturns(t *testing.T) {
	path, free, full := tempPath(t), int64(1<<20), false
	opts := Options{
		Ballast: 64 << 10,
		free:    func(string) (int64, error) { return free, nil },
		commit: func(tx *bolt.Tx) error {
			if full {
				return &fs.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}
			}
			return tx.Commit()
		},
	}
	l := openAt(t, path, opts)
	if info, err := os.Stat(BallastName(path)); err != nil || info.Size() != opts.Ballast {
		t.Fatalf("ballast: %v %v", info, err)
	}
	mustAppend(t, l, lent(LendIntent, 1))
	mustAppend(t, l, follow(LendGranted, 1, 1))
	full, free = true, 0
	if _, err := l.Append(lent(LendIntent, 2)); !errors.Is(err, ErrUnknownOutcome) {
		t.Fatalf("Append on a full disk: %v", err)
	}
	if _, err := os.Stat(BallastName(path)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the ballast is still there: %v", err)
	}
	mustClose(t, l)

	full, free = false, opts.Ballast // which the ballast left
	l = openAt(t, path, opts)
	if _, err := l.Append(lent(LendIntent, 3)); !errors.Is(err, ErrFull) {
		t.Errorf("a new loan without ballast: %v", err)
	}
	if _, err := os.Stat(BallastName(path)); err == nil {
		t.Error("the ballast took the room again")
	}
	mustAppend(t, l, follow(Released, 1, 9))
	free = 1 << 20
	mustAppend(t, l, lent(LendIntent, 3))
	if _, err := os.Stat(BallastName(path)); err != nil {
		t.Errorf("there is room, and no ballast: %v", err)
	}
}

// Other failures of a commit leave the ballast alone.
func TestBallastStaysWhereTheDiskIsNotFull(t *testing.T) {
	path := tempPath(t)
	l := openAt(t, path, Options{Ballast: 4 << 10, commit: func(*bolt.Tx) error { return syscall.EIO }})
	if _, err := l.Append(lent(LendIntent, 1)); !errors.Is(err, ErrUnknownOutcome) {
		t.Fatalf("Append: %v", err)
	}
	if _, err := os.Stat(BallastName(path)); err != nil {
		t.Errorf("ballast: %v", err)
	}
}
