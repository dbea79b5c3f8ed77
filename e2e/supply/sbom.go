package supply

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// bom is a CycloneDX 1.6 document, as far as it is used.
type bom struct {
	Schema       string      `json:"$schema"`
	Format       string      `json:"bomFormat"`
	SpecVersion  string      `json:"specVersion"`
	SerialNumber string      `json:"serialNumber"`
	Version      int         `json:"version"`
	Metadata     metadata    `json:"metadata"`
	Components   []component `json:"components"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Ref        string     `json:"bom-ref"`
	Type       string     `json:"type"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// SBOM writes the bill of materials of a Go program: every module that is linked into it,
// with go.sum's checksum, and the standard library. It fails for a file that is none.
func SBOM(w io.Writer, program string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("read what %s is made of: %w", program, err)
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("read %s: %w", program, err)
	}
	sum := sha256.Sum256(text)
	name := filepath.Base(program)
	doc := bom{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		SerialNumber: serial(sum),
		Metadata: metadata{component{
			Ref: name, Type: "application", Name: name, Version: info.Main.Version,
			Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}}, Properties: settings(info),
		}},
		Components: modules(info),
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.SetEscapeHTML(false)
	if err := out.Encode(doc); err != nil {
		return fmt.Errorf("write the bill of materials of %s: %w", program, err)
	}
	return nil
}

// serial is a UUID that says which program it is: version 8, which is free to choose.
func serial(sum [sha256.Size]byte) string {
	id := sum[:16]
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// settings are those by which it was built.
func settings(info *debug.BuildInfo) (out []property) {
	out = append(out, property{"ebbtide:package", info.Path}, property{"ebbtide:go", info.GoVersion})
	for _, s := range info.Settings {
		out = append(out, property{"ebbtide:build:" + s.Key, s.Value})
	}
	return out
}

// modules are the program's, in the order of their names, the standard library first.
func modules(info *debug.BuildInfo) []component {
	version := strings.TrimPrefix(info.GoVersion, "go")
	out := []component{{Ref: "std", Type: "library", Name: "std", Version: version, PURL: "pkg:golang/std@" + url.PathEscape(version)}}
	deps := slices.Clone(info.Deps)
	slices.SortFunc(deps, func(a, b *debug.Module) int { return strings.Compare(a.Path, b.Path) })
	for _, m := range deps {
		c := component{Type: "library", Name: m.Path}
		if m.Replace != nil {
			c.Properties = append(c.Properties, property{"ebbtide:replaces", m.Path + "@" + m.Version})
			m = m.Replace
			c.Name = m.Path
		}
		c.Version, c.PURL = m.Version, "pkg:golang/"+m.Path+"@"+url.PathEscape(m.Version)
		c.Ref = c.PURL
		if m.Sum != "" {
			c.Properties = append(c.Properties, property{"ebbtide:go.sum", m.Sum})
		}
		out = append(out, c)
	}
	return out
}
