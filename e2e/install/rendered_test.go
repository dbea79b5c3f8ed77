package install_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/deploy/copies"
)

// rendered applies the files that make manifests writes: the definitions, and one overlay over
// the other, which begins with the one that only advises.
func (s *site) rendered(t *testing.T) {
	s.prepare(t)
	before := s.inventory(t)
	folder := t.TempDir()
	overlays, err := copies.Overlays(os.DirFS(s.installer.Root))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for i, overlay := range overlays {
		definitions, rest, err := copies.Overlay(s.installer.Root, overlay)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			files = append(files, s.write(t, folder, "ebbtide-crds.yaml", definitions))
		}
		files = append(files, s.write(t, folder, "ebbtide-"+overlay+".yaml", rest))
	}
	if len(files) < 5 {
		t.Fatalf("only %v were rendered", files)
	}
	for _, file := range files {
		s.installs(t, "kubectl apply --server-side -f "+file)
	}
	// A definition that is deleted before anybody has asked for its kind can be in the way of
	// itself: the API server is still making the storage that it is to empty.
	s.types(t, s.administrator, "kubectl get --all-namespaces gpunodes,lendingpolicies,loans,tenantquotas,trainingqueues")
	s.types(t, s.installer, "kubectl delete --ignore-not-found -f "+strings.Join(files, " -f "))
	s.leaves(t, before, nil, nil)
}

func (s *site) write(t *testing.T, folder, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(folder, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
