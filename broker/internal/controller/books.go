package controller

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/seal"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
)

// openLedger binds the ledger to the cluster, which the UID of kube-system names.
func (b *broker) openLedger(ctx context.Context) (*segments.Set, error) {
	var system corev1.Namespace
	err := b.mgr.GetAPIReader().Get(ctx, types.NamespacedName{Name: "kube-system"}, &system)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read the cluster's identity: %w", err)
	}
	c := &b.config.Ledger
	signer, err := c.signer()
	if err != nil {
		return nil, err
	}
	if err := c.look(ctx); err != nil {
		return nil, fmt.Errorf("nothing is lent without a sound ledger: %w", err)
	}
	log := b.mgr.GetLogger().WithName("ledger")
	book, err := segments.Open(c.Path, segments.Options{
		Options: ledger.Options{ClusterUID: string(system.UID), Clock: b.clock, MaxBytes: c.MaxBytes, Ballast: c.Ballast},
		Signer:  signer,
		Checkpointed: func(p ledger.CheckpointPayload) {
			log.Info("Checkpoint", "seq", p.Seq, "hash", p.Hash.String(), "key", p.Key)
		},
		Failed: func(err error) { log.Error(err, "Put off") },
	})
	if err != nil {
		return nil, fmt.Errorf("nothing is lent without a sound ledger: %w", err)
	}
	if signer == nil {
		log.Info("The ledger's checkpoints are not signed: ledger.signingKeyFile is not set")
	}
	return book, nil
}

// signer has the key of the checkpoints; nil: there is none.
func (c *LedgerConfig) signer() (*seal.Signer, error) {
	if c.SigningKeyFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.SigningKeyFile)
	if err != nil {
		return nil, fmt.Errorf("read ledger.signingKeyFile: %w", err)
	}
	signer, err := seal.NewSigner(text)
	if err != nil {
		return nil, fmt.Errorf("ledger.signingKeyFile %s: %w", c.SigningKeyFile, err)
	}
	return signer, nil
}

// lookTimeout is how long the files may take to be read: with 50 MB/s some 30 GB. A leader
// whose disk hangs would keep its Lease for ever, and no other broker would lead.
const lookTimeout = 10 * time.Minute

var errLookTimeout = fmt.Errorf("it took longer than %s", lookTimeout)

// look has another process read the files, as they lie on the disk and as they are mapped: a
// page that the disk cannot deliver ends that one.
func (c *LedgerConfig) look(ctx context.Context) error {
	if len(c.CheckCommand) == 0 {
		return nil
	}
	if _, err := os.Stat(c.Path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lookTimeout, errLookTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.CheckCommand[0], append(c.CheckCommand[1:len(c.CheckCommand):len(c.CheckCommand)], c.Path)...)
	cmd.Env = []string{} // nothing in there is about it
	type answer struct {
		said string
		err  error
	}
	answers := make(chan answer, 1)
	go func() { // a process in the middle of a read that hangs cannot be ended, and is not waited for
		out, err := cmd.CombinedOutput()
		answers <- answer{strings.TrimSpace(string(out)), err}
	}()
	var said string
	var err error
	select {
	case a := <-answers:
		said, err = a.said, a.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("have another process read %s: %w", c.Path, context.Cause(ctx))
	case errors.As(err, &exit) && signalled(exit):
		return fmt.Errorf("%w: the process that read %s was ended (%w): the disk cannot deliver a part of it. Keep the file aside, restore a copy, and look at the disk and the kernel's log: %s",
			ledger.ErrCorrupt, c.Path, exit, said)
	case errors.As(err, &exit):
		return fmt.Errorf("the process that read %s ended with %w: %s", c.Path, err, said)
	default:
		return fmt.Errorf("have another process read %s: %w", c.Path, err)
	}
}

func signalled(exit *exec.ExitError) bool {
	status, is := exit.Sys().(syscall.WaitStatus)
	return is && status.Signaled()
}
