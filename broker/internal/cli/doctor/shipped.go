package doctor

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"

	extensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

//go:embed shipped.json
var shipped []byte

// Manifests is what an install has, as far as it is checked.
type Manifests struct {
	// Definitions are digests by name, Classes values by name.
	Definitions map[string]string `json:"definitions"`
	Classes     map[string]int32  `json:"classes"`
	// Accounts are the rights of each service account in ebbtide-system.
	Accounts map[string][]Right `json:"accounts"`
}

// Right is that somebody may do something. An empty namespace is all.
type Right struct {
	Namespace   string   `json:"namespace,omitempty"`
	Group       string   `json:"group,omitempty"`
	Resource    string   `json:"resource"`
	Subresource string   `json:"subresource,omitempty"`
	Name        string   `json:"name,omitempty"`
	Verbs       []string `json:"verbs"`
}

// String is the right as roles name it.
func (r *Right) String() string {
	text := r.Resource
	if r.Subresource != "" {
		text += "/" + r.Subresource
	}
	if r.Group != "" {
		text += " of " + r.Group
	}
	if r.Name != "" {
		text += " " + r.Name
	}
	if r.Namespace != "" {
		text += " in " + r.Namespace
	}
	return text
}

// Shipped is what this program was shipped with.
func Shipped() Manifests {
	var out Manifests
	if err := json.Unmarshal(shipped, &out); err != nil {
		panic(fmt.Sprintf("the embedded list of what is shipped: %v", err)) // a test reads it
	}
	return out
}

// Digest names what a definition says of its objects, whether the API server has filled in its
// defaults or not. Columns that kubectl prints are not part of it.
func Digest(crd *extensionsv1.CustomResourceDefinition) string {
	type served struct {
		Name            string
		Served, Storage bool
		Schema          *extensionsv1.CustomResourceValidation
		Subresources    *extensionsv1.CustomResourceSubresources
	}
	said := struct {
		Group, Plural, Kind string
		Scope               extensionsv1.ResourceScope
		Versions            []served
	}{crd.Spec.Group, crd.Spec.Names.Plural, crd.Spec.Names.Kind, crd.Spec.Scope, nil}
	for i := range crd.Spec.Versions {
		v := &crd.Spec.Versions[i]
		said.Versions = append(said.Versions, served{v.Name, v.Served, v.Storage, v.Schema, v.Subresources})
	}
	text, err := json.Marshal(said)
	if err != nil {
		return "" // equal to nothing
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}
