package build

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// hash names everything a target is built from: the contents of its inputs, how
// it is built, and with which Go. Test files are left out. Files that a package
// embeds count too, so all regular files do.
func (t target) hash(root string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %s %s %s\n", runtime.Version(), t.pkg, t.tags, t.ld, os.Getenv("GOFLAGS"))
	for _, input := range t.inputs {
		err := filepath.WalkDir(filepath.Join(root, input), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // a part of the tree that is not there changes nothing
			}
			if err != nil {
				return err
			}
			if !d.Type().IsRegular() || strings.HasSuffix(path, "_test.go") {
				return nil
			}
			return hashFile(h, root, path)
		})
		if err != nil {
			return "", fmt.Errorf("hash %s: %w", input, err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashFile(h io.Writer, root, path string) error {
	name, err := filepath.Rel(root, path)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	fmt.Fprintf(h, "%s %d\n", name, len(text))
	_, err = h.Write(text)
	return err
}
