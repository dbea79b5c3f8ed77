package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/seal"
	"github.com/ebbtide/ebbtide/broker/ledger/segments"
)

func newLedgerCheckCommand(s *session) *cobra.Command {
	file, keyFile, against := "", "", ""
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the whole ledger: every hash, balance and index",
		Long: `Check the whole ledger: every hash, balance and index.

Asks the broker to check its ledger, or reads a file that no broker has open, with
those of the months before beside it. It says which checkpoints are signed, and by
whom; with --public-key, they must be signed by that key. With --against it must have
the entry SEQ with that hash, a head that was published or that you wrote down: otherwise
it is an old copy, or its history was written anew.
Exit code 0: sound; 3: not sound, and the faults are listed; 1: not checked.`,
		Example: `  # The ledger in use
  kubectl ebbtide ledger check

  # That it still has what it had last month
  kubectl ebbtide ledger check --against 1204:HASH

  # A backup
  kubectl ebbtide ledger check --file ledger.db`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := readPublicKey(keyFile)
			if err != nil {
				return err
			}
			known, err := readKnown(against)
			if err != nil {
				return err
			}
			if file != "" {
				return checkFile(s, file, key, known)
			}
			broker, err := s.broker()
			if err != nil {
				return err
			}
			check, err := broker.CheckLedger(cmd.Context(), against)
			if err != nil {
				return err
			}
			checkSigned(&check, key)
			return printCheck(s, check)
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "Ledger file to check, rather than the broker's")
	cmd.Flags().StringVar(&keyFile, "public-key", "", "File with the public key that checkpoints must be signed by, in PEM or base64")
	cmd.Flags().StringVar(&against, "against", "", "SEQ:HASH that the ledger must have")
	_ = cmd.MarkFlagFilename("file", "db") // fails only for a flag that is not there
	return cmd
}

func readPublicKey(path string) (seal.PublicKey, error) {
	if path == "" {
		return seal.PublicKey{}, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return seal.PublicKey{}, fmt.Errorf("read --public-key: %w", err)
	}
	key, err := seal.ParsePublicKey(text)
	if err != nil {
		return seal.PublicKey{}, fmt.Errorf("--public-key %s: %w", path, err)
	}
	return key, nil
}

// checkSigned looks itself at the newest checkpoint that the broker has.
func checkSigned(check *access.LedgerCheck, key seal.PublicKey) {
	if key.IsZero() {
		return
	}
	err := errors.New("there are no checkpoints yet")
	if check.Checkpoint != nil {
		err = seal.Verify(check.ID, check.Checkpoint, key)
	}
	if err != nil {
		check.OK = false
		check.Problems = append(check.Problems, "checkpoints: "+err.Error())
	}
}

// readKnown is nothing without a text.
func readKnown(text string) ([]ledger.Known, error) {
	if text == "" {
		return nil, nil
	}
	known, err := ledger.ParseKnown(text)
	if err != nil {
		return nil, fmt.Errorf("--against: %w", err)
	}
	return []ledger.Known{known}, nil
}

func checkFile(s *session, path string, key seal.PublicKey, known []ledger.Known) error {
	report, err := segments.Check(path, key, known...)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprint(s.Streams.Out, report.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if !report.OK() {
		return errBroken
	}
	return nil
}

func printCheck(s *session, check access.LedgerCheck) error {
	w := s.Streams.Out
	for _, note := range check.Notes {
		fmt.Fprintf(w, "note      %s\n", note)
	}
	for _, problem := range check.Problems {
		fmt.Fprintf(w, "fault     %s\n", problem)
	}
	verdict := "ok"
	if !check.OK {
		verdict = "broken: stop the broker and run \"ebbtide-broker ledger check\" on its file, which says what to do"
	}
	if _, err := fmt.Fprintf(w, "head      %d %s\n%s\n", check.Head.Seq, check.Head.Hash, verdict); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if !check.OK {
		return errBroken
	}
	return nil
}
